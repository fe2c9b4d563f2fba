"""Which block type each tensor gets: mixes, the user's overrides, and llama-quantize's rules."""

from qconv.policy.choose import Choice, Decision, choose
from qconv.policy.facts import Facts, facts_from_metadata
from qconv.policy.imatrix import Imatrix, read_imatrix
from qconv.policy.mixes import Mix, Rule, block_type, find_mix, load_mix, mixes, nearest, offered
from qconv.policy.options import Options, TensorType, options, split_tensor_type
from qconv.policy.roles import in_order

__all__ = [
    "Choice",
    "Decision",
    "Facts",
    "Imatrix",
    "Mix",
    "Options",
    "Rule",
    "TensorType",
    "block_type",
    "choose",
    "facts_from_metadata",
    "find_mix",
    "in_order",
    "load_mix",
    "mixes",
    "nearest",
    "offered",
    "options",
    "read_imatrix",
    "split_tensor_type",
]
