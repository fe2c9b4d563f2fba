"""Every bound of the GGUF reader, in one place; ``formats/gguf.md`` says the same in words.

A file is refused as soon as it goes beyond one of these, before anything is allocated for it.  They lie far above what
any model needs: the largest headers known (262,144 tokens with merges) take 16 MB, 1,300 tensors and 60 keys.
"""

VERSIONS = (2, 3)
HEADER_BYTES = 256 << 20
"""Everything before the tensor data: counts, metadata, tensor records."""
KEYS = 65_536
TENSORS = 262_144
KEY_BYTES = 65_535
NAME_BYTES = 4_096
"""Of a tensor's name; llama.cpp itself loads only up to ``LLAMA_CPP_NAME_BYTES``."""
LLAMA_CPP_NAME_BYTES = 63
DIMENSIONS = 4
ELEMENTS = 2**63 - 1
"""Of a tensor, and of each of its dimensions."""
EMPTY_ELEMENTS = 2**31 - 1
"""Of a tensor without weights if its dimensions of zero were one: nobody shall count 2^62 rows of nothing."""
ALIGNMENT = 1 << 20
"""Largest; a power of two, 32 unless ``general.alignment`` says otherwise."""
DEFAULT_ALIGNMENT = 32
SHARDS = 65_535
"""``split.count`` is a 16-bit number."""
