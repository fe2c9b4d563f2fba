"""Classes that llama.cpp converts and qconv does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from qconv import architectures
from qconv.architectures import not_converted
from qconv.architectures.table import common, table_of
from qconv.errors import UnsupportedError
from qconv.storage import LocalFolder

KNOWN_TO_LLAMA_CPP = 282  # entries of TEXT_MODEL_MAP in llama.cpp b11549's conversion/__init__.py
ROOT = Path(__file__).parents[2]


def test_none_is_converted() -> None:
    assert not [cls for cls in not_converted() if table_of(cls) is not None]
    assert not set(not_converted()) & {*common().multimodal, *common().wrapper_classes}


def test_readme_has_their_number() -> None:
    count = len(not_converted())
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"Of the {KNOWN_TO_LLAMA_CPP} text classes of llama.cpp's converter" in text
    assert f"{KNOWN_TO_LLAMA_CPP - count} are converted" in text
    assert f"and the {count} that are not" in text


@pytest.mark.parametrize("cls", not_converted())
def test_reasons_are_told(cls: str) -> None:
    with pytest.raises(UnsupportedError) as refused:
        architectures.find_table({"architectures": [cls]})
    assert f"architecture {cls} is not converted: {not_converted()[cls]}" in str(refused.value)


def test_a_known_text_part_does_not_make_up_for_the_class() -> None:
    """Ultravox's config says which text model it listens for; its weights are not in the checkpoint."""
    config = {"architectures": ["UltravoxModel"], "text_config": {"model_type": "llama"}}
    with pytest.raises(UnsupportedError, match="UltravoxModel is not converted: its checkpoint has no text model"):
        architectures.find_table(config)


@pytest.mark.parametrize(
    ("cls", "files"),
    [
        ("ClefModel", ("joint_head_config.json",)),
        ("PplxDeciderModel", ("decision_config.json", "readout.safetensors")),
        ("OpenJevModel", ("helper/shim.py",)),
    ],
)
def test_files_tell_them(tmp_path: Path, cls: str, files: tuple[str, ...]) -> None:
    """By what llama.cpp's converter tells such checkpoints: clef.py, pplx_decider.py, qwen.py."""
    config = {"architectures": ["Qwen3_5ForConditionalGeneration"]}
    *first, last = files
    for name in first:
        (tmp_path / name).touch()
    assert architectures.find_table(config, LocalFolder(tmp_path)).name == "qwen35", "with all of them only"
    (tmp_path / last).parent.mkdir(exist_ok=True)
    (tmp_path / last).touch()
    with pytest.raises(UnsupportedError, match=f"{cls} is not converted"):
        architectures.find_table(config, LocalFolder(tmp_path))
