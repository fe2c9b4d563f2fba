"""``general.*`` against llama.cpp's own Python package: the same keys, types, values and order."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import gguf
import pytest

from qconv.metadata import Weights, gather, lone
from qconv.metadata.size import count
from qconv.storage import LocalFolder
from qconv.types import TensorInfo, ValueType

CARDS = [None, *sorted(path.name for path in (Path(__file__).parent / "cards").iterdir())]
CONFIGS: dict[str, Any] = {
    "nothing": {},
    "an id": {"_name_or_path": "meta-llama/Llama-2-7b-chat-hf"},
    "a path": {"_name_or_path": "/home/x/checkpoints/Llama-7b"},
    "blank": {"_name_or_path": ""},
    "local": {"_name_or_path": "./out-3B"},
}
GENERATION: dict[str, Any] = {
    "none": None,
    "usual": {"temperature": 0.6, "top_k": 20, "top_p": 0.95, "do_sample": True, "eos_token_id": [1, 2]},
    "all": {
        "sequence": "k;p",
        "top_k": 5,
        "top_p": 1,
        "min_p": 0.1,
        "xtc_probability": 0.2,
        "xtc_threshold": 0.3,
        "temperature": 1.5,
        "penalty_last_n": 64,
        "penalty_repeat": 1.1,
        "mirostat": 2,
        "mirostat_tau": 5.0,
        "mirostat_eta": 0.1,
    },
    "nulls": {"temperature": None, "top_k": None},
}
WEIGHTS = Weights(total=7_241_732_096, shared=7_241_732_096)


class Recorder:
    """Takes the place of llama.cpp's writer and keeps what it is given."""

    def __init__(self, path: Path) -> None:
        self.writer = gguf.GGUFWriter(None, "llama")
        del self.writer.kv_data[0]["general.architecture"]

    def keys(self) -> list[tuple[str, str, object]]:
        return [(key, value.type.name, value.value) for key, value in self.writer.kv_data[0].items()]


@pytest.mark.parametrize("folder", ["Qwen2.5-7B-Instruct", "hf", "model-v1.0"])
@pytest.mark.parametrize("generation", GENERATION)
@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("card", CARDS)
def test_keys_are_those_of_llama_cpp(
    tmp_path: Path, card: str | None, config: str, generation: str, folder: str
) -> None:
    directory = tmp_path / folder
    directory.mkdir()
    if card is not None:
        shutil.copy(Path(__file__).parent / "cards" / card, directory / "README.md")
    if (sampling := GENERATION[generation]) is not None:
        (directory / "generation_config.json").write_text(json.dumps(sampling))
    (directory / "config.json").write_text(json.dumps(CONFIGS[config]))

    recorder = Recorder(directory)
    theirs = gguf.Metadata.load(None, directory, None, WEIGHTS.total)
    theirs.name = directory.name if theirs.name is None else theirs.name
    theirs.size_label = theirs.size_label or gguf.size_label(WEIGHTS.total, WEIGHTS.shared, 0, 0)
    theirs.set_gguf_meta_model(recorder.writer)

    general = gather(LocalFolder(directory), WEIGHTS, CONFIGS[config])
    assert [(k, v.type.name, v.data) for k, v in general.metadata().items()] == recorder.keys()
    assert general.notes == []


def test_repetition_penalty_counts(tmp_path: Path) -> None:
    """The PyPI release of llama.cpp's package is older than this key."""
    (tmp_path / "generation_config.json").write_text('{"repetition_penalty": 1.05, "top_k": 50.0, "temperature": "x"}')
    keys = gather(LocalFolder(tmp_path), WEIGHTS).metadata()
    assert keys["general.sampling.penalty_repeat"].data == 1.05
    assert keys["general.sampling.top_k"].type == ValueType.INT32
    assert keys["general.sampling.top_k"].data == 50
    assert "general.sampling.temp" not in keys


