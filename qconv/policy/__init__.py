"""Which block type each tensor gets, in llama.cpp's two stages: what its converter writes, what its quantizer chooses.

Mixes say what differs between types, the user's overrides come on top.  ``budget`` chooses for a size instead.
"""

from qconv.policy import budget, converter, quantizer
from qconv.policy.decision import Choice, Decision
from qconv.policy.hparams import HParams, hparams_from_metadata
from qconv.policy.importance import select_importance
from qconv.policy.mixes import Mix, Rule, block_type, block_types_of, find_mix, load_mix, mixes, offered
from qconv.policy.overrides import TensorType, TypeOverrides, split_tensor_type
from qconv.policy.roles import in_order, layer, role

__all__ = [
    "Choice",
    "Decision",
    "HParams",
    "Mix",
    "Rule",
    "TensorType",
    "TypeOverrides",
    "block_type",
    "block_types_of",
    "budget",
    "converter",
    "find_mix",
    "hparams_from_metadata",
    "in_order",
    "layer",
    "load_mix",
    "mixes",
    "offered",
    "quantizer",
    "role",
    "select_importance",
    "split_tensor_type",
]
