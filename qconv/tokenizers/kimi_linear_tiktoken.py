"""Kind ``kimi_linear_tiktoken``: as ``kimi_tiktoken``, its end by name (llama.cpp: ``KimiLinearModel.set_vocab``)."""

from __future__ import annotations

from qconv.tokenizers import kimi_tiktoken
from qconv.tokenizers.context import Context
from qconv.types import Metadata


def make(context: Context) -> Metadata:
    return kimi_tiktoken.make(context, named_end=True)
