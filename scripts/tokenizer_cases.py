"""Tiny tokenizers, one case for each thing that can differ: the files of a checkpoint directory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenizer_parts import (
    BYTE_LEVEL,
    CHARSMAP,
    CONTROL,
    HEAD,
    LETTERS,
    MERGES,
    NORMAL,
    SPM_MERGES,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    WORDPIECE,
    WORDS,
    N,
    P,
    bpe,
    chat_tokens,
    decoder,
    pieces,
    sentencepiece,
    spm_bpe,
    template,
    token,
    unigram_json,
    wordpiece_json,
    words_json,
)

Files = dict[str, Any]
"""File name to what is in it: bytes, text, or a value for JSON."""


def llama(vocab_size: int, **more: Any) -> dict[str, Any]:
    return config("LlamaForCausalLM", "llama", vocab_size, **more)


def config(architecture: str, model_type: str, vocab_size: int, **more: Any) -> dict[str, Any]:
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    return {"architectures": [architecture], "model_type": model_type, "vocab_size": vocab_size, **sizes, **more}


def case(kind: str, files: Files, *, options: Mapping[str, Any] | None = None) -> tuple[str, dict[str, Any], Files]:
    return kind, dict(options or {}), files


def jina(vocab_size: int, **more: Any) -> dict[str, Any]:
    return config("JinaBertModel", "bert", vocab_size, max_position_embeddings=64, layer_norm_eps=1e-12, **more)


def nomic(vocab_size: int, **more: Any) -> dict[str, Any]:
    """A config of Nomic's with experts, every setting the one the converter insists on."""
    fixed = {"activation_function": "gelu", "causal": False, "prenorm": False, "rotary_emb_fraction": 1.0}
    biases = {"qkv_proj_bias": True, "mlp_fc1_bias": True, "mlp_fc2_bias": True, "rotary_emb_interleaved": False}
    sizes = {"n_positions": 2048, "moe_every_n_layers": 2, "rotary_emb_scale_base": None, "type_vocab_size": 1}
    return config("NomicBertModel", "nomic_bert", vocab_size, **sizes, **fixed, **biases, **more)


ROBERTA_CONFIG = {"tokenizer_class": "RobertaTokenizer", "bos_token": "<s>", "unk_token": "<unk>"}
ROBERTA = {
    "tokenizer.json": bpe(
        chat_tokens(N, "<s>", "</s>", "<unk>", "<pad>", "<mask>"),
        post_processor={
            "type": "RobertaProcessing",
            "sep": ["</s>", N + 1],
            "cls": ["<s>", N],
            "trim_offsets": True,
            "add_prefix_space": False,
        },
    ),
    "tokenizer_config.json": ROBERTA_CONFIG,
}

END = [token(N, "<|endoftext|>")]
SPM = sentencepiece(pieces(*WORDS), 2)

