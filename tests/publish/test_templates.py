"""Templates for Ollama: each does what the chat template does that it stands for.

What is expected was rendered by jinja2 3.1 from the models' own chat templates, with add_generation_prompt.
"""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from qconv import formats
from tests.publish.go_template import render

TABLE: dict[str, Any] = tomllib.loads((formats.ROOT / "ollama.toml").read_text("utf-8"))
WRITTEN: dict[str, Any] = TABLE["written"]
SYSTEM = "Be kind."
LLAMA = "<|start_header_id|>{}<|end_header_id|>\n\n{}<|eot_id|>"
CHATML = "<|im_start|>{}\n{}<|im_end|>\n"
TALK = [("user", "Hi"), ("assistant", "Hello"), ("user", "Bye")]


def marked(form: str, end: str, system: str = "") -> str:
    """The talk by a form for each message, after a system message where there is one."""
    first = form.format("system", system) if system else ""
    return first + "".join(form.format(role, text) for role, text in TALK) + end


DATES = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
QWEN = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
SMOLLM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
PHI, PHI4, PHI4_MINI = "<|{}|>\n{}<|end|>\n", "<|im_start|>{}<|im_sep|>{}<|im_end|>", "<|{}|>{}<|end|>"
ASSISTANT = "<|im_start|>assistant\n"
EXPECTED = {
    "Llama 3.2": [
        LLAMA.format("system", DATES) + marked(LLAMA, "<|start_header_id|>assistant<|end_header_id|>\n\n"),
        marked(LLAMA, "<|start_header_id|>assistant<|end_header_id|>\n\n", DATES + SYSTEM),
    ],
    "Qwen 2.5": [marked(CHATML, ASSISTANT, QWEN), marked(CHATML, ASSISTANT, SYSTEM)],
    "Qwen 3": [marked(CHATML, ASSISTANT), marked(CHATML, ASSISTANT, SYSTEM)],
    "SmolLM2": [marked(CHATML, ASSISTANT, SMOLLM), marked(CHATML, ASSISTANT, SYSTEM)],
    "Phi 3.5": [marked(PHI, "<|assistant|>\n"), marked(PHI, "<|assistant|>\n", SYSTEM)],
    "Phi 4": [
        marked(PHI4, "<|im_start|>assistant<|im_sep|>"),
        marked(PHI4, "<|im_start|>assistant<|im_sep|>", SYSTEM),
    ],
    "Phi 4 mini": [marked(PHI4_MINI, "<|assistant|>"), marked(PHI4_MINI, "<|assistant|>", SYSTEM)],
    "Mistral Nemo": [
        "[INST]Hi[/INST]Hello</s>[INST]Bye[/INST]",
        "[INST]Hi[/INST]Hello</s>[INST]Be kind.\n\nBye[/INST]",
    ],
}


def rendered(name: str, system: str, *, thinks: bool | None = None) -> str:
    """By what Ollama gives a template: ``server/prompt.go`` and ``template.go``."""
    spoken = [("system", system), *TALK] if system else TALK
    messages = [{"Role": role, "Content": text, "Thinking": ""} for role, text in spoken]
    values = {"System": system, "Messages": messages, "IsThinkSet": thinks is not None, "Think": bool(thinks)}
    return render(WRITTEN[name]["text"], values)


@pytest.mark.parametrize("name", WRITTEN)
def test_it_does_what_the_chat_template_does(name: str) -> None:
    assert [rendered(name, ""), rendered(name, SYSTEM)] == EXPECTED[name]


def test_qwen_3_may_be_told_not_to_think() -> None:
    assert rendered("Qwen 3", "", thinks=False) == EXPECTED["Qwen 3"][0] + "<think>\n\n</think>\n\n"
    assert rendered("Qwen 3", "", thinks=True) == EXPECTED["Qwen 3"][0]


def test_each_chat_template_has_one_answer() -> None:
    digests = [*(d for known in TABLE["templates"].values() for d in known)]
    digests += [d for written in WRITTEN.values() for d in written["sha256"]]
    assert len(digests) == len(set(digests))
    assert all(len(bytes.fromhex(digest)) == 32 for digest in digests)


def test_none_ends_its_own_quotes() -> None:
    assert not any('"""' in written["text"] for written in WRITTEN.values())
