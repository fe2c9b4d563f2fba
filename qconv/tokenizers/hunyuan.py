"""Kind ``hunyuan``: byte-level BPE with HunYuan's end tokens put right (llama.cpp: ``HunYuanModel.set_vocab``)."""

from __future__ import annotations

from qconv.tokenizers import gpt2
from qconv.tokenizers.job import Job
from qconv.types import Metadata, Value


def make(job: Job) -> Metadata:
    keys = gpt2.make(job)
    end = job.source.model_config.get("eod_token_id")
    if end is None and isinstance(inner := job.source.model_config.get("text_config"), dict):
        end = inner.get("eod_token_id")
    ends = job.source.object("generation_config.json").get("eos_token_id")
    turn = ends[0] if isinstance(ends, list) and len(ends) >= 2 else None
    for name, index in (("eos", end), ("eot", turn)):
        if isinstance(index, int) and 0 <= index < 1 << 32:
            keys[f"tokenizer.ggml.{name}_token_id"] = Value.uint32(index)
    return keys