CASES: dict[str, tuple[str, dict[str, Any], Files]] = {
    # added tokens from everywhere, flags that differ, a hole, padding, named templates
    "bpe-added": case(
        "llama",
        {
            "config.json": llama(N + 9, bos_token_id=N, eos_token_id=[N + 1, N + 2]),
            "tokenizer.json": bpe(
                [
                    token(N, "<|begin|>"),
                    token(N + 1, "<|end|>"),
                    token(N + 2, "plain▁word", False),
                    token(N + 3, "é", normalized=False),
                ],
                post_processor={
                    "type": "Sequence",
                    "processors": [
                        BYTE_LEVEL,
                        template(["<|begin|>", "A"], ["<|begin|>", "A", "<|begin|>", "B"], {"<|begin|>": N}),
                    ],
                },
            ),
            "tokenizer_config.json": {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "add_prefix_space": False,
                "bos_token": "<|begin|>",
                "eos_token": {"__type": "AddedToken", **{k: v for k, v in token(0, "<|end|>").items() if k != "id"}},
                "unk_token": "<|new|>",
                "clean_up_tokenization_spaces": True,
                "added_tokens_decoder": decoder(
                    token(N, "<|begin|>"),
                    token(N + 1, "<|end|>"),
                    token(N + 2, "plain▁word", False),
                    token(N + 5, "<|later|>", False),
                    token(5, LETTERS[5], False),
                ),
                "additional_special_tokens": ["<|extra|>"],
                "chat_template": [
                    {"name": "default", "template": "{{ a }}"},
                    {"name": "tool use", "template": "{{ b }}"},
                ],
            },
        },
    ),
    # no added_tokens_decoder: special_tokens_map.json and added_tokens.json count
    "bpe-legacy": case(
        "llama",
        {
            "config.json": llama(N + 4),
            "tokenizer.json": bpe([token(N, "<|a|>", False)], pairs=False),
            "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512},
            "special_tokens_map.json": {
                "eos_token": "<|a|>",
                "pad_token": {
                    "content": "<|p|>",
                    "lstrip": False,
                    "normalized": False,
                    "rstrip": False,
                    "single_word": False,
                },
            },
            "added_tokens.json": {"<|c|>": N + 1},
            "chat_template.jinja": "{{ messages }}\n",
        },
    ),
    # LlamaTokenizer assumes tokens nobody named, and puts BOS in front
    "bpe-llama-class": case(
        "llama",
        {
            "config.json": llama(N + 5),
            "tokenizer.json": bpe([token(N, "<s>")]),
            "tokenizer_config.json": {
                "tokenizer_class": "LlamaTokenizerFast",
                "add_eos_token": True,
                "chat_template": None,
            },
            "chat_template.jinja": "{{ not used }}",
        },
    ),
    # the template's end token takes the place of the config's
    "bpe-end-of-turn": case(
        "llama",
        {
            "config.json": llama(N + 3, eos_token_id=N),
            "tokenizer.json": bpe(
                chat_tokens(N, "<|bos|>", "<|end|>", "<|turn|>"),
                post_processor=template(
                    ["<|bos|>", "A", "<|turn|>"],
                    ["<|bos|>", "A", "<|end|>", "B", "<|turn|>"],
                    {"<|bos|>": N, "<|end|>": N + 1, "<|turn|>": N + 2},
                ),
                normalizer={"type": "Sequence", "normalizers": [{"type": "Lowercase"}, {"type": "StripAccents"}]},
            ),
            "tokenizer_config.json": {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "eos_token": "<|end|>",
                "add_bos_token": False,
                "cls_token": "<|bos|>",
            },
            "chat_template.json": {"chat_template": "{{ json }}"},
        },
    ),
    "bpe-roberta": case(
        "gpt2",
        {
            "config.json": config("GPT2LMHeadModel", "gpt2", N + 6, n_embd=64, n_layer=2, n_head=4, n_ctx=64),
            "tokenizer.json": bpe(
                chat_tokens(N, "<s>", "</s>", "<unk>"),
                post_processor={
                    "type": "RobertaProcessing",
                    "sep": ["</s>", N + 1],
                    "cls": ["<s>", N],
                    "trim_offsets": True,
                    "add_prefix_space": False,
                },
            ),
            "tokenizer_config.json": {"tokenizer_class": "RobertaTokenizer", "bos_token": "<s>", "unk_token": "<unk>"},
            "chat_template.jinja": "{{ first }}",
            "additional_chat_templates/rag.jinja": "{{ second }}",
        },
    ),
    # no tokenizer_config.json at all
    "bpe-bare": case(
        "gpt2",
        {
            "config.json": config(
                "GPT2LMHeadModel",
                "gpt2",
                N + 1,
                n_embd=64,
                n_layer=2,
                n_head=4,
                n_ctx=64,
                bos_token_id=N,
                eos_token_id=N,
            ),
            "tokenizer.json": bpe(END, post_processor=template(["<|endoftext|>", "A"], [], {"<|endoftext|>": N})),
        },
    ),
    "slow-gpt2": case(
        "gpt2",
        {
            "config.json": config("GPT2LMHeadModel", "gpt2", N + 1, n_embd=64, n_layer=2, n_head=4, n_ctx=64),
            "vocab.json": {**bpe([])["model"]["vocab"], "<|endoftext|>": N},
            "merges.txt": "#version: 0.2\n" + "\n".join(f"{a} {b}" for a, b in MERGES) + "\n",
            "tokenizer_config.json": {
                "tokenizer_class": "GPT2Tokenizer",
                "eos_token": "<|endoftext|>",
                "add_bos_token": False,
            },
        },
    ),
    "slow-qwen2": case(
        "sentencepiece_or_gpt2",
        {
            "config.json": config("Qwen2ForCausalLM", "qwen2", N + 2, num_key_value_heads=2, eos_token_id=N),
            "vocab.json": bpe([])["model"]["vocab"],
            "merges.txt": "\n".join(f"{a} {b}" for a, b in MERGES),
            "tokenizer_config.json": {
                "tokenizer_class": "Qwen2Tokenizer",
                "added_tokens_decoder": decoder(token(N, "<|endoftext|>")),
            },
        },
    ),
    "codellama": case(
        "llama",
        {
            "config.json": llama(32016, bos_token_id=1, eos_token_id=2),
            "tokenizer.model": SPM,
            "tokenizer_config.json": {"tokenizer_class": "CodeLlamaTokenizer", "chat_template": "{{ a }}"},
        },
    ),
    "granite-small": case(
        "llama",
        {
            "config.json": config("GraniteForCausalLM", "granite", 49152, bos_token_id=0),
            "tokenizer.json": bpe(END),
            "tokenizer_config.json": {"tokenizer_class": "GPT2Tokenizer", "add_bos_token": True},
        },
    ),
    "spm-added": case(
        "llama",
        {
            "config.json": llama(P + 6, bos_token_id=1, eos_token_id=2, pad_token_id=P + 6),
            "tokenizer.model": sentencepiece(
                [*pieces(*WORDS), ("spare", -9.0, UNUSED), ("own", -9.5, USER_DEFINED)], 2
            ),
            "added_tokens.json": {"<extra>": P + 2, "<far>": P + 60},
            "tokenizer_config.json": {
                "tokenizer_class": "LlamaTokenizer",
                "legacy": True,
                "added_tokens_decoder": decoder(
                    *HEAD, token(P + 3, "two▁words", False), token(P + 4, "<|odd|>", False), token(P + 40, "<far>")
                ),
                "chat_template": "{{ a }}",
            },
        },
    ),
    # more pieces than the embedding has rows
    "spm-cut": case(
        "llama",
        {
            "config.json": llama(P - 2, bos_token_id=1, eos_token_id=P),
            "tokenizer.model": SPM,
        },
    ),
    "spm-json": case(
        "llama",
        {
            "config.json": llama(P + 2, bos_token_id=1, eos_token_id=2),
            "tokenizer.json": spm_bpe(WORDS, SPM_MERGES, [*HEAD, token(P, "<user>", False), token(P + 1, "<ctl>")]),
            "tokenizer_config.json": {
                "tokenizer_class": "LlamaTokenizer",
                "legacy": False,
                "added_tokens_decoder": decoder(*HEAD, token(P, "<user>", False), token(P + 1, "<ctl>")),
                "additional_special_tokens": ["<ctl>"],
            },
        },
    ),
    "gemma": case(
        "gemma",
        {
            "config.json": config(
                "GemmaForCausalLM", "gemma", P, bos_token_id=1, eos_token_id=2, head_dim=16, num_key_value_heads=1
            ),
            "tokenizer.model": SPM,
            "tokenizer_config.json": {"tokenizer_class": "GemmaTokenizer", "chat_template": "{{ a }}"},
        },
    ),
    "gemma4": case(
        "gemma4",
        {
            "config.json": config(
                "Gemma4ForCausalLM", "gemma4", P + 2, bos_token_id=1, eos_token_id=2, head_dim=16, num_key_value_heads=1
            ),
            "tokenizer.json": spm_bpe(WORDS, SPM_MERGES, [*HEAD, token(P, "<|channel>"), token(P + 1, "<tool_call|>")]),
            "tokenizer_config.json": {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "bos_token": "<s>",
                "eos_token": "</s>",
                "additional_special_tokens": ["<|channel>"],
            },
        },
    ),
    "nemotron": case(
        "nemotron",
        {
            "config.json": config("NemotronForCausalLM", "nemotron", P, bos_token_id=1, eos_token_id=2),
            "tokenizer.model": SPM,
        },
    ),
    "ernie": case(
        "ernie4_5",
        {
            "config.json": config("Ernie4_5ForCausalLM", "ernie4_5", P, bos_token_id=1, eos_token_id=2),
            "tokenizer.model": SPM,
            "tokenizer_config.json": {"tokenizer_class": "LlamaTokenizer", "add_prefix_space": False},
        },
    ),
    "jamba-json": case(
        "jamba",
        {
            "config.json": config(
                "JambaForCausalLM", "jamba", P, bos_token_id=1, eos_token_id=2, num_key_value_heads=2
            ),
            "tokenizer.json": spm_bpe(WORDS, SPM_MERGES, HEAD),
            "tokenizer_config.json": {"tokenizer_class": "LlamaTokenizer"},
        },
    ),
    "phi3": case(
        "phi3_or_gpt2",
        {
            "config.json": config("Phi3ForCausalLM", "phi3", P + 4, bos_token_id=1, eos_token_id=P),
            "tokenizer.model": SPM,
            "added_tokens.json": {"<|end|>": P, "<|x|>": P + 99},
            "tokenizer_config.json": {
                "tokenizer_class": "LlamaTokenizer",
                "added_tokens_decoder": decoder(*HEAD, token(P, "<|end|>"), token(P + 1, "<|user|>", False)),
            },
            "tokenizer.json": spm_bpe(WORDS, SPM_MERGES, [*HEAD, token(P, "<|end|>"), token(P + 1, "<|user|>")]),
        },
    ),
    "internlm2": case(
        "internlm2",
        {
            "config.json": config(
                "InternLM2ForCausalLM",
                "internlm2",
                P + 2,
                bos_token_id=1,
                eos_token_id=2,
                num_key_value_heads=2,
                bias=False,
                auto_map={},
            ),
            "tokenizer.model": sentencepiece(
                [*pieces(*WORDS), ("\0", -8.0, NORMAL), ("[UNUSED_TOKEN_1]", -9.0, NORMAL)], 2, prefix=False
            ),
            "added_tokens.json": {"<|plugin|>": P + 2},
            "tokenizer_config.json": {"added_tokens_decoder": decoder(*HEAD, token(P + 1, "<|im_end|>"))},
        },
    ),
    "internlm3": case(
        "internlm3",
        {
            "config.json": config(
                "InternLM3ForCausalLM",
                "internlm3",
                P + 2,
                bos_token_id=1,
                eos_token_id=2,
                num_key_value_heads=2,
                head_dim=16,
                bias=False,
            ),
            "tokenizer.model": SPM,
            "tokenizer_config.json": {
                "add_prefix_space": True,
                "added_tokens_decoder": decoder(*HEAD, token(P, "<|im_end|>")),
            },
        },
    ),
    "hunyuan": case(
        "hunyuan",
        {
            "config.json": config(
                "HunYuanDenseV1ForCausalLM",
                "hunyuan_v1_dense",
                N + 3,
                num_key_value_heads=2,
                head_dim=16,
                eod_token_id=N,
                eos_token_id=N + 1,
                pad_token_id=-1,
            ),
            "generation_config.json": {"eos_token_id": [N + 2, N + 1]},
            "tokenizer.json": bpe(chat_tokens(N, "<|eod|>", "<|eos|>", "<|turn|>")),
            "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|eos|>"},
        },
    ),
    # a config transformers has no class for: its other end counts
    "hunyuan-vl": case(
        "hunyuan",
        {
            "config.json": config(
                "HunYuanVLForConditionalGeneration",
                "hunyuan_vl",
                N + 3,
                num_key_value_heads=2,
                head_dim=16,
                eod_token_id=N,
                eos_token_id=N + 1,
                pad_token_id=-1,
            ),
            "generation_config.json": {"eos_token_id": [N + 2, N + 1]},
            "tokenizer.json": bpe(chat_tokens(N, "<|eod|>", "<|eos|>", "<|turn|>")),
            "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|eos|>"},
        },
    ),
    "glm4": case(
        "glm4",
        {
            "config.json": config("Glm4ForCausalLM", "glm4", N + 6, num_key_value_heads=2, eos_token_id=[N, N + 2]),
            "tokenizer.json": bpe(chat_tokens(N, "<|endoftext|>", "[gMASK]", "<|user|>", "<|observation|>")),
            "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<|endoftext|>"},
        },
    ),
    "glm4-moe": case(
        "glm4_moe",
        {
            "config.json": config(
                "Glm4MoeForCausalLM", "glm4_moe", N + 6, num_key_value_heads=2, head_dim=16, eos_token_id=[N, N + 2]
            ),
            "tokenizer.json": bpe(chat_tokens(N, "<|endoftext|>", "[gMASK]", "<|user|>", "<|observation|>")),
            "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"},
        },
    ),
    "mamba": case(
        "mamba",
        {
            "config.json": config("MambaForCausalLM", "mamba", N + 1, state_size=16, conv_kernel=4, expand=2),
            "tokenizer.json": bpe(END),
            "tokenizer_config.json": {"tokenizer_class": "GPTNeoXTokenizer"},
        },
    ),
    "mamba2": case(
        "mamba2",
        {
            "config.json": config(
                "Mamba2ForCausalLM",
                "mamba2",
                N + 1,
                state_size=16,
                conv_kernel=4,
                expand=2,
                num_heads=8,
                head_dim=16,
                n_groups=1,
                pad_vocab_size_multiple=32,
            ),
            "tokenizer.json": bpe(END),
            "tokenizer_config.json": {"tokenizer_class": "GPTNeoXTokenizer"},
        },
    ),
    "modern-bert": case(
        "modern_bert",
        {
            "config.json": config(
                "ModernBertModel",
                "modernbert",
                N + 3,
                sep_token_id=N + 1,
                local_attention=32,
                global_attn_every_n_layers=2,
            ),
            "tokenizer.json": bpe(
                chat_tokens(N, "[CLS]", "[SEP]", "[MASK]"),
                post_processor=template(
                    ["[CLS]", "A", "[SEP]"], ["[CLS]", "A", "[SEP]", "B", "[SEP]"], {"[CLS]": N, "[SEP]": N + 1}
                ),
            ),
            "tokenizer_config.json": {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "cls_token": "[CLS]",
                "sep_token": "[SEP]",
                "mask_token": "[MASK]",
            },
        },
    ),
    "bert": case(
        "wordpiece",
        {
            "config.json": config(
                "BertModel", "bert", 12, max_position_embeddings=64, layer_norm_eps=1e-12, type_vocab_size=2
            ),
            "tokenizer.json": wordpiece_json(),
            "tokenizer_config.json": {
                "tokenizer_class": "BertTokenizer",
                "do_lower_case": False,
                "cls_token": "[CLS]",
                "sep_token": "[SEP]",
            },
        },
    ),
    "bert-vocab-txt": case(
        "wordpiece",
        {
            "config.json": config(
                "BertModel", "bert", 10, max_position_embeddings=64, layer_norm_eps=1e-12, type_vocab_size=2
            ),
            "vocab.txt": "\n".join(WORDPIECE) + "\n",
            "tokenizer_config.json": {"tokenizer_class": "BertTokenizer", "cls_token": "[CLS]"},
        },
    ),
    "t5": case(
        "t5",
        {
            "config.json": {
                "architectures": ["T5ForConditionalGeneration"],
                "model_type": "t5",
                "vocab_size": 16,
                "d_model": 64,
                "num_layers": 2,
                "num_heads": 4,
                "d_kv": 16,
                "d_ff": 128,
                "n_positions": 64,
                "pad_token_id": 0,
                "eos_token_id": 1,
                "decoder_start_token_id": 0,
            },
            "spiece.model": sentencepiece(
                [
                    ("<pad>", 0, CONTROL),
                    ("</s>", 0, CONTROL),
                    ("<unk>", 0, UNKNOWN),
                    ("▁the", -1.5, NORMAL),
                    ("e", -3.25, NORMAL),
                ],
                1,
                charsmap=CHARSMAP,
            ),
            "added_tokens.json": {"<extra_id_0>": 5},
            "tokenizer_config.json": {"eos_token": "</s>", "pad_token": "<pad>"},
        },
    ),
    "xlm-roberta": case(
        "xlm_roberta",
        {
            "config.json": config(
                "XLMRobertaModel",
                "xlm-roberta",
                12,
                max_position_embeddings=66,
                type_vocab_size=1,
                layer_norm_eps=1e-5,
                bos_token_id=0,
                eos_token_id=2,
                pad_token_id=1,
            ),
            "sentencepiece.bpe.model": sentencepiece(
                [
                    ("<unk>", 0, UNKNOWN),
                    ("<s>", 0, CONTROL),
                    ("</s>", 0, CONTROL),
                    ("▁the", -1, NORMAL),
                    ("▁", -2, NORMAL),
                    ("e", -3, NORMAL),
                ],
                1,
                charsmap=CHARSMAP,
            ),
            "tokenizer_config.json": {"tokenizer_class": "XLMRobertaTokenizer"},
        },
    ),
    "xlm-roberta-json": case(
        "xlm_roberta",
        {
            "config.json": config(
                "XLMRobertaModel",
                "xlm-roberta",
                12,
                max_position_embeddings=66,
                type_vocab_size=1,
                layer_norm_eps=1e-5,
                bos_token_id=0,
                eos_token_id=2,
                pad_token_id=1,
            ),
            "tokenizer.json": unigram_json(),
            "tokenizer_config.json": {
                "tokenizer_class": "XLMRobertaTokenizer",
                "clean_up_tokenization_spaces": True,
                "unk_token": "<unk>",
            },
        },
    ),
    # the mask has an id far behind the pieces
    "xlm-roberta-masked": case(
        "xlm_roberta_masked",
        {
            "config.json": nomic(250_003, pad_token_id=1, bos_token_id=0, eos_token_id=2),
            "sentencepiece.bpe.model": sentencepiece(
                [
                    ("<unk>", 0, UNKNOWN),
                    ("<s>", 0, CONTROL),
                    ("</s>", 0, CONTROL),
                    ("▁the", -1, NORMAL),
                    ("▁", -2, NORMAL),
                    ("e", -3, NORMAL),
                ],
                1,
                charsmap=CHARSMAP,
            ),
            "tokenizer.json": unigram_json(),
            "tokenizer_config.json": {"tokenizer_class": "XLMRobertaTokenizer", "mask_token": "<mask>"},
        },
    ),
    "roberta": case(
        "roberta",
        {
            "config.json": config(
                "RobertaModel",
                "roberta",
                N + 6,
                max_position_embeddings=66,
                type_vocab_size=1,
                layer_norm_eps=1e-5,
                bos_token_id=N,
                pad_token_id=1,
                eos_token_id=N + 1,
            ),
            **ROBERTA,
        },
    ),
    "jina-words": case(
        "jina_bert",
        {"config.json": jina(11), "tokenizer.json": words_json(), "tokenizer_config.json": ROBERTA_CONFIG},
    ),
    # two types of tokens, whatever the config says
    "jina-bpe": case("jina_bert", {"config.json": jina(N + 6, type_vocab_size=1), **ROBERTA}),
    "jina-pieces": case(
        "jina_bert",
        {
            "config.json": jina(12, type_vocab_size=3),
            "tokenizer.json": wordpiece_json(),
            "tokenizer_config.json": {"tokenizer_class": "BertTokenizer", "mask_token": "[MASK]"},
        },
    ),
}


PRE = {**dict.fromkeys(("bert", "bert-vocab-txt", "jina-pieces"), "jina-v2-en"), "slow-qwen2": "qwen2"}
"""The pre-tokenizer of each case; ``gpt-2`` for the others."""
