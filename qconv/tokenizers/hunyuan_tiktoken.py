"""Kind ``hunyuan_tiktoken``: Hunyuan's ``hy.tiktoken`` (llama.cpp: ``HunYuanMoEModel.set_vocab``)."""

from __future__ import annotations

from qconv.tokenizers import tiktoken
from qconv.tokenizers.job import Job
from qconv.tokenizers.special import SpecialTokens
from qconv.tokenizers.tables import tables
from qconv.types import Metadata


def make(job: Job) -> Metadata:
    _, keys = tiktoken.read(job, tables().tiktoken["hunyuan"])
    return keys | SpecialTokens(job.source).metadata()
