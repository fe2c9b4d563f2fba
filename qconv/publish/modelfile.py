"""Ollama's Modelfile for a GGUF file.  The format: Ollama's ``docs/modelfile.md``."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from qconv import formats, gguf
from qconv.errors import FormatError, UnsupportedError, UsageError
from qconv.files import read_json
from qconv.storage import Folder
from qconv.types import Metadata, ValueType

_GENERATION = "generation_config.json"
_ENDS = ("eos", "eot", "eom")
_MOST_STOPS = 16
_PROJECTORS = "clip"
"""The architecture of all projectors' files, those too that say nothing of their kind."""


class _Prompting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How Ollama makes prompts of an architecture and reads answers."""

    renderer: str = ""
    parser: str = ""
    stop: tuple[str, ...] = ()


class _Written(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A template in Ollama's language, and the chat templates that it does the same as."""

    sha256: tuple[str, ...]
    text: str


class _Ollama(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    parameters: dict[str, str]
    architectures: dict[str, _Prompting]
    templates: dict[str, tuple[str, ...]]
    written: dict[str, _Written]


@functools.cache
def _known() -> _Ollama:
    return formats.load(formats.ROOT / "ollama.toml", _Ollama)


def modelfile(model: Path, projector: Path | None, source: Folder | None, directory: Path) -> str:
    """The text of a Modelfile that lies in ``directory``.

    ``projector``: the file with the vision or audio part.  ``source``: where ``generation_config.json`` is looked for,
    whose list of end tokens a GGUF file does not hold.  Raises as ``gguf.read``, and UnsupportedError for shards.
    """
    header = gguf.read(model)
    metadata = header.metadata
    if _text(metadata, "general.architecture") == _PROJECTORS:
        raise UsageError("is a projector alone", file=model, hint="name the text model, and this one with --mmproj")
    if gguf.shard_of(model) is not None:
        hint = "convert without --split-max-size, or merge them: llama-gguf-split --merge FIRST MODEL.gguf"
        raise UnsupportedError("is one of several files, and Ollama takes a model in one", file=model, hint=hint)
    lines = [f"FROM {_place(model, directory)}"]
    if projector is not None:
        if _text(gguf.read(projector).metadata, "general.architecture") != _PROJECTORS:
            hint = "qconv convert MODEL --mmproj f16 makes one"
            raise UsageError("holds no projector, which --mmproj names", file=projector, hint=hint)
        lines.append(f"FROM {_place(projector, directory)}")
    architecture = _text(metadata, "general.architecture") or ""
    prompting = _known().architectures.get(architecture, _Prompting())
    lines += ["", *_template(metadata, prompting)]
    parameters = [*_parameters(metadata), *_stops(metadata, source, prompting)]
    if parameters:
        lines += ["", *parameters]
    license = _license(metadata)
    if license:
        lines += ["", f'LICENSE """{license}"""']
    return "\n".join(lines) + "\n"


def _place(file: Path, directory: Path) -> str:
    """A path as the Modelfile in ``directory`` has it."""
    try:
        path = Path(os.path.relpath(file, directory)).as_posix()
    except ValueError:  # on another drive
        path = file.absolute().as_posix()
    if not path.isprintable():
        raise UsageError("has a name that no Modelfile can hold", file=file, hint="rename it")
    return path if path.startswith(("/", "..")) or ":" in path else f"./{path}"


def _template(metadata: Metadata, prompting: _Prompting) -> Iterator[str]:
    if prompting.renderer or prompting.parser:
        if prompting.renderer:
            yield f"RENDERER {prompting.renderer}"
        yield f"PARSER {prompting.parser}"
        return
    template = _text(metadata, "tokenizer.chat_template")
    if template is None:
        yield "# The model has no chat template: it goes on from a prompt as it is."
        return
    digest = hashlib.sha256(template.encode("utf-8", "surrogateescape")).hexdigest()
    name = next((name for name, known in _known().templates.items() if digest in known), None)
    if name is not None:
        yield f"# Ollama recognizes the model's chat template and uses its own '{name}' for it."
        return
    text = next((written.text for written in _known().written.values() if digest in written.sha256), None)
    if text is not None:
        yield "# For Ollama before 0.30; later versions run the file's own chat template where that can do more."
        yield f'TEMPLATE """{text}"""'
        return
    yield "# Ollama runs the file's own chat template from version 0.30 on. Before that it may not know it, and then"
    yield "# sends messages without their marks: answers get worse, nothing says why. Where 'ollama show --template'"
    yield "# prints {{ .Prompt }}, write a TEMPLATE here, in Ollama's language, that does what the chat template does."


def _parameters(metadata: Metadata) -> Iterator[str]:
    for key, name in _known().parameters.items():
        value = metadata.get(f"general.sampling.{key}")
        if value is None or value.type not in (ValueType.FLOAT32, ValueType.INT32):
            continue
        text = str(np.float32(value.data)) if value.type == ValueType.FLOAT32 else str(value.data)
        yield f"PARAMETER {name} {text}"


def _stops(metadata: Metadata, source: Folder | None, prompting: _Prompting) -> Iterator[str]:
    """The tokens that end an answer."""
    ids = [metadata[key].data for end in _ENDS if (key := f"tokenizer.ggml.{end}_token_id") in metadata]
    tokens = metadata.get("tokenizer.ggml.tokens")
    texts = dict.fromkeys(prompting.stop)
    if tokens is not None and tokens.element is ValueType.STRING:
        for number in [*ids, *_generation_ends(source)]:
            if isinstance(number, int) and 0 <= number < len(tokens.data):
                texts[_decoded(tokens.data[number])] = None
    for text in list(texts)[:_MOST_STOPS]:
        if text and text.isprintable() and '"' not in text:
            yield f'PARAMETER stop "{text}"'


def _generation_ends(source: Folder | None) -> list[object]:
    if source is None or not source.has(_GENERATION):
        return []
    try:
        config = read_json(source, _GENERATION)
    except FormatError:
        return []
    ends = config.get("eos_token_id") if isinstance(config, dict) else None
    return ends if isinstance(ends, list) else [ends]


def _decoded(token: str | bytes) -> str:
    return token.decode("utf-8", "replace") if isinstance(token, bytes) else token


def _license(metadata: Metadata) -> str:
    """Its name and where it is to be read."""
    texts = [_text(metadata, f"general.license{end}") for end in (".name", "", ".link")]
    return " ".join(text for text in texts if text and text.isprintable() and '"' not in text)


def _text(metadata: Metadata, key: str) -> str | None:
    value = metadata.get(key)
    return value.data if value is not None and isinstance(value.data, str) and value.data else None
