"""What the user decides about types beyond the mix, with llama-quantize's meaning."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from qconv.errors import UsageError
from qconv.policy import roles
from qconv.policy.mixes import block_type
from qconv.types import TensorInfo


@dataclass(frozen=True, slots=True)
class TensorType:
    """``--tensor-type PATTERN=TYPE``: tensors whose name contains a match of the pattern get ``type``."""

    pattern: re.Pattern[str]
    type: str

    @classmethod
    def of(cls, pattern: str, type: str) -> TensorType:
        """Raises UsageError for a malformed pattern or an unknown block type."""
        return cls(_compiled(pattern), block_type(type))

    def match(self, name: str) -> bool:
        return self.pattern.search(name) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeOverrides:
    """The user's overrides of what a mix says; types are names of block types, in any case.

    Raises UsageError for one that is not known.
    """

    tensor_types: tuple[TensorType, ...] = ()
    output_tensor_type: str | None = None
    token_embedding_type: str | None = None
    pure: bool = False
    leave_output_tensor: bool = False
    allow_requantize: bool = False

    def __post_init__(self) -> None:
        for field in ("output_tensor_type", "token_embedding_type"):
            name = getattr(self, field)
            if name is not None:
                object.__setattr__(self, field, block_type(name))

    def tensor_type(self, name: str) -> TensorType | None:
        """The first ``--tensor-type`` that matches a tensor's name."""
        return next((given for given in self.tensor_types if given.match(name)), None)

    def are_about(self, tensor: TensorInfo) -> bool:
        """Whether they give this tensor a type by its name or role."""
        return self.tensor_type(tensor.name) is not None or self.of_role(tensor) is not None

    def of_role(self, tensor: TensorInfo) -> tuple[str, str] | None:
        """The type given for all tensors of this one's role, and the reason; None when there is none."""
        role = roles.role(tensor.name)
        # the second embedding table may be large, and may be named on its own
        named = tensor.name == "per_layer_token_embd.weight" and self.tensor_type(tensor.name) is not None
        if self.token_embedding_type and role == "token_embd" and not named:
            return self.token_embedding_type, "token embedding type given"
        if self.output_tensor_type and role == "output":
            return self.output_tensor_type, "output tensor type given"
        return None

    def without_effect(self, asked: Iterable[str], mix: str, is_float: bool) -> Iterator[str]:
        """Notes on each ``--tensor-type`` that decides nothing; ``asked``: names of the tensors that had a choice."""
        first = {self.tensor_type(name) for name in asked}
        for given in self.tensor_types:
            if given not in first:
                yield f"no tensor matches --tensor-type {given.pattern.pattern}"
            elif is_float:
                yield f"--tensor-type {given.pattern.pattern} has no effect on {mix.lower()}"


def split_tensor_type(text: str) -> tuple[str, str]:
    """``PATTERN=TYPE`` in two; the pattern ends at the first equals sign."""
    pattern, equals, name = text.partition("=")
    if not equals or not pattern or not name:
        raise UsageError(f"malformed tensor type '{text}'", hint="write it as attn_v=q6_k")
    return pattern, name


def _compiled(text: str) -> re.Pattern[str]:
    """The pattern in lower case, as llama-quantize takes it; classes such as ``\\d`` mean ASCII, as in ECMAScript."""
    try:
        return re.compile(text.lower(), re.ASCII | re.IGNORECASE)
    except (re.error, OverflowError, RecursionError) as e:
        raise UsageError(f"malformed pattern '{text}': {e}", hint="it is a regular expression") from e
