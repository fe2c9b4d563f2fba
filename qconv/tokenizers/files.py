"""The tokenizer files of a checkpoint, read once and checked for shape before anyone looks into them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

import msgspec

from qconv.errors import FormatError
from qconv.files import as_utf8, decode_json, json_as_utf8, mark_of, refuse_disguise
from qconv.storage import LARGEST_SMALL_FILE, Folder

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


class TokenizerFiles:
    """The files of a checkpoint's folder, seen as tokenizer files.  Missing JSON files read as ``{}``."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.location = folder.location
        self.has = folder.has
        self.locate = folder.locate
        self.marks: dict[str, str] = {}
        """Text files that were read and begin with a byte-order mark, and the encoding it means."""

    def read(self, name: str, limit: int = LARGEST_SMALL_FILE) -> bytes:
        """The bytes of the file ``name``."""
        return self.folder.read(name, limit)

    def object(self, name: str) -> dict[str, Any]:
        """The JSON object in the file ``name``; ``{}`` when there is no such file."""
        if not self.has(name):
            return {}
        value = decode_json(self._marked(name), self.locate(name))
        if not isinstance(value, dict):
            raise FormatError("is not a JSON object", file=self.locate(name))
        return value

    def decoded(self, name: str, into: type[T]) -> T:
        """The JSON value of the file ``name`` as ``into``; FormatError when it is not of that form."""
        location = self.locate(name)
        return self.decode(json_as_utf8(self._marked(name), location), into, location)

    def text(self, name: str, limit: int = LARGEST_SMALL_FILE) -> bytes:
        """The text of the file ``name`` in UTF-8, without a byte-order mark."""
        return as_utf8(self._marked(name, limit), self.locate(name))

    def _marked(self, name: str, limit: int = LARGEST_SMALL_FILE) -> bytes:
        data = self.read(name, limit)
        if (encoding := mark_of(data)) is not None:
            self.marks[name] = encoding
        return data

    @cached_property
    def tokenizer_config(self) -> dict[str, Any]:
        return self.object("tokenizer_config.json")

    @cached_property
    def model_config(self) -> dict[str, Any]:
        """``config.json`` as it stands: token ids are taken from here, where a completed config would add defaults."""
        return self.object("config.json")

    @cached_property
    def tokenizer_json(self) -> TokenizerJson | None:
        return self.decoded("tokenizer.json", TokenizerJson) if self.has("tokenizer.json") else None

    def part(self, name: str, into: type[T], file: TokenizerJson | None = None) -> T | None:
        """A part of the model in ``tokenizer.json``, or in ``file``, decoded anew at each call; None: it has none."""
        file = file or self.tokenizer_json
        raw = file.model.get(name) if file else None
        return None if raw is None or raw == _NULL else self.decode(raw, into, self.locate("tokenizer.json"))

    @cached_property
    def config_added_tokens(self) -> dict[int, AddedToken] | None:
        """``added_tokens_decoder`` of ``tokenizer_config.json`` by id; None when it has none."""
        entries = self.tokenizer_config.get("added_tokens_decoder")
        if entries is None:
            return None
        location = self.locate("tokenizer_config.json")
        if not isinstance(entries, dict):
            raise FormatError("added_tokens_decoder is not an object", file=location)
        try:
            return {int(index): added_token(entry, location) for index, entry in entries.items()}
        except ValueError as e:
            raise FormatError(f"added_tokens_decoder: {e}", file=location) from e

    def renamed(self, texts: Mapping[int, str]) -> list[str]:
        """Ids that ``tokenizer.json`` and ``tokenizer_config.json`` call differently, each with both spellings.

        ``texts``: what ids are called in the former besides its added tokens.
        """
        file = self.tokenizer_json
        if file is None:
            return []
        known = {**texts, **{token.id: token.content for token in file.added_tokens or ()}}
        return [
            f"token {index} is '{known[index]}' in tokenizer.json and '{token.content}' in tokenizer_config.json"
            for index, token in sorted((self.config_added_tokens or {}).items())
            if known.get(index, token.content) != token.content
        ]

    @cached_property
    def added_tokens_json(self) -> dict[str, int]:
        """``added_tokens.json``: token text to id."""
        return self.decoded("added_tokens.json", dict[str, int]) if self.has("added_tokens.json") else {}

    @cached_property
    def merges(self) -> list[bytes]:
        """A BPE vocabulary's merges, each ``left right``, from ``tokenizer.json`` or ``merges.txt``."""
        merges = self.part("merges", list[str | tuple[str, str]])
        if merges:
            # a space inside a part would read as the gap between the two: write it as byte-level BPE does
            return [
                m.encode() if isinstance(m, str) else f"{m[0].replace(' ', 'Ġ')} {m[1].replace(' ', 'Ġ')}".encode()
                for m in merges
            ]
        return self._merges_txt() if self.has("merges.txt") else []

    def _merges_txt(self) -> list[bytes]:
        lines = self.text("merges.txt").decode("utf-8", "replace").split("\n")
        if lines[0].startswith("#"):  # the format's version
            del lines[0]
        parts = (line.split(None, 3) for line in lines)
        return [f"{p[0]} {p[1]}".encode() for p in parts if len(p) == 2]

    @staticmethod
    def decode(data: bytes | msgspec.Raw, into: type[T], location: str) -> T:
        try:
            return msgspec.json.decode(data, type=into)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
            refuse_disguise(location, bytes(data))
            message = f"is not as a tokenizer file should be: {e}"
            raise FormatError(message, file=location, hint="download or copy it again") from e


def added_token(entry: Any, location: str) -> AddedToken:
    """An added token from a JSON object in that file, where ``normalized`` defaults to the opposite of ``special``."""
    try:
        token = msgspec.convert(entry, AddedToken)
    except msgspec.ValidationError as e:
        raise FormatError(f"an added token is not as it should be: {e}", file=location) from e
    return token if "normalized" in entry else msgspec.structs.replace(token, normalized=not token.special)
