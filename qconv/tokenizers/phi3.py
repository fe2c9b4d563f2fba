"""Kind ``phi3``: ``tokenizer.model`` with the added tokens of every file (llama.cpp: ``Phi3MiniModel.set_vocab``).

Phi-4, of the same architecture, has GPT-2's class and byte-level BPE: another kind.
"""

from __future__ import annotations

from qconv.tokenizers.job import Job, OtherKind
from qconv.tokenizers.sentencepiece import add_all, base_vocabulary, load
from qconv.tokenizers.special import special_metadata
from qconv.types import Metadata


def make(job: Job) -> Metadata:
    if job.source.tokenizer_config.get("tokenizer_class") == "GPT2Tokenizer":
        raise OtherKind("is a GPT2Tokenizer", file=job.source.path("tokenizer_config.json"))
    vocabulary = base_vocabulary(job, load(job, "tokenizer.model"), cut=False)
    add_all(job, vocabulary)
    return vocabulary.metadata("llama", "default") | special_metadata(job, len(vocabulary))
