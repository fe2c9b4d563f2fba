"""Where tensors stand in the files of an output, and what these are called."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qconv import gguf
from qconv.errors import PlanError, UsageError
from qconv.plan.types import OutputFile, Plan
from qconv.types import Metadata, TensorInfo, shape_text


def check_dimensions(location: str, infos: Sequence[TensorInfo]) -> None:
    """Raises PlanError for a tensor of more dimensions than the container has."""
    for info in infos:
        if len(info.shape) > gguf.limits.DIMENSIONS:
            most = gguf.limits.DIMENSIONS
            raise PlanError(
                f"has {len(info.shape)} dimensions, {shape_text(info.shape)}; a GGUF file holds at most {most}",
                file=location,
                tensor=info.name,
                hint="leave the tensor out of the file, or fold two of its dimensions into one",
            )


def lay_out(
    keys: Metadata, infos: Sequence[TensorInfo], name: str, split_max_size: int | None
) -> tuple[tuple[OutputFile, ...], dict[str, tuple[int, gguf.Tensor]]]:
    """The output's files, and for every tensor its file's number and its place there."""
    if split_max_size is None:
        layouts = [(name, gguf.header(keys, infos))]
    else:
        shards = gguf.divide(infos, split_max_size)
        layouts = [
            (
                gguf.shard_path(Path(name), number, len(shards)).name,
                gguf.header(gguf.shard_metadata(keys, number, len(shards), len(infos)), shard),
            )
            for number, shard in enumerate(shards)
        ]
    files = tuple(OutputFile(file, layout.header, layout.size) for file, layout in layouts)
    places = {tensor: (at, t) for at, (_, layout) in enumerate(layouts) for tensor, t in layout.tensors.items()}
    return files, places


def refuse_same_names(plans: Sequence[Plan]) -> None:
    """Raises UsageError where two outputs would have one name."""
    seen: dict[str, Plan] = {}
    for plan in plans:
        for file in plan.files:
            other = seen.setdefault(file.name, plan)
            if other is plan:
                continue
            hint = "leave one out"
            if plan.sized is not None and other.sized is not None:
                hint = f"--size {other.sized.size} and --size {plan.sized.size} come to the same file: leave one out"
            raise UsageError("two outputs would have this name", file=file.name, hint=hint)
