"""The model card of a repository of GGUF files: front matter as the Hub reads it, a table of files, how to run them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qconv import checkpoints
from qconv.errors import UsageError, printable
from qconv.metadata import is_projector, read_card
from qconv.policy import mixes
from qconv.publish.evaluations import Evaluated
from qconv.storage import Folder
from qconv.summary import Summary, describe
from qconv.types import Metadata

_CARRIED = ("license", "license_name", "license_link", "language", "pipeline_tag")
_TASKS = {"vision": "image-text-to-text", "audio": "audio-text-to-text"}
_MOST = 100
"""Entries of a list that is carried over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardOptions:
    """``base_model``: the source's name on the Hub.  ``repository``: that of the files.  ``plot``: a picture's file
    name.  ``evaluations``: results by file name.
    """

    base_model: str | None = None
    repository: str | None = None
    plot: str | None = None
    evaluations: Mapping[str, Evaluated] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _File:
    """A file, or all shards of one under the first's name."""

    name: str
    summary: Summary
    metadata: Metadata


def card(files: Sequence[Path], source: Folder | None, options: CardOptions) -> str:
    """The text of ``README.md`` for GGUF ``files``, with what the card of their ``source`` says carried over.

    Raises as ``checkpoints.open``, and UsageError for a file that is not a GGUF.
    """
    described = sorted(map(_described, files), key=lambda file: file.summary.size)
    front, _ = read_card(source) if source is not None else ({}, None)
    projectors = [file.metadata for file in described if is_projector(file.metadata)]
    largest = next((file for file in reversed(described) if not is_projector(file.metadata)), described[-1])
    name = _text(largest.metadata, "general.name") or (source.name if source is not None else largest.summary.name)
    task = _task(largest.metadata, projectors)
    lines = ["---", *_yaml(_front_matter(front, largest.metadata, task, options)).splitlines(), "---", ""]
    lines += [f"# {_inline(name or 'Model')} GGUF", "", *_about(options), "", *_table(described, options), ""]
    if options.plot is not None:
        lines += [f"![KL divergence by size]({options.plot})", ""]
    lines += _running(described, options)
    return "\n".join(lines) + "\n"


def _described(path: Path) -> _File:
    with checkpoints.open(path) as checkpoint:
        if checkpoint.metadata is None:
            raise UsageError("is not a GGUF file", file=path, hint="convert it first")
        return _File(checkpoint.files[0].name, describe(checkpoint), checkpoint.metadata)


def _front_matter(front: Mapping[str, Any], metadata: Metadata, task: str, options: CardOptions) -> dict[str, Any]:
    """The Hub's keys in the order people write them."""
    of_file = {
        "license": _text(metadata, "general.license"),
        "license_name": _text(metadata, "general.license.name"),
        "license_link": _text(metadata, "general.license.link"),
        "language": _texts(metadata, "general.languages"),
    }
    carried = {key: _plain(front.get(key)) or of_file.get(key) for key in _CARRIED}
    tags = [tag for tag in _plain(front.get("tags")) or _texts(metadata, "general.tags") or [] if isinstance(tag, str)]
    values = {
        "base_model": options.base_model,
        "base_model_relation": "quantized" if options.base_model else None,
        "library_name": "gguf",
        "pipeline_tag": carried.pop("pipeline_tag") or task,
        **carried,
        "quantized_by": _text(metadata, "general.quantized_by") or "qconv",
        "tags": list(dict.fromkeys(["gguf", "quantized", *tags])),
    }
    return {key: value for key, value in values.items() if value}


def _task(metadata: Metadata, projectors: Iterable[Metadata]) -> str:
    """What the model does, in the Hub's words: by what goes into it, and whether embeddings come out."""
    if any(key.endswith(".pooling_type") for key in metadata):
        return "feature-extraction"
    encoders = {kind for keys in projectors for kind in _TASKS if f"clip.has_{kind}_encoder" in keys}
    return _TASKS[encoders.pop()] if len(encoders) == 1 else "any-to-any" if encoders else "text-generation"


