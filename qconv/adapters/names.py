"""Which tensor of the base a module of an adapter is, whatever wrappers either puts before its names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qconv.architectures import canonical
from qconv.tensors import LazyTensor

_OTHER_WORDS = (
    (".mlp.", ".block_sparse_moe."),
    (".mlp.switch_mlp.", ".mlp.experts."),
    (".experts.", ".mlp.experts."),
)
"""Words of programs' names for a module, and of stored names for it."""
_EXPERT_NAMES = (("gate_proj", "up_proj", "down_proj"), ("w1", "w3", "w2"))
"""What an expert's own matrices are called, gate, up and down."""


class BaseNames:
    """The names of a base's tensors."""

    def __init__(self, tensors: Mapping[str, LazyTensor]) -> None:
        self._names = {canonical(name): name for name in tensors}
        self._tensors = tensors

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor by the base's own name."""
        return self._tensors[name].shape

    def find(self, name: str) -> str | None:
        """The base's own name of a tensor, None when there is none."""
        short = canonical(name)
        if short in self._names:
            return self._names[short]
        for word, stored in _OTHER_WORDS:
            if word in short and short.replace(word, stored) in self._names:
                return self._names[short.replace(word, stored)]
        return None

    def weight(self, module: str) -> str | None:
        """The weight of a module, or the parameter of that name."""
        return self.find(f"{module}.weight") or self.find(module)

    def experts(self, module: str, parameter: str) -> list[Sequence[str]] | None:
        """For each expert of ``module`` its own matrices, which a program keeps in one ``parameter`` for all experts.

        One name each, or gate and up for ``gate_up_proj``; None when the base does not have them so.
        """
        for gate, up, down in _EXPERT_NAMES:
            alone = {"gate_proj": (gate,), "up_proj": (up,), "down_proj": (down,)}
            wanted = {"gate_up_proj": (gate, up), **alone}.get(parameter, (parameter,))
            numbered: list[Sequence[str]] = []
            while all(names := [self.find(f"{module}.{len(numbered)}.{each}.weight") for each in wanted]):
                numbered.append([name for name in names if name is not None])
            if numbered:
                return numbered
        return None

    def embedding(self) -> str | None:
        """The token embedding."""
        known = ("embed_tokens", "wte", "word_embeddings", "embeddings", "tok_embeddings", "embed_in")
        return next((name for each in known if (name := self.find(f"{each}.weight")) is not None), None)


_HEADS = ("lm_head.weight", "embed_out.weight", "output.weight")


def is_head(name: str) -> bool:
    """Whether a tensor is an output layer by its name."""
    return canonical(name) in _HEADS
