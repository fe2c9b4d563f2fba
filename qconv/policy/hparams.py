"""The few hyperparameters of a model that block types depend on, from its GGUF metadata."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qconv.policy.roles import table
from qconv.types import Metadata, ValueType


@dataclass(frozen=True, slots=True)
class HParams:
    """What llama.cpp knows about a model when it chooses types.

    ``n_layer`` counts every block, those that predict further tokens (``n_layer_nextn``) included.  ``n_head`` and
    ``n_head_kv`` are the first layer's: llama.cpp asks no other.
    """

    architecture: str
    n_layer: int = 0
    n_layer_nextn: int = 0
    n_expert: int = 0
    n_head: int = 0
    n_head_kv: int = 0

    @property
    def gqa(self) -> int:
        """Query heads that share a key and value head."""
        return self.n_head // self.n_head_kv if self.n_head_kv else 0

    @property
    def is_70b(self) -> bool:
        """llama.cpp's model type "70B", which it knows by the number of layers."""
        if self.n_layer - self.n_layer_nextn != table().layers_of_70b.get(self.architecture, -1):
            return False
        if self.architecture in table().also_65b:
            return self.n_expert != 8 and self.n_head != self.n_head_kv
        return True


def hparams_from_metadata(architecture: str, metadata: Metadata) -> HParams:
    """Hyperparameters from GGUF keys, as llama.cpp's loader reads them; what is absent counts as 0."""

    def first(key: str) -> int | None:
        value = metadata.get(f"{architecture}.{key}")
        if value is None:
            return None
        data: Any = value.data
        if value.type == ValueType.ARRAY:
            data = data[0] if len(data) else None
        try:
            return None if data is None else int(data)
        except (TypeError, ValueError, OverflowError):
            return None

    def number(key: str) -> int:
        return first(key) or 0

    n_layer, n_nextn = number("block_count"), number("nextn_predict_layers")
    counted = table().counted_layers.get(architecture)
    if counted == "each_loop" and number("num_loops") > 1:
        n_layer = (n_layer - n_nextn) * number("num_loops")
    if counted == "with_router":
        n_layer, n_nextn = n_layer - n_nextn + 1, 1
    n_head = number("attention.head_count")
    n_head_kv = first("attention.head_count_kv")
    return HParams(
        architecture=architecture,
        n_layer=n_layer,
        n_layer_nextn=n_nextn,
        n_expert=number("expert_count"),
        n_head=n_head,
        n_head_kv=n_head if n_head_kv is None else n_head_kv,
    )
