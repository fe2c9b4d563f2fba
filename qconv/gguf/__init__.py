"""The GGUF container: reads and writes headers, lays out files, names and gathers shards.

Only here are shapes turned around: ``TensorInfo.shape`` is row-major, GGUF's ``ne`` starts with the columns.
"""

from qconv.gguf.file import File, Strings, Tensor, is_shape, padded, tensor_bytes
from qconv.gguf.read import read, read_header
from qconv.gguf.split import divide, open_shards, read_shards, shard_metadata, shard_of, shard_path, whole_metadata
from qconv.gguf.write import Layout, header, packed

__all__ = [
    "File",
    "Layout",
    "Strings",
    "Tensor",
    "divide",
    "header",
    "is_shape",
    "open_shards",
    "packed",
    "padded",
    "read",
    "read_header",
    "read_shards",
    "shard_metadata",
    "shard_of",
    "shard_path",
    "tensor_bytes",
    "whole_metadata",
]
