"""``qconv verify``: is a GGUF file whole, and what it should be?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qconv.cli.options import Debug, Json
from qconv.cli.progress import Style

if TYPE_CHECKING:
    from qconv.options import ConvertOptions, RunOptions
    from qconv.verify import Report

SHORT = "Check GGUF files."
EXAMPLES = """
Examples:
  qconv verify model-Q4_K_M.gguf
  qconv verify ~/gguf/*.gguf --quiet || echo "something is wrong"
  qconv verify model-Q4_K_M.gguf --against ~/models/Llama-3.2-1B

Exit status:
  0 all is well, 1 something is wrong, 2 wrong usage, 130 interrupted.
"""
_OPTIONS_UNKNOWN = (
    "no manifest tells how this file was made, so no options were assumed; --search thorough, --rounding, --imatrix,"
    " --tensor-type and their like make other bytes (convert with --manifest to have them recorded)"
)


def verify(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="A GGUF file; of one in shards, any of them.")],
    against: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="Encode this checkpoint again and compare: every byte must be the same."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="By default all cores this process may use.")
    ] = None,
    memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Stay under this much memory. By default 400MB.")
    ] = None,
    progress: Annotated[
        Style, typer.Option(metavar="auto|json|none", help="What to show on standard error meanwhile.")
    ] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what is wrong.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Check GGUF files from top to bottom.

    Structure, sizes and block contents are checked, and every hash when a manifest (NAME.gguf.json) is beside the
    file. With --against the source is encoded again, with the options the manifest records; without a manifest, with
    the type the file names.
    """
    from qconv.cli.errors import ErrorOutput, each
    from qconv.cli.paths import whole_models
    from qconv.options import RunOptions
    from qconv.sizes import parse_bytes

    options = RunOptions(threads=threads, memory=None if memory is None else parse_bytes(memory, "--memory"))

    def check(file: Path) -> int:
        report = _verify(file, against, options, progress, quiet)
        _show(report, quiet, as_json)
        if against is not None and report.problems and not quiet:
            _explain(report)
        return 0 if report.ok else 1

    return each(whole_models(files), check, ErrorOutput(as_json, debug))


def _verify(file: Path, against: str | None, run: RunOptions, style: Style, quiet: bool) -> Report:
    from contextlib import closing

    from qconv import allocation, plan, verify
    from qconv.cli.progress import progress

    with closing(progress(style, quiet, file.name)) as shown:
        if against is None:
            return verify.check(file, run, shown)
        options = options_for(file)
        with plan.open_source(against, options) as source:
            (made,), _ = allocation.make(source, options, run)
            return verify.against(file, made, run, shown)


def options_for(file: Path) -> ConvertOptions:
    """What was asked for when ``file`` was made: its manifest says, or else the type it names."""
    from qconv import conversion, gguf, metadata
    from qconv.errors import UnsupportedError
    from qconv.options import ConvertOptions, from_manifest
    from qconv.policy import mixes

    first = gguf.read_shards(file)[0]
    beside = conversion.manifest_path(first.path)
    if beside.exists():
        manifest = conversion.read_manifest(beside)
        return from_manifest(manifest.options, manifest.type, beside)
    value = first.metadata.get("general.file_type")
    names = [mix.name for mix in mixes().values() if value is not None and mix.file_type == value.data]
    if not names:
        hint = "convert with --manifest to have the options recorded"
        raise UnsupportedError("names no type that qconv makes", file=file, hint=hint)
    # what was allowed then is allowed now: neither changes a byte
    if metadata.is_projector(first.metadata):
        return ConvertOptions(mmproj=(names[0],), allow_requantize=True, allow_non_finite=True)
    return ConvertOptions(types=(names[0],), allow_requantize=True, allow_non_finite=True)


def _show(report: Report, quiet: bool, as_json: bool) -> None:
    from qconv.cli import screen
    from qconv.cli.sizes import size
    from qconv.errors import printable

    if as_json:
        screen.result(json.dumps(_object(report)))
        return
    name = printable(report.files[0], 4096)
    for problem in report.problems:
        tensor = "" if problem.tensor is None else f"tensor '{printable(problem.tensor)}': "
        screen.result(f"{printable(problem.file, 4096)}: {tensor}{printable(problem.message, 1000)}")
    if report.ok and not quiet:
        beside = ", and as its manifest says" if report.manifest is not None else ""
        screen.result(f"{name}: {report.tensors:,} tensors, {size(report.size)}, all well{beside}")


def _explain(report: Report) -> None:
    """Differences from a source may mean no more than other options."""
    from qconv import conversion
    from qconv.cli import screen

    if not conversion.manifest_path(report.files[0]).exists():
        screen.note(_OPTIONS_UNKNOWN)


def _object(report: Report) -> dict[str, Any]:
    return {
        "file": str(report.files[0]),
        "files": [str(f) for f in report.files],
        "ok": report.ok,
        "tensors": report.tensors,
        "bytes": report.size,
        "manifest": None if report.manifest is None else str(report.manifest),
        "problems": [{"file": str(p.file), "tensor": p.tensor, "message": p.message} for p in report.problems],
    }
