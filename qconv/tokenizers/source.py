"""The tokenizer files of a checkpoint directory, read once and checked for shape before anyone looks into them."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import msgspec

from qconv.errors import FormatError
from qconv.files import inside, read_bytes, read_json, refuse_disguise

T = TypeVar("T")

_NULL = msgspec.Raw(b"null")


class AddedToken(msgspec.Struct, frozen=True):
    """A token that is found in a text before the model sees it, as ``tokenizer.json`` writes it."""

    content: str
    id: int = -1
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = True
    special: bool = False


class TokenizerJson(msgspec.Struct, frozen=True):
    """``tokenizer.json``; the parts of ``model``, nearly all of its bytes, stay undecoded until they are asked for."""

    model: dict[str, msgspec.Raw]
    added_tokens: list[AddedToken] | None = None
    normalizer: dict[str, Any] | None = None
    pre_tokenizer: dict[str, Any] | None = None
    post_processor: dict[str, Any] | None = None
    decoder: dict[str, Any] | None = None
    padding: dict[str, Any] | None = None


Pieces: TypeAlias = list[tuple[str, float]]
"""A unigram model's vocabulary: texts and scores."""


class Source:
    """A checkpoint directory, seen as tokenizer files.  Missing JSON files read as ``{}``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, name: str) -> Path:
        """The file ``name``; FormatError when it is a link that leads out of the directory."""
        return inside(self.directory, name)

    def has(self, name: str) -> bool:
        return (self.directory / name).is_file()

    def object(self, name: str) -> dict[str, Any]:
        """The JSON object in the file ``name``; ``{}`` when there is no such file."""
        if not self.has(name):
            return {}
        value = read_json(self.path(name))
        if not isinstance(value, dict):
            raise FormatError("is not a JSON object", file=self.path(name))
        return value

    @cached_property
    def tokenizer_config(self) -> dict[str, Any]:
        return self.object("tokenizer_config.json")

    @cached_property
    def model_config(self) -> dict[str, Any]:
        """``config.json`` as it stands: token ids are taken from here, where a completed config would add defaults."""
        return self.object("config.json")

    @cached_property
    def tokenizer_json(self) -> TokenizerJson | None:
        path = self.path("tokenizer.json")
        return self.decode(read_bytes(path), TokenizerJson, path) if self.has("tokenizer.json") else None

    def part(self, name: str, into: type[T], file: TokenizerJson | None = None) -> T | None:
        """A part of the model in ``tokenizer.json``, or in ``file``, decoded anew at each call; None: it has none."""
        file = file or self.tokenizer_json
        raw = file.model.get(name) if file else None
        return None if raw is None or raw == _NULL else self.decode(raw, into, self.path("tokenizer.json"))

    @cached_property
    def config_added_tokens(self) -> dict[int, AddedToken] | None:
        """``added_tokens_decoder`` of ``tokenizer_config.json`` by id; None when it has none."""
        found = self.tokenizer_config.get("added_tokens_decoder")
        if found is None:
            return None
        path = self.path("tokenizer_config.json")
        if not isinstance(found, dict):
            raise FormatError("added_tokens_decoder is not an object", file=path)
        try:
            return {int(index): added_token(entry, path) for index, entry in found.items()}
        except ValueError as e:
            raise FormatError(f"added_tokens_decoder: {e}", file=path) from e

    @cached_property
    def added_tokens_json(self) -> dict[str, int]:
        """``added_tokens.json``: token text to id."""
        path = self.path("added_tokens.json")
        return self.decode(read_bytes(path), dict[str, int], path) if self.has("added_tokens.json") else {}

    @cached_property
    def merges(self) -> list[bytes]:
        """A BPE vocabulary's merges, each ``left right``, from ``tokenizer.json`` or ``merges.txt``."""
        found = self.part("merges", list[str | tuple[str, str]])
        if found:
            # a space inside a part would read as the gap between the two: write it as byte-level BPE does
            return [
                m.encode() if isinstance(m, str) else f"{m[0].replace(' ', 'Ġ')} {m[1].replace(' ', 'Ġ')}".encode()
                for m in found
            ]
        return self._merges_txt() if self.has("merges.txt") else []

    def _merges_txt(self) -> list[bytes]:
        lines = read_bytes(self.path("merges.txt")).decode("utf-8", "replace").split("\n")
        if lines[0].startswith("#"):  # the format's version
            del lines[0]
        parts = (line.split(None, 3) for line in lines)
        return [f"{p[0]} {p[1]}".encode() for p in parts if len(p) == 2]

    @staticmethod
    def decode(data: bytes | msgspec.Raw, into: type[T], path: Path) -> T:
        try:
            return msgspec.json.decode(data, type=into)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
            refuse_disguise(path, bytes(data))
            message = f"is not as a tokenizer file should be: {e}"
            raise FormatError(message, file=path, hint="download or copy it again") from e


def added_token(entry: Any, path: Path) -> AddedToken:
    """An added token from a JSON object in ``path``, where ``normalized`` defaults to the opposite of ``special``."""
    try:
        token = msgspec.convert(entry, AddedToken)
    except msgspec.ValidationError as e:
        raise FormatError(f"an added token is not as it should be: {e}", file=path) from e
    return token if "normalized" in entry else msgspec.structs.replace(token, normalized=not token.special)
