"""Every golden file: the projector that llama.cpp's converter made of a tiny checkpoint, qconv makes too, to the byte.

Recorded by ``scripts/record_projectors.py``.
"""

from __future__ import annotations

import json
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


@pytest.mark.parametrize("golden", [golden for golden in GOLDENS if is_known(golden)], ids=lambda path: path.stem)
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
