"""Carries out what ``formats/architectures/`` declares: names, shapes, operations, metadata."""

from qconv.architectures.low_rank import Pair, resolve_low_rank
from qconv.architectures.names import canonical
from qconv.architectures.not_converted import not_converted
from qconv.architectures.projector import folders_of_projector, of_projector, resolve_projector
from qconv.architectures.resolve import Resolved, find_table, resolve, resolve_gguf, resolve_plain, vocabulary_of
from qconv.architectures.schema import Drop, Entry, Key, Keys, Table
from qconv.architectures.table import PARTS, classes, multimodal, names
from qconv.architectures.table import table as load_table
from qconv.architectures.tensors import MappedTensor

__all__ = [
    "PARTS",
    "Drop",
    "Entry",
    "Key",
    "Keys",
    "MappedTensor",
    "Pair",
    "Resolved",
    "Table",
    "canonical",
    "classes",
    "find_table",
    "folders_of_projector",
    "load_table",
    "multimodal",
    "names",
    "not_converted",
    "of_projector",
    "resolve",
    "resolve_gguf",
    "resolve_low_rank",
    "resolve_plain",
    "resolve_projector",
    "vocabulary_of",
]
