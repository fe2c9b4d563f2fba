"""Carries out what ``formats/architectures/`` declares: names, shapes, operations, metadata."""

from qconv.architectures.resolve import Resolved, find_table, resolve, resolve_gguf, resolve_plain
from qconv.architectures.table import classes, names
from qconv.architectures.tensors import MappedTensor

__all__ = [
    "MappedTensor",
    "Resolved",
    "classes",
    "find_table",
    "names",
    "resolve",
    "resolve_gguf",
    "resolve_plain",
]
