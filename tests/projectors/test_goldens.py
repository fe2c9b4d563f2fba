"""Every golden file: the projector that llama.cpp's converter made of a tiny checkpoint, qconv makes too, to the byte.

Recorded by ``scripts/record_projectors.py``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qconv import gguf
from qconv.api import convert
from qconv.architectures import classes
from tests.architectures.test_goldens import plain
from tests.projectors.tiny import GOLDENS, OUT_TYPES, digest, write


def made(file: Path) -> dict[str, Any]:
    """A GGUF file's metadata, and of its tensors in order the name, the shape, the type and the digest of the bytes."""
    read = gguf.read(file)
    data = file.read_bytes()
    tensors = [
        (name, list(t.info.shape), t.info.dtype, digest(data[t.offset : t.offset + t.size]))
        for name, t in read.tensors.items()
    ]
    return {"metadata": {key: plain(value, long=1000) for key, value in read.metadata.items()}, "tensors": tensors}


def is_known(golden: Path) -> bool:
    config = json.loads(golden.read_text("utf-8"))["config"]
    return (config.get("vision_config") or {}).get("architectures", config["architectures"])[0] in classes("projector")


KNOWN = [golden for golden in GOLDENS if is_known(golden)]


@pytest.mark.parametrize("golden", KNOWN, ids=lambda path: path.stem)
def test_equals_llama_cpp(golden: Path, tmp_path: Path) -> None:
    recorded = json.loads(golden.read_text("utf-8"))
    expected = recorded["expected"]
    model = tmp_path / golden.stem
    write(model, recorded)
    files = convert(model, mmproj=OUT_TYPES, output=tmp_path)
    for at, (out_type, file) in enumerate(zip(OUT_TYPES, files, strict=True)):
        ours = made(file)
        assert ours["metadata"].pop("general.file_type") == ["UINT32", expected["file_types"][at]]
        assert ours["metadata"] == expected["metadata"]
        assert list(ours["metadata"]) == list(expected["metadata"])
        types = {name: kinds.split()[at] for name, _, kinds, _ in expected["tensors"]}
        assert ours["tensors"] == [
            (name, shape, types[name], digests[types[name]]) for name, shape, _, digests in expected["tensors"]
        ], out_type


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere C++ names are others")
def test_llama_cpp_loads_them(tmp_path: Path) -> None:
    files = []
    for golden in KNOWN:
        write(tmp_path / golden.stem, json.loads(golden.read_text("utf-8")))
        files += convert(tmp_path / golden.stem, mmproj="f16", output=tmp_path / f"{golden.stem}.gguf")
    child = Path(__file__).with_name("loader.py")
    done = subprocess.run([sys.executable, child, *files], capture_output=True, text=True, check=False)
    loaded = dict(line.rsplit(": ", 1) for line in done.stdout.splitlines())
    assert [file.name for file in files if not loaded.get(str(file))] == [], done.stderr[-2000:]
