"""The tensors of an adapter, put together by the module of the base they change."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from qconv.adapters.config import AdapterConfig
from qconv.checkpoints import Checkpoint
from qconv.errors import FormatError, InputError, QconvError
from qconv.tensors import FLOATS, LazyTensor

_PREFIX = "base_model.model."
"""Before it may stand what other wrappers put there: ``_orig_mod.``, ``module.``, or another adapter's."""
_BASE_LAYER = ".base_layer"
_NAME = re.compile(
    r"(?P<module>.+?)\.(?P<part>lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector"
    r"|trainable_tokens_delta|lora_a|lora_b|m)"
    r"(?:\.(?!weight$|bias$)[^.]+)?"  # the adapter's name, where a training program saved it
    r"(?:\.(?P<end>weight|bias))?",
    re.DOTALL,
)
_WRAPPERS = (".modules_to_save.default", ".modules_to_save", ".token_adapter")
_UNTRAINED = ".original_module."
"""The base's own weights beside those that take their place, in what training programs save."""
LONGEST_NAME = 1000


@dataclass(slots=True)
class Module:
    """What an adapter does to one module: ``parts`` by PEFT's or MLX's name for them, ``lora_B.bias`` among them.

    ``depth``: how many other changes of the same module lie around this one (``target_parameters``).
    """

    name: str
    depth: int = 0
    parts: dict[str, LazyTensor] = field(default_factory=dict)

    @property
    def is_low_rank(self) -> bool:
        return any(part.startswith("lora_") for part in self.parts)


@dataclass(slots=True)
class Adapter:
    """An open adapter: ``modules`` it changes, and ``whole`` tensors that take the place of the base's, by name."""

    checkpoint: Checkpoint
    config: AdapterConfig
    modules: list[Module]
    whole: dict[str, LazyTensor]

    @property
    def location(self) -> str:
        return self.checkpoint.location


def read(checkpoint: Checkpoint, *, merging: bool) -> Adapter:
    """The adapter in an open checkpoint of that kind; ``merging``: to be made part of a model.

    Raises InputError without an ``adapter_config.json``, FormatError for tensors that are no numbers, UnsupportedError
    for adapters of other methods.
    """
    if checkpoint.config is None:
        message = "holds no adapter_config.json, which says how strong the adapter is"
        hint = "get it from where the adapter comes from"
        raise InputError(message, file=checkpoint.folder.location, hint=hint)
    config = AdapterConfig(checkpoint.config, checkpoint.folder.locate("adapter_config.json"))
    config.check(merging=merging)
    modules: dict[tuple[str, int], Module] = {}
    whole: dict[str, LazyTensor] = {}
    try:
        for name, tensor in checkpoint.lazy.items():
            if _UNTRAINED not in name:
                _sort(name, tensor, config, modules, whole)
    except QconvError as e:
        e.file = e.file or checkpoint.location
        raise
    if not modules and not whole:
        raise FormatError("holds no tensor", file=checkpoint.location)
    return Adapter(checkpoint, config, list(modules.values()), whole)


def _sort(
    name: str,
    tensor: LazyTensor,
    config: AdapterConfig,
    modules: dict[tuple[str, int], Module],
    whole: dict[str, LazyTensor],
) -> None:
    if tensor.dtype not in FLOATS or len(name) > LONGEST_NAME:
        raise FormatError(f"is {tensor.dtype}; an adapter's tensors are F32, F16 or BF16", tensor=name)
    short = name.rpartition(_PREFIX)[2]
    match = _NAME.fullmatch(short)
    is_part = match is not None and (config.is_mlx or match["part"] not in ("lora_a", "lora_b", "m"))
    module = match["module"] if match is not None and is_part else short
    for wrapper in _WRAPPERS:
        module = module.replace(wrapper, "")
    depth = module.count(_BASE_LAYER)
    module = module.replace(_BASE_LAYER, "")
    if match is None or not is_part:
        if module in whole:
            raise FormatError(f"is there twice, as '{module}'", tensor=name)
        whole[module] = tensor
        return
    part = match["part"] + (".bias" if match["end"] == "bias" else "")
    parts = modules.setdefault((module, depth), Module(module, depth)).parts
    if part in parts:
        raise FormatError(f"is there twice, as '{part}' of '{module}'", tensor=name, hint="keep one adapter a file")
    parts[part] = tensor


def outermost_first(modules: list[Module]) -> Mapping[str, list[Module]]:
    """Low-rank modules by name; where several change one module, the outermost first."""
    by_name: dict[str, list[Module]] = {}
    for module in sorted(modules, key=lambda module: module.depth):
        by_name.setdefault(module.name, []).append(module)
    return by_name
