"""Tiny tokenizers in files of their models' own, and in usual ones of which the models make something else."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from tokenizer_cases import config
from tokenizer_parts import (
    HEAD,
    SPM_MERGES,
    WORDS,
    N,
    P,
    bpe,
    chat_tokens,
    decoder,
    pieces,
    sentencepiece,
    spm_bpe,
    token,
    write,
)

_SPM = sentencepiece(pieces(*WORDS), 2)
_FAST = {"tokenizer_class": "PreTrainedTokenizerFast"}


def ranks(*words: bytes) -> bytes:
    """tiktoken's file: 256 bytes, in an order that is not theirs, and ``words``."""
    tokens = [*(bytes([(7 * i + 33) % 256]) for i in range(256)), *words]
    return b"".join(base64.b64encode(text) + b" %d\n" % rank for rank, text in enumerate(tokens))


RANKS = ranks(b" t", b"he", b" the", b"in", b"\xc3\xa9", b"re", b"er", b" there")
UNREACHED = ranks(b" t", b"he", b" the", b"in", b"\xc3\xa9", b"ther", b"er", b"there")
"""No two tokens of lower ranks make ``ther``."""
R = 256 + 8

RWKV = [
    r"'\x00' 1",
    r"b'\xff' 1",
    r"' ' 1",
    '"\'" 1',
    r"""'"' 1""",
    r"'\'\"' 2",
    r"'\\' 1",
    r"'\n\n' 2",
    "'é' 2",
    "'天天 x' 8",
    r"'\u200b' 3",
    r"b'\xe5\xa4' 2",
]

PLAMO: list[list[Any]] = [
    ["<|plamo:unk|>", 0.0, "UNKNOWN", 0],
    ["<|plamo:bos|>", 0.0, "CONTROL", 0],
    ["<|plamo:eos|>", 0.0, "CONTROL", 0],
    ["<|plamo:pad|>", 0.0, "CONTROL", 0],
    ["<|plamo:op|>", -1.5, "NORMAL", 0],
    ["<|plamo:tag|>", -2.5, "NORMAL", 0],
    ["<|plamo:begin_", -2.75, "NORMAL", 0],
    [":plamo|>", -2.875, "CONTROL", 0],
    ["<0x41>", 0.0, "BYTE", 0],
    ["天", -3.0, "NORMAL", 0],
    ["the", -4.0],
]


def plamo(version: int, **more: Any) -> dict[str, Any]:
    return {
        "config.json": config(f"Plamo{version}ForCausalLM", f"plamo{version}", 13, num_key_value_heads=2),
        "tokenizer.jsonl": b"".join(write(line) + b"\n" for line in PLAMO),
        "tokenizer_config.json": {
            "tokenizer_class": f"Plamo{version}Tokenizer",
            "bos_token": "<|plamo:bos|>",
            "eos_token": "<|plamo:eos|>",
            "unk_token": "<|plamo:unk|>",
            "pad_token": "<|plamo:pad|>",
            "sep_token": None,
            "add_bos_token": True,
            **more,
        },
    }


def kimi(architecture: str, model_type: str, vocab_size: int, **more: Any) -> dict[str, Any]:
    """A vocabulary with two of its reserved tokens named."""
    return {
        "config.json": config(architecture, model_type, vocab_size, bos_token_id=R, eos_token_id=R + 1, **more),
        "tiktoken.model": UNREACHED,
        "tokenizer_config.json": {
            "tokenizer_class": "TikTokenTokenizer",
            "added_tokens_decoder": decoder(token(R, "[BOS]"), token(R + 3, "<|im_end|>")),
            "bos_token": "[BOS]",
            "eos_token": "<|im_end|>",
            "chat_template": "{{ a }}",
        },
    }


