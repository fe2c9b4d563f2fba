"""Running GGUF files in llama.cpp, which the ``xllamacpp`` wheel holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import xllamacpp

PROMPT = "The first thing to know about a quantized model"


def complete(file: Path, tokens: int = 8, probabilities: int = 0, adapter: Path | None = None) -> dict[str, Any]:
    """Loads a file and lets it go on from ``PROMPT``, always taking the likeliest token; raises when that fails.

    ``adapter``: an adapter's file, which is added to the model.
    ``text``: what it said.  ``prompt_tokens``: how many tokens the prompt has.  ``logprobs``: natural logarithms of
    the probabilities of the first token, by token id.
    """
    options = xllamacpp.CommonParams()
    options.model.path = str(file)
    options.n_ctx = 256
    options.n_parallel = 1
    options.warmup = False
    options.fit_params = False
    options.verbosity = 0
    options.cpuparams.n_threads = 1
    options.port = 0
    if adapter is not None:
        options.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(adapter), 1.0)]
    server = xllamacpp.Server(options)
    asked = {"prompt": PROMPT, "max_tokens": tokens, "temperature": 0, "logprobs": probabilities, "cache_prompt": False}
    answer = server.handle_completions(asked)
    if isinstance(answer, str):
        answer = json.loads(answer)
    if "choices" not in answer:
        raise RuntimeError(f"{file}: {answer}")
    choice = answer["choices"][0]
    first = choice["logprobs"]["content"][0]["top_logprobs"] if probabilities else []
    return {
        "text": choice["text"],
        "prompt_tokens": answer["usage"]["prompt_tokens"],
        "completion_tokens": answer["usage"]["completion_tokens"],
        "logprobs": {entry["id"]: entry["logprob"] for entry in first},
    }
