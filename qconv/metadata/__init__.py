"""A file's metadata but the architecture's and the tokenizer's: ``general.*``, the order of keys, the file's name."""

from qconv.metadata.assemble import FILE_TYPE, PROJECTOR, assemble, is_projector, overridden, quantized
from qconv.metadata.card import read_card
from qconv.metadata.general import General, gather, lone
from qconv.metadata.naming import file_name, stem_of
from qconv.metadata.override import parse_override
from qconv.metadata.size import Weights, count

__all__ = [
    "FILE_TYPE",
    "PROJECTOR",
    "General",
    "Weights",
    "assemble",
    "count",
    "file_name",
    "gather",
    "is_projector",
    "lone",
    "overridden",
    "parse_override",
    "quantized",
    "read_card",
    "stem_of",
]
