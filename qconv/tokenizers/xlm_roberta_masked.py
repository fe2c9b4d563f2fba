"""Kind ``xlm_roberta_masked``: as ``xlm_roberta``, from a file without the mask (llama.cpp: ``NomicBertModel``)."""

from __future__ import annotations

from qconv.tokenizers import xlm_roberta
from qconv.tokenizers.context import Context
from qconv.types import Metadata

_MASK = 250_001


def make(context: Context) -> Metadata:
    return xlm_roberta.make(context, mask=_MASK)
