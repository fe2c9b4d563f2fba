"""Every golden file: the projector that llama.cpp's converter made of a tiny checkpoint, qconv makes too, to the byte.

Recorded by ``scripts/record_projectors.py``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qconv import gguf
from qconv.api import convert
from qconv.architectures import classes
from qconv.architectures.table import names
from qconv.errors import InputError
from tests.architectures.test_goldens import plain
from tests.projectors.tiny import GOLDENS, OUT_TYPES, digest, sample, write


def made(file: Path) -> tuple[dict[str, Any], list[tuple[str, list[int], str, bytes]]]:
    """A GGUF file's metadata, and of its tensors in order the name, the shape, the type and the bytes."""
    read = gguf.read(file)
    data = file.read_bytes()
    tensors = [
        (name, list(t.info.shape), t.info.dtype, data[t.offset : t.offset + t.size]) for name, t in read.tensors.items()
    ]
    return {key: plain(value, long=1000) for key, value in read.metadata.items()}, tensors


def recorded_as(data: bytes, wanted: str | list[float]) -> str | list[float]:
    """What golden files have for a tensor's bytes: ``wanted`` itself where it is a sample, and as good as theirs.

    That is, two units off at most in the last place of what they were computed from, which is about one.
    """
    if isinstance(wanted, str):
        return digest(data)
    ours = sample(np.frombuffer(data, np.float32))
    theirs = np.array(wanted, np.float32)
    off = np.abs(np.array(ours, np.float32) - theirs) > 2 * np.spacing(np.maximum(np.abs(theirs), 1))
    return ours if off.any() else wanted


def model_class(golden: Path) -> str:
    """The class that decides which table a golden file's model has."""
    config = json.loads(golden.read_text("utf-8"))["config"]
    named: str = (config.get("vision_config") or {}).get("architectures", config["architectures"])[0]
    return named


KNOWN = [golden for golden in GOLDENS if model_class(golden) in classes("projector")]
ELSEWHERE = {"internvl-hf", "llava", "llava-next", "pixtral-format", "qwen3asr-hf"}
"""Tables that others redirect to, and one of a format of its own: they have tests here and beside this one."""


REFUSED_BY_B11549 = ["qwen3-omni"]
"""It takes embeddings of images to be as wide as those of sounds, and counts what goes in deeper down to the former."""


def test_every_table_has_a_golden() -> None:
    assert set(names("projector")) == {classes("projector")[model_class(golden)] for golden in KNOWN} | ELSEWHERE


@pytest.mark.parametrize("golden", KNOWN, ids=lambda path: path.stem)
def test_equals_llama_cpp(golden: Path, tmp_path: Path) -> None:
    recorded = json.loads(golden.read_text("utf-8"))
    expected = recorded["expected"]
    model = tmp_path / golden.stem
    write(model, recorded)
    files = convert(model, mmproj=OUT_TYPES, output=tmp_path)
    for at, (out_type, file) in enumerate(zip(OUT_TYPES, files, strict=True)):
        metadata, tensors = made(file)
        assert metadata.pop("general.file_type") == ["UINT32", expected["file_types"][at]]
        assert metadata == expected["metadata"]
        assert list(metadata) == list(expected["metadata"])
        wanted = [(*row[:2], row[2].split()[at], row[3]) for row in expected["tensors"]]
        assert [row[:3] for row in tensors] == [row[:3] for row in wanted], out_type
        for (name, _, kind, data), (*_, by_type) in zip(tensors, wanted, strict=True):
            assert recorded_as(data, by_type[kind]) == by_type[kind], f"{name} in {out_type}"


def test_a_folder_of_tensors_that_is_missing_is_named(tmp_path: Path) -> None:
    golden = json.loads(GOLDENS[0].with_name("mimo-v2.json").read_text("utf-8"))
    write(tmp_path / "model", golden)
    (tmp_path / "model" / "audio_tokenizer" / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"audio_tokenizer.model\.safetensors"):
        convert(tmp_path / "model", mmproj="f16", output=tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere C++ names are others")
def test_llama_cpp_loads_them(tmp_path: Path) -> None:
    files = []
    for golden in KNOWN:
        write(tmp_path / golden.stem, json.loads(golden.read_text("utf-8")))
        files += convert(tmp_path / golden.stem, mmproj="f16", output=tmp_path / f"{golden.stem}.gguf")
    child = Path(__file__).with_name("loader.py")
    done = subprocess.run([sys.executable, child, *files], capture_output=True, text=True, check=False)
    loaded = dict(line.split(":", 1) for line in done.stdout.splitlines())
    assert [file.stem for file in files if not loaded.get(str(file))] == REFUSED_BY_B11549, done.stderr[-2000:]