@pytest.mark.parametrize(
    ("card", "note"),
    [
        ("---\na: &x [1]\nb: [*x, *x]\n---\n", "aliases"),
        ("---\na: [\n---\n", "no YAML"),
        ("---\n- a\n---\n", "not a mapping"),
        ("---\na: !!python/object/apply:os.system [true]\n---\n", "no YAML"),
        ("---\na: " + "[" * 200_000 + "\n---\n", "more than 64 deep"),
        ("---\n" + "- " * 200_000 + "a\n---\n", "more than 64 deep"),
        ("---\na: " + "[" * 64 + "]" * 64 + "\n---\n", "more than 64 deep"),
        ("---\na: {b: " + "[{c: " * 32 + "}]" * 32 + "}\n---\n", "more than 64 deep"),
        ("---\n- " + "[" * 32 + "\n  - " * 32 + "a\n---\n", "no YAML"),
        ("---\n" + "".join(" " * n + "a:\n" for n in range(65)) + "---\n", "more than 64 deep"),
        ("---\na: " + "[" * 63 + "\n---\n", "no YAML"),
        ("---\nd: 2024-99-99\n---\n", "no YAML"),
        ("---\n" + "a: b\n" * 300_000 + "---\n", "too long"),
        (b"---\n\xff\n---\n", "cannot be read"),
    ],
)
def test_a_malformed_card_is_told_and_left_aside(tmp_path: Path, card: str | bytes, note: str) -> None:
    (tmp_path / "README.md").write_bytes(card if isinstance(card, bytes) else card.encode())
    general = gather(LocalFolder(tmp_path), WEIGHTS)
    assert len(general.notes) == 1
    assert note in general.notes[0]
    assert "\n" not in general.notes[0]
    assert general.texts["name"]


def test_brackets_in_texts_are_not_depth(tmp_path: Path) -> None:
    texts = ['  - "' + "[" * 100 + '"', "  - a[0] = {x}", '  - 6" [MASK]', "  - [[deep], [er]]", "  - ':]'"] * 100
    (tmp_path / "README.md").write_text("\n".join(["---", "license: mit", "widget:", *texts, "---\n"]))
    general = gather(LocalFolder(tmp_path), WEIGHTS)
    assert general.notes == []
    assert general.texts["license"] == "mit"


def test_scalars_of_other_types_become_text(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(
        "---\nversion: 1.5\nlicense: false\ntags: [1, [x], yes]\nauthor: [a, b]\nname: {a: b}\n---\n"
    )
    general = gather(LocalFolder(tmp_path), WEIGHTS)
    assert general.texts["version"] == "1.5"
    assert general.texts["license"] == "False"
    assert general.texts["author"] == "a, b"
    assert general.tags == ["1", "x", "True"]


def test_a_malformed_generation_config_is_left_aside(tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text("{")
    assert gather(LocalFolder(tmp_path), WEIGHTS).sampling == {}


@pytest.mark.parametrize(
    "total", [0, 999, 1_000_000, 1_000_001, 8_030_261_248, 999_999_999, 1_500_000_000_000, 95_000_000, 9_500_000]
)
@pytest.mark.parametrize("experts", [0, 8])
def test_size_labels(total: int, experts: int) -> None:
    weights = Weights(total, total // 3, total // 5, experts)
    assert weights.label == gguf.size_label(total, total // 3, total // 5, experts)


def test_weights_are_counted_by_expert() -> None:
    tensors = [
        TensorInfo("token_embd.weight", "F32", (10, 4)),
        TensorInfo("blk.0.ffn_up_exps.weight", "F32", (8, 3, 4)),
        TensorInfo("blk.0.ffn_up_exps.bias", "F32", (2, 8, 3)),
        TensorInfo("blk.1.ffn_up_exps.weight", "F32", (8, 12)),
    ]
    writer = gguf.GGUFWriter(None, "llama")
    for t in tensors:
        writer.tensors[0][t.name] = gguf.gguf_writer.TensorInfo(t.shape, gguf.GGMLQuantizationType.F32, 0)
    ours = count(tensors)
    assert (ours.total, ours.shared, ours.expert, ours.experts) == writer.get_total_parameter_count()


def test_a_lone_file_says_its_name_and_size() -> None:
    assert {k: v.data for k, v in lone("tiny", WEIGHTS).metadata().items()} == {
        "general.name": "tiny",
        "general.size_label": "7.2B",
    }
    assert list(lone("model", Weights()).metadata()) == []