def _about(options: CardOptions) -> Iterator[str]:
    base = options.base_model
    of = f" of [{_inline(base)}](https://huggingface.co/{base})" if base else ""
    yield f"Quantized files{of}, for llama.cpp and what is built on it. Made by qconv."


def _table(files: Sequence[_File], options: CardOptions) -> Iterator[str]:
    results = options.evaluations
    measured = any(file.name in results for file in files)
    yield "| file | type | size | bits per weight | what for |" + (" KL divergence | perplexity |" if measured else "")
    yield "| --- | --- | ---: | ---: | --- |" + (" ---: | ---: |" if measured else "")
    for file in files:
        mix = mixes().get(file.summary.file_type or "")
        shards = "" if file.summary.files == 1 else f" and {file.summary.files - 1} more"
        about = "images or sound, beside one of the others" if is_projector(file.metadata) else mix.about if mix else ""
        cells = [
            f"{_inline(file.name)}{shards}",
            _inline(file.summary.file_type or "unknown"),
            _size(file.summary.size),
            f"{file.summary.bits_per_weight:.2f}",
            about,
        ]
        if measured:
            result = results.get(file.name)
            numbers = (result.kl_divergence.mean, result.perplexity.value) if result is not None else ()
            cells += [f"{n:.4f}" for n in numbers] or ["", ""]
        yield f"| {' | '.join(cells)} |"
    if measured:
        yield ""
        yield "KL divergence in nats a token from the unquantized model, lower is better."


def _running(files: Sequence[_File], options: CardOptions) -> Iterator[str]:
    """How to run the file most people want, with each program."""
    models = [file for file in files if not is_projector(file.metadata)] or files
    usual = next((file for file in models if file.summary.file_type == "Q4_K_M"), models[len(models) // 2])
    mix, repository = usual.summary.file_type or "", options.repository
    projector = next((file.name for file in files if is_projector(file.metadata) and file not in models), None)
    program, beside = ("llama-cli", "") if projector is None else ("llama-mtmd-cli", f" --mmproj {projector}")
    yield "## Run it"
    yield ""
    yield "llama.cpp:"
    yield ""
    yield f"    {program} -hf {repository}:{mix}" if repository else f"    {program} -m {usual.name}{beside}"
    yield ""
    yield "Ollama:"
    yield ""
    if repository:
        yield f"    ollama run hf.co/{repository}:{mix}"
    else:
        yield f"    qconv modelfile {usual.name}{beside}"
        yield "    ollama create my-model -f Modelfile && ollama run my-model"
    yield ""
    yield "LM Studio:"
    yield ""
    yield f"    lms get {repository}@{mix.lower()}" if repository else f"    lms import {usual.name}"


def _size(count: int) -> str:
    """Bytes in the decimal units of the Hub."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.2f} MB"


def _yaml(values: Mapping[str, Any]) -> str:
    import yaml

    text: str = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=1000)
    return text


def _plain(value: Any) -> Any:
    """A text, or a list of texts, of somebody's card; None for anything else."""
    if isinstance(value, list):
        return [printable(item) for item in value[:_MOST] if isinstance(item, str)] or None
    return printable(value, 1000) if isinstance(value, str) and value else None


def _inline(text: str) -> str:
    """``text`` in a line of Markdown, where none of it acts."""
    return "".join(f"\\{c}" if c in r"\`*[]<>|#" else c for c in printable(text))


def _text(metadata: Metadata, key: str) -> str | None:
    value = metadata.get(key)
    return value.data if value is not None and isinstance(value.data, str) and value.data else None


def _texts(metadata: Metadata, key: str) -> list[str] | None:
    value = metadata.get(key)
    if value is None or value.element is None:
        return None
    texts = [item.decode("utf-8", "replace") if isinstance(item, bytes) else item for item in value.data]
    return [printable(text) for text in texts[:_MOST] if isinstance(text, str)] or None
