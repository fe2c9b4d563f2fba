"""Kind ``qwen_tiktoken``: ``qwen.tiktoken`` of the first Qwen models (llama.cpp: ``_set_vocab_qwen``)."""

from __future__ import annotations

from qconv.tokenizers import tiktoken
from qconv.tokenizers.job import Job
from qconv.tokenizers.special import SpecialTokens
from qconv.tokenizers.tables import tables
from qconv.types import Metadata

END_OF_TEXT = "<|endoftext|>"


def make(job: Job) -> Metadata:
    special, keys = tiktoken.read(job, tables().tiktoken["qwen"])
    tokens = SpecialTokens(job.source)
    if not tokens.ids:
        tokens.set("bos", special[END_OF_TEXT])
        tokens.set("eos", special[END_OF_TEXT])
    tokens.set("unk", special[END_OF_TEXT])
    return keys | tokens.metadata()
