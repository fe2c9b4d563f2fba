"""What the user decides about types beyond the mix, with llama-quantize's meaning."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from qconv.errors import UsageError
from qconv.policy.mixes import block_type


@dataclass(frozen=True, slots=True)
class TensorType:
    """``--tensor-type PATTERN=TYPE``: tensors whose name contains a match of the pattern get ``type``."""

    pattern: re.Pattern[str]
    type: str

    def match(self, name: str) -> bool:
        return self.pattern.search(name) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The user's overrides; types are names of block types, checked when the options are made by ``options``."""

    tensor_types: tuple[TensorType, ...] = ()
    output_tensor_type: str | None = None
    token_embedding_type: str | None = None
    pure: bool = False
    leave_output_tensor: bool = False
    allow_requantize: bool = False


def options(
    *,
    tensor_types: Iterable[tuple[str, str]] = (),
    output_tensor_type: str | None = None,
    token_embedding_type: str | None = None,
    pure: bool = False,
    leave_output_tensor: bool = False,
    allow_requantize: bool = False,
) -> Options:
    """Options from the words of a command line; raises UsageError for an unknown type or a malformed pattern."""
    return Options(
        tensor_types=tuple(TensorType(_pattern(pattern), block_type(name)) for pattern, name in tensor_types),
        output_tensor_type=None if output_tensor_type is None else block_type(output_tensor_type),
        token_embedding_type=None if token_embedding_type is None else block_type(token_embedding_type),
        pure=pure,
        leave_output_tensor=leave_output_tensor,
        allow_requantize=allow_requantize,
    )


def split_tensor_type(text: str) -> tuple[str, str]:
    """``PATTERN=TYPE`` in two; the pattern ends at the first equals sign."""
    pattern, equals, name = text.partition("=")
    if not equals or not pattern or not name:
        raise UsageError(f"malformed tensor type '{text}'", hint="write it as attn_v=q6_k")
    return pattern, name


def _pattern(text: str) -> re.Pattern[str]:
    """The pattern in lower case, as llama-quantize takes it; classes such as ``\\d`` mean ASCII, as in ECMAScript."""
    try:
        return re.compile(text.lower(), re.ASCII | re.IGNORECASE)
    except (re.error, OverflowError, RecursionError) as e:
        raise UsageError(f"malformed pattern '{text}': {e}", hint="it is a regular expression") from e