OWN_CASES: dict[str, tuple[str, Mapping[str, Any], dict[str, Any]]] = {
    "qwen": (
        "qwen",
        {},
        {
            "config.json": config("QWenLMHeadModel", "qwen", R + 210),
            "qwen.tiktoken": RANKS,
            "tokenizer_config.json": {"tokenizer_class": "QWenTokenizer", "add_bos_token": False},
        },
    ),
    # an id in config.json, so the code's are not taken
    "qwen-ids": (
        "qwen",
        {},
        {
            "config.json": config("QWenLMHeadModel", "qwen", R + 208, eos_token_id=R + 2),
            "qwen.tiktoken": RANKS,
            "tokenizer_config.json": {"tokenizer_class": "QWenTokenizer", "chat_template": "{{ a }}"},
        },
    ),
    "hunyuan-moe": (
        "hunyuan_moe",
        {},
        {
            "config.json": config(
                "HunYuanMoEV1ForCausalLM",
                "hunyuan_v1_moe",
                R + 210,
                bos_token_id=1,
                eos_token_id=R + 3,
                pad_token_id=R + 4,
            ),
            "hy.tiktoken": UNREACHED,
            "tokenizer_config.json": {"tokenizer_class": "HYTokenizer", "chat_template": "{{ a }}"},
        },
    ),
    "hunyuan-7b": (
        "hunyuan",
        {},
        {
            "config.json": config(
                "HunYuanDenseV1ForCausalLM",
                "hunyuan_v1_dense",
                R + 210,
                hidden_size=4096,
                head_dim=16,
                bos_token_id=1,
                eod_token_id=R,
                eos_token_id=R + 3,
            ),
            "generation_config.json": {"eos_token_id": [R + 3, R]},
            "hy.tiktoken": UNREACHED,
            "tokenizer_config.json": {"tokenizer_class": "HYTokenizer"},
        },
    ),
    "kimi": ("kimi_tiktoken", {}, kimi("DeepseekV3ForCausalLM", "kimi_k2", R + 260)),
    # fewer rows than reserved tokens, and the end by its name
    "kimi-linear": ("kimi_linear_tiktoken", {}, kimi("KimiLinearForCausalLM", "kimi_linear", R + 9)),
    "chatglm3": (
        "chatglm",
        {},
        {
            "config.json": config(
                "ChatGLMModel",
                "chatglm",
                P + 12,
                padded_vocab_size=P + 12,
                _name_or_path="THUDM/chatglm3-6b",
                eos_token_id=2,
            ),
            "tokenizer.model": _SPM,
            "tokenizer_config.json": {"tokenizer_class": "ChatGLMTokenizer", "chat_template": "{{ a }}"},
        },
    ),
    "chatglm4": (
        "chatglm",
        {},
        {
            "config.json": config("GlmForCausalLM", "glm", N + 5, num_key_value_heads=2, eos_token_id=[N, N + 2]),
            "tokenizer.json": bpe(chat_tokens(N, "<|endoftext|>", "[gMASK]", "<|user|>")),
            "tokenizer_config.json": _FAST,
        },
    ),
    "rwkv": (
        "rwkv",
        {},
        {
            "config.json": config("Rwkv6ForCausalLM", "rwkv6", 300, bos_token_id=7, eos_token_id=8),
            "rwkv_vocab_v20230424.txt": "".join(f"{i} {line}\n" for i, line in enumerate(RWKV, 1)),
            "tokenizer_config.json": {"add_prefix_space": False, "pad_token": "x", "chat_template": "{{ a }}"},
        },
    ),
    # neither template nor config of the tokenizer: llama.cpp's converter has a template for it
    "rwkv-bare": (
        "rwkv",
        {},
        {
            "config.json": config("Rwkv6ForCausalLM", "rwkv6", 300),
            "rwkv_vocab_v20230424.txt": "".join(f"{i} {line}\n" for i, line in enumerate(RWKV, 1)),
        },
    ),
    "plamo2": ("plamo", {}, plamo(2, chat_template="{{ not written }}")),
    "plamo3": (
        "plamo3",
        {},
        {**plamo(3, chat_template="{{ not used }}", add_eos_token=False), "chat_template.jinja": "{{ used }}\n"},
    ),
    "arctic": (
        "arctic",
        {},
        {
            "config.json": config("ArcticForCausalLM", "arctic", P + 2, num_key_value_heads=2, bos_token_id=P - 2),
            "tokenizer.model": _SPM,
            "added_tokens.json": {"<not read>": P},
            "tokenizer_config.json": {
                "unk_token": "<unk>",
                "added_tokens_decoder": decoder(
                    token(0, "<unk>"),
                    token(P - 2, "<|im_start|>"),
                    token(P - 1, "<|im_end|>"),
                    token(P, "<|soft|>", False),
                    token(P + 9, "<|far|>"),
                ),
            },
        },
    ),
    "xverse": (
        "xverse",
        {},
        {
            "config.json": config(
                "XverseForCausalLM", "xverse", P + 2, bos_token_id=1, eos_token_id=2, pad_token_id=P + 3
            ),
            "tokenizer.json": spm_bpe(
                [*WORDS[:-1], "\0"], SPM_MERGES[:2], [*HEAD, token(P, "<|user|>"), token(P + 1, "<|odd|>", False)]
            ),
            "tokenizer_config.json": _FAST,
        },
    ),
    "laguna": (
        "laguna",
        {},
        {
            "config.json": config("LagunaForCausalLM", "laguna", N + 3, bos_token_id=N, eos_token_id=[N, N + 1]),
            "tokenizer.json": bpe(
                [token(N, "<|eos|>"), token(N + 1, "</assistant>", False), token(N + 2, "<x>", False)]
            ),
            "tokenizer_config.json": {**_FAST, "chat_template": "{% include 'chat_template.jinja' %}"},
            "chat_template.jinja": "{{ used }}\n",
        },
    ),
    "muse-glimmer": (
        "muse_glimmer",
        {},
        {
            "config.json": config("MuseGlimmerForConditionalGeneration", "muse_glimmer", N + 2, eos_token_id=N),
            "tokenizer.json": bpe(chat_tokens(N, "<|end|>", "<|eot|>")),
            "tokenizer_config.json": {**_FAST, "add_bos_token": True},
        },
    ),
    "minimax-template": (
        "minimax",
        {},
        {
            "config.json": config("MiniMaxText01ForCausalLM", "minimax_text_01", N + 1, eos_token_id=N),
            "tokenizer.json": bpe(chat_tokens(N, "<end_of_document>")),
            "tokenizer_config.json": {**_FAST, "chat_template": "{{ not used }}"},
            "chat_template.jinja": "{{ used }}\n",
        },
    ),
    # without chat_template.jinja the converter takes its own
    "minimax-no-file": (
        "minimax",
        {},
        {
            "config.json": config("MiniMaxText01ForCausalLM", "minimax_text_01", N + 1, eos_token_id=N),
            "tokenizer.json": bpe(chat_tokens(N, "<end_of_document>")),
            "tokenizer_config.json": {**_FAST, "chat_template": "{{ not used }}"},
        },
    ),
    # tokens that look special and are not marked so
    "dream": (
        "dream",
        {},
        {
            "config.json": config("DreamModel", "Dream", N + 4, mask_token_id=N + 1),
            "tokenizer.json": bpe(
                [
                    token(N, "<|endoftext|>"),
                    token(N + 1, "<|mask|>"),
                    token(N + 2, "<|fim|>", False),
                    token(N + 3, "a▁b", False),
                ]
            ),
            "tokenizer_config.json": _FAST,
        },
    ),
    "dream-spm": (
        "dream",
        {},
        {
            "config.json": config("DreamModel", "Dream", P, bos_token_id=1, mask_token_id=2),
            "tokenizer.model": _SPM,
        },
    ),
    "llada": (
        "llada",
        {},
        {
            "config.json": config(
                "LLaDAModelLM", "llada", N + 2, d_model=64, n_layers=2, n_heads=4, mask_token_id=N + 1
            ),
            "tokenizer.json": bpe([token(N, "<|startoftext|>"), token(N + 1, "<|mdm_mask|>", False)]),
            "tokenizer_config.json": {**_FAST, "add_bos_token": False, "bos_token": "<|startoftext|>"},
        },
    ),
}

OWN_PRE = {"qwen": "qwen2", "qwen-ids": "qwen2", "hunyuan-moe": "hunyuan", "hunyuan-7b": "hunyuan-dense"}
OWN_PRE |= {"kimi": "kimi-k2", "kimi-linear": "kimi-k2"}
"""The pre-tokenizers of vocabularies that have only one."""
