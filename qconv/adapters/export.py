"""An adapter as a file of its own, which llama.cpp adds to a model when it runs (``--lora``).

llama.cpp multiplies each product with one number for all, ``adapter.lora.alpha``, over the product's rank
(``llama-adapter.cpp``).  Strengths that differ otherwise, by patterns, are put into B; those of ``use_rslora`` into the
number.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from qconv.adapters import modules as parts
from qconv.adapters.modules import Adapter
from qconv.adapters.names import BaseNames, is_head
from qconv.adapters.targets import Targets, misfit
from qconv.architectures import MappedTensor, Pair, resolve_low_rank
from qconv.checkpoints import Checkpoint
from qconv.errors import FormatError, QconvError, UnsupportedError
from qconv.tensors import LazyTensor, operations
from qconv.tensors.low_rank import Factor, FactorTensor, LowRank
from qconv.types import Metadata, Value, ValueType

_EMBEDDING = "token_embd.weight"
_FACTORS = ("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "lora_a", "lora_b")


@dataclass(frozen=True, slots=True)
class AdapterModel:
    """What an adapter's GGUF file holds.  ``keys``: ``adapter.*`` that come last.  ``weights``: those it changes."""

    architecture: str
    outputs: tuple[MappedTensor, ...]
    keys: Metadata
    weights: int


def export(checkpoint: Checkpoint, base: Checkpoint) -> AdapterModel:
    """The tensors of an open adapter under the names that ``base`` has in a GGUF file; reads no weight.

    Raises UnsupportedError for what such a file cannot hold, and for an adapter that fits another base.
    """
    if base.metadata is not None or base.config is None:
        hint = "give the folder of the model's safetensors, of which only the headers are read"
        raise UnsupportedError("does not say what the adapter's tensors are called", file=base.location, hint=hint)
    adapter = parts.read(checkpoint, merging=False)
    try:
        products = _products(adapter, base)
        alphas = Counter(alpha for alpha in map(_alpha, products.values()) if alpha)  # 0 would mean 1 to llama.cpp
        if not alphas:
            raise FormatError("changes nothing: its strength is 0", file=adapter.config.location)
        alpha = alphas.most_common(1)[0][0]
        pairs = {name: _pair(delta, _alpha(delta) / alpha) for name, delta in products.items()}
        architecture, made = resolve_low_rank(base, pairs)
    except QconvError as e:
        e.file = e.file or adapter.location
        raise
    outputs = [MappedTensor(f"{name}.lora_{end}", t) for name, each in made for end, t in _ends(name, each)]
    keys = {"adapter.lora.alpha": Value.float32(alpha)}
    tokens = adapter.config.values.get("alora_invocation_tokens")
    if isinstance(tokens, list) and tokens and all(isinstance(token, int) and 0 <= token < 1 << 32 for token in tokens):
        keys["adapter.alora.invocation_tokens"] = Value.array(ValueType.UINT32, tokens)
    weights = sum(each.left.shape[-2] * _size(each.right) // each.right.shape[-2] for _, each in made)
    return AdapterModel(architecture, tuple(outputs), keys, weights)


def _products(adapter: Adapter, base: Checkpoint) -> dict[str, LowRank]:
    """The products that are added, by the base's names of the tensors they are added to, in the adapter's order."""
    whole = next(iter(adapter.whole), None)
    if whole is not None:
        raise _merge_instead(f"brings '{whole}' whole (modules_to_save, biases, norms or an embedding that grew)")
    if adapter.config.is_dora:
        raise _merge_instead("is a DoRA adapter")
    names = BaseNames(base.lazy)
    targets = Targets(base, adapter, names, 1.0)
    products: dict[str, LowRank] = {}
    for modules in parts.outermost_first(adapter.modules).values():
        for module in modules:
            other = next((part for part in module.parts if part not in _FACTORS), None)
            if other is not None:
                raise _merge_instead(f"has '{other}' for '{module.name}'")
        target = names.weight(modules[0].name)
        if target is not None and len(modules) == 1:
            products[target] = targets.of_tensor(modules[0], target)
            continue
        edits = targets.of_parameters(modules)
        if edits is None and is_head(f"{modules[0].name}.weight"):
            raise _merge_instead(f"changes '{modules[0].name}', which in the base is the embedding")
        if edits is None:
            raise misfit(base, adapter, f"it changes '{modules[0].name}', which the base does not have as one tensor")
        products.update(edits)
    return products


def _alpha(delta: LowRank) -> float:
    """The number which over the rank is the product's strength."""
    rank = delta.left.shape[2]
    return delta.scale * rank


def _pair(delta: LowRank, factor: float) -> Pair:
    """Both factors as tensors, the product ``factor`` times."""
    return Pair(_tensor(delta.left, factor), _tensor(delta.right, 1.0))


def _tensor(factor: Factor, scale: float) -> LazyTensor:
    """A factor as a tensor: the stored one where that is the same."""
    plain = factor.grid == (1, *factor.tensor.shape) and factor.order == (0, 1, 2) and not factor.picks
    return factor.tensor if plain and scale == 1 else FactorTensor(factor, scale)


def _ends(name: str, each: Pair) -> tuple[tuple[str, LazyTensor], tuple[str, LazyTensor]]:
    """A and B as llama.cpp multiplies with them; of the embedding it looks rows of A up, and B is turned instead."""
    if name == _EMBEDDING:
        return ("a", each.left), ("b", operations()["transpose"](each.right))
    return ("a", each.right), ("b", each.left)


def _size(tensor: LazyTensor) -> int:
    size = 1
    for n in tensor.shape:
        size *= n
    return size


def _merge_instead(why: str) -> UnsupportedError:
    return UnsupportedError(
        f"{why}, which a file of an adapter cannot hold",
        hint="merge it instead: qconv convert BASE --adapter ADAPTER",
    )
