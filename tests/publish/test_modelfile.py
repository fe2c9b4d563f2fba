"""Modelfiles: what Ollama is told of a file.

What is expected follows Ollama's ``docs/modelfile.md``, its ``server/create.go`` for renderers and its
``template/index.json`` for the templates it recognizes.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from qconv import gguf
from qconv.errors import UnsupportedError
from qconv.publish import modelfile
from qconv.storage import LocalFolder
from qconv.types import Metadata, Value, ValueType

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + "
    "'\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TOKENS = ["a", "b", "</s>", "<|im_end|>", 'evil"""\nFROM /etc/passwd']


def write(path: Path, **more: Value) -> Path:
    """A GGUF file without tensors; double underscores stand for dots."""
    metadata: Metadata = {
        "general.architecture": Value.string("llama"),
        "tokenizer.ggml.tokens": Value.array(ValueType.STRING, TOKENS),
        "tokenizer.ggml.eos_token_id": Value.uint32(2),
    }
    metadata |= {key.replace("__", "."): value for key, value in more.items()}
    path.write_bytes(gguf.header(metadata, []).header)
    return path


def made(path: Path, source: Path | None = None) -> list[str]:
    text = modelfile(path, None, LocalFolder(source or path.parent), path.parent)
    assert text.endswith("\n")
    return text.splitlines()


def test_the_file_its_sampling_its_ends_and_its_license(tmp_path: Path) -> None:
    path = write(
        tmp_path / "my model.gguf",
        general__sampling__temp=Value.float32(0.6),
        general__sampling__top_k=Value.int32(20),
        general__sampling__top_p=Value.float32(0.95),
        general__sampling__penalty_repeat=Value.float32(1.05),
        general__license=Value.string("apache-2.0"),
        tokenizer__chat_template=Value.string(CHATML),
    )
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [3, 2, 99, "x"]}')
    assert made(path) == [
        "FROM ./my model.gguf",
        "",
        "# Ollama recognizes the model's chat template and uses its own 'chatml' for it.",
        "",
        "PARAMETER temperature 0.6",
        "PARAMETER top_k 20",
        "PARAMETER top_p 0.95",
        "PARAMETER repeat_penalty 1.05",
        'PARAMETER stop "</s>"',
        'PARAMETER stop "<|im_end|>"',
        "",
        'LICENSE """apache-2.0"""',
    ]


def test_a_projector_is_a_second_file(tmp_path: Path) -> None:
    path, projector = (
        write(tmp_path / "m.gguf"),
        write(tmp_path / "mmproj.gguf", general__architecture=Value.string("clip")),
    )
    place = tmp_path / "elsewhere"
    place.mkdir()
    lines = modelfile(path, projector, None, place).splitlines()
    assert lines[:2] == ["FROM ../m.gguf", "FROM ../mmproj.gguf"]


@pytest.mark.parametrize(
    ("architecture", "lines"),
    [
        ("gemma4", ["RENDERER gemma4", "PARSER gemma4", "", 'PARAMETER stop "<turn|>"']),
        ("nemotron_h_moe", ["RENDERER nemotron-3-nano", "PARSER nemotron-3-nano"]),
        ("gpt-oss", ["PARSER harmony"]),
    ],
)
def test_prompts_ollama_makes_itself(architecture: str, lines: list[str], tmp_path: Path) -> None:
    path = write(
        tmp_path / "m.gguf",
        general__architecture=Value.string(architecture),
        tokenizer__chat_template=Value.string("anything"),
    )
    assert made(path)[2 : 2 + len(lines)] == lines


def test_a_template_that_is_almost_known_is_not_known(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", tokenizer__chat_template=Value.string(CHATML + " "))
    assert made(path)[2].startswith("# Ollama runs the file's own chat template from version 0.30 on.")
    assert made(write(tmp_path / "n.gguf"))[2].startswith("# The model has no chat template")


def test_what_a_file_says_cannot_become_another_line(tmp_path: Path) -> None:
    path = write(
        tmp_path / "m.gguf",
        tokenizer__ggml__eos_token_id=Value.uint32(4),
        general__license=Value.string('"""\nFROM /etc/passwd\n"""'),
    )
    assert not any("passwd" in line for line in made(path))


def test_a_shard_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "m-00001-of-00002.gguf")
    with pytest.raises(UnsupportedError, match=r"takes a model in one .*--split-max-size"):
        made(path)


PHI_4_MINI = (
    "{% for message in messages %}{% if message['role'] == 'system' and 'tools' in message and message['tools'] is not "
    "none %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|tool|>' + message['tools'] + '<|/tool|>' + "
    "'<|end|>' }}{% else %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}"
)


def test_a_template_is_written_where_the_chat_template_is_known(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", tokenizer__chat_template=Value.string(PHI_4_MINI))
    text = "{{ range .Messages }}<|{{ .Role }}|>{{ .Content }}<|end|>{{ end }}<|assistant|>"
    assert made(path)[3] == f'TEMPLATE """{text}"""'
    path = write(tmp_path / "n.gguf", tokenizer__chat_template=Value.string(PHI_4_MINI + "\n"))
    assert not any(line.startswith("TEMPLATE") for line in made(path))
