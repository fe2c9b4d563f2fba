"""What the tokenizer classes that come with a checkpoint tell llama.cpp's converter, without their code being run.

Their public code (``tokenization_qwen.py``, ``tokenization_hy.py``, ``tokenization_chatglm.py``,
``tokenization_kimi.py``) numbers special tokens from the first id behind the file's own.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

_EXTRAS = [f"<|extra_{i}|>" for i in range(205)]
_FILES = {
    "qwen.tiktoken": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    "hy.tiktoken": ["<|endoftext|>", "<|startoftext|>", "<|bos|>", "<|eos|>", "<|pad|>"],
}
_CHATGLM = ["[MASK]", "[gMASK]", "[sMASK]", "sop", "eop", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"]


class Ranks:
    """Of tiktoken's file."""

    def __init__(self, path: Path, special: list[str]) -> None:
        lines = [line.split() for line in path.read_bytes().splitlines()]
        self.mergeable_ranks = {base64.b64decode(text): int(rank) for text, rank in lines}
        self.special_tokens = {text: i for i, text in enumerate([*special, *_EXTRAS], len(lines))}
        self.vocab_size = len(lines) + len(self.special_tokens)

    def get_vocab(self) -> dict[Any, int]:
        return {**self.mergeable_ranks, **self.special_tokens}


class Kimi(Ranks):
    """Of tiktoken's file; ``tokenizer_config.json`` names some of its special tokens, the others are reserved.

    ``model`` is this object, too.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, [])
        self.model = self
        self._mergeable_ranks = self.mergeable_ranks
        said = json.loads((path.parent / "tokenizer_config.json").read_text())
        first, named = len(self.mergeable_ranks), {int(i): t for i, t in said["added_tokens_decoder"].items()}
        self.special_tokens = {
            named[i]["content"] if i in named else f"<|reserved_token_{i}|>": i for i in range(first, first + 258)
        }
        self.eos_id = self.special_tokens[said["eos_token"]]


class ChatGlm:
    """Of ``tokenizer.model``; ``tokenizer`` is this object, too."""

    def __init__(self, path: Path) -> None:
        import sentencepiece

        self.sp_model = sentencepiece.SentencePieceProcessor(model_file=str(path))
        self.tokenizer = self
        self.size = self.sp_model.vocab_size()

    def get_vocab(self) -> dict[str, int]:
        return {self._convert_id_to_token(i): i for i in range(self.size + len(_CHATGLM))}

    def _convert_id_to_token(self, index: int) -> str:
        if self.size <= index < self.size + len(_CHATGLM):
            return _CHATGLM[index - self.size]
        if index >= self.size or index in (self.sp_model.eos_id(), self.sp_model.bos_id(), self.sp_model.unk_id()):
            return ""
        return str(self.sp_model.id_to_piece(index))


def own_tokenizer(folder: Path, architecture: str) -> Ranks | ChatGlm | None:
    """The object a checkpoint's own class would make; None where transformers' does."""
    for name, special in _FILES.items():
        if (folder / name).is_file():
            return Ranks(folder / name, special)
    if (folder / "tiktoken.model").is_file():
        return Kimi(folder / "tiktoken.model")
    if architecture == "ChatGLMModel" and not (folder / "tokenizer.json").is_file():
        return ChatGlm(folder / "tokenizer.model")
    return None
