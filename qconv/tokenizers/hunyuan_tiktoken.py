"""Kind ``hunyuan_tiktoken``: Hunyuan's ``hy.tiktoken`` (llama.cpp: ``HunYuanMoEModel.set_vocab``)."""

from __future__ import annotations

from qconv.tokenizers import tiktoken
from qconv.tokenizers.context import Context
from qconv.tokenizers.special import SpecialTokens
from qconv.tokenizers.tables import tables
from qconv.types import Metadata


def make(context: Context) -> Metadata:
    _, keys = tiktoken.read(context, tables().tiktoken["hunyuan"])
    return keys | SpecialTokens(context.files).metadata()
