"""qconv as a library."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

import qconv
from qconv.errors import OutputError, UsageError, WeightError
from tests.cli.commands import make_checkpoint

# 32 ones: the scale 1/127 is 0x2008 in half precision, every quant is 127
ONES = bytes([0x08, 0x20]) + bytes([127]) * 32


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("api") / "Noise", "--layers", "1")


@pytest.mark.parametrize(
    "ones",
    [
        np.ones((2, 3, 32), np.float32),
        np.ones((2, 3, 32), np.float16),
        np.ones((2, 3, 32), np.float64),
        np.ones((2, 3, 32), np.int8),
        np.full((2, 3, 32), 0x3F80, np.uint16),
    ],
    ids=lambda a: str(a.dtype),
)
def test_quantize_takes_arrays_of_any_shape_and_type(ones: NDArray[np.number]) -> None:
    blocks = qconv.quantize(ones, "q8_0")
    assert blocks.dtype == np.uint8
    assert blocks.shape == (2, 3, 34)
    assert blocks.tobytes() == ONES * 6
    again = qconv.dequantize(blocks, "Q8_0")
    assert again.dtype == np.float32
    assert again.shape == (2, 3, 32)
    assert again.ravel() == pytest.approx(1, abs=1e-3)


def test_one_row_and_lists() -> None:
    assert qconv.quantize([1.0] * 32, "Q8_0").tobytes() == ONES


def test_importance_says_whose_error_counts() -> None:
    random = np.random.default_rng(1)
    weights = random.standard_normal((64, 256)).astype(np.float32)
    importance = np.exp(3 * random.standard_normal(256))
    plain, weighted = (
        (importance * np.square(qconv.dequantize(qconv.quantize(weights, "Q4_K", given), "Q4_K") - weights)).sum()
        for given in (None, importance)
    )
    assert weighted < 0.9 * plain


def test_a_search_that_looks_longer_errs_less() -> None:
    weights = np.random.default_rng(1).standard_normal((64, 256)).astype(np.float32)
    reference, thorough = (
        np.square(qconv.dequantize(qconv.quantize(weights, "Q4_K", search=search), "Q4_K") - weights).sum()
        for search in ("reference", "thorough")
    )
    assert thorough < 0.99 * reference


@pytest.mark.parametrize(
    ("array", "block_type", "says"),
    [(np.ones(31), "Q8_0", "multiple"), (np.ones(32), "Q9", "Q9"), (np.float32(1), "Q8_0", "single number")],
)
def test_what_cannot_be_quantized(array: ArrayLike, block_type: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        qconv.quantize(array, block_type)


def test_nan_is_found() -> None:
    weights = np.ones((3, 64), np.float32)
    weights[2, 40] = np.nan
    with pytest.raises(WeightError, match="row 2, column 40"):
        qconv.quantize(weights, "Q8_0")


def test_convert_and_open(checkpoint: Path, tmp_path: Path) -> None:
    files = qconv.convert(checkpoint, ["bf16", "f32"], output=tmp_path)
    assert [file.name.rpartition("-")[2] for file in files] == ["BF16.gguf", "F32.gguf"]
    with qconv.open(files[0]) as made, qconv.open(checkpoint) as source:
        rows = made.read("token_embd.weight", 7, 9)
        assert rows.tobytes() == source.read("model.embed_tokens.weight", 7, 9).tobytes()
    with pytest.raises(OutputError):
        qconv.convert(checkpoint, "bf16", output=tmp_path)
    assert qconv.convert(checkpoint, "bf16", output=tmp_path, force=True) == files[:1]


def test_a_slash_asks_for_a_directory(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="missing: --output: is not a directory"):
        qconv.convert(checkpoint, "bf16", output=f"{tmp_path}/missing/")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"search": "bogus"}, "unknown search 'bogus'.*one of reference, thorough"),
        ({"serach": "thorough"}, "there is no option 'serach'.*known: search"),
        ({"type": "q4_k_n"}, "unknown type 'q4_k_n'.*known: q4_k_"),
        ({"tensor_types": (("ffn", "q4_k_x"),)}, "unknown block type 'q4_k_x'"),
        ({"tensor_types": "ffn=q4_k"}, "an option has a value that cannot be"),
        ({"override_kv": ("a=b",)}, "malformed metadata override"),
        ({"pre": "qwen-2"}, "no pre-tokenizer is called 'qwen-2'"),
        ({"include_weights": ("a",), "exclude_weights": ("b",)}, "cannot be used together"),
        ({"split_max_size": 0}, "shards of 0 bytes hold nothing"),
        ({"threads": 0}, "0 threads cannot convert anything"),
        ({"memory": "400MB"}, "an option has a value that cannot be"),
        ({"pure": "no"}, "an option has a value that cannot be"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_wrong_options_are_refused_before_any_file_is_touched(
    tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    """There is no source: what is wrong with the options is said first."""
    with pytest.raises(UsageError, match=said):
        qconv.convert(tmp_path / "none", output=tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_it_is_typed(tmp_path: Path) -> None:
    script = tmp_path / "user.py"
    script.write_text(
        "import numpy as np\nimport qconv\n"
        "blocks = qconv.quantize(np.ones(32, np.float32), 'Q8_0')\n"
        "reveal_type(blocks.dtype)\n"
        "reveal_type(qconv.convert('x', 'q8_0'))\n"
        "qconv.convert(1)\n"
    )
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), str(script)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert re.search(r"numpy\.dtype\[.*8Bit", run.stdout)
    assert "list[pathlib.Path]" in run.stdout
    assert run.stdout.count("error:") == 1
