from pathlib import Path

import gguf as reference
import numpy as np
import pytest

from qconv import gguf
from qconv.errors import FormatError
from qconv.types import Metadata, TensorInfo, Value, ValueType

SHARD = "m-{:05d}-of-{:05d}.gguf"


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    """Three shards of five tensors, written by llama.cpp's Python writer."""
    writer = reference.GGUFWriter(tmp_path / "m.gguf", "llama", split_max_tensors=2)
    writer.add_uint32("llama.block_count", 2)
    for i in range(5):
        writer.add_tensor(f"t{i}", np.full((4, 8), i, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return [tmp_path / SHARD.format(i, 3) for i in (1, 2, 3)]


@pytest.mark.parametrize("given", [0, 1, 2])
def test_any_shard_opens_all(shards: list[Path], given: int) -> None:
    files = gguf.read_shards(shards[given])
    assert [f.path for f in files] == shards
    assert [list(f.tensors) for f in files] == [["t0", "t1"], ["t2", "t3"], ["t4"]]
    assert gguf.whole_metadata(files) == {
        "general.architecture": Value.string("llama"),
        "llama.block_count": Value.uint32(2),
    }


def test_a_missing_shard_is_named(shards: list[Path]) -> None:
    shards[1].unlink()
    with pytest.raises(FormatError, match=r"shard 'm-00002-of-00003.gguf' is missing"):
        gguf.read_shards(shards[0])


def test_a_renamed_shard_says_which_name_it_needs(shards: list[Path]) -> None:
    moved = shards[1].rename(shards[1].with_name("other.gguf"))
    with pytest.raises(FormatError, match=r"other-00002-of-00003\.gguf"):
        gguf.read_shards(moved)


def test_shards_of_different_models_are_told(shards: list[Path]) -> None:
    shards[2].write_bytes(shards[1].read_bytes())
    with pytest.raises(FormatError, match="is not shard 3 of 3"):
        gguf.read_shards(shards[0])


def _write(path: Path, metadata: Metadata, names: list[str]) -> None:
    infos = [TensorInfo(name, "F32", (8,)) for name in names]
    layout = gguf.header(metadata, infos)
    path.write_bytes(layout.header + bytes(layout.size - layout.data_offset))


def test_a_tensor_in_two_shards_is_told(tmp_path: Path) -> None:
    for number, names in enumerate((["a", "b"], ["b"])):
        path = tmp_path / SHARD.format(number + 1, 2)
        _write(path, gguf.shard_metadata({}, number, 2, 3), names)
    with pytest.raises(FormatError, match=r"tensor 'b'.*also in shard 'm-00001-of-00002.gguf'"):
        gguf.read_shards(tmp_path / SHARD.format(1, 2))


def test_a_wrong_total_is_told(tmp_path: Path) -> None:
    for number, names in enumerate((["a"], ["b"])):
        _write(tmp_path / SHARD.format(number + 1, 2), gguf.shard_metadata({}, number, 2, 9), names)
    with pytest.raises(FormatError, match="claims 9 tensors in all shards, but they hold 2"):
        gguf.read_shards(tmp_path / SHARD.format(1, 2))


def test_a_file_that_is_no_shard_comes_alone(tmp_path: Path) -> None:
    _write(tmp_path / "m-00001-of-00002.gguf", {}, ["a"])
    assert len(gguf.read_shards(tmp_path / "m-00001-of-00002.gguf")) == 1


def test_names() -> None:
    assert gguf.shard_path(Path("d/m-Q8_0.gguf"), 0, 12) == Path("d/m-Q8_0-00001-of-00012.gguf")
    assert gguf.shard_of(Path("d/m-Q8_0-00012-of-00012.gguf")) == (Path("d/m-Q8_0.gguf"), 11, 12)
    for name in ("m.gguf", "m-00000-of-00002.gguf", "m-00003-of-00002.gguf", "m-1-of-2.gguf", "-00001-of-00002.gguf"):
        assert gguf.shard_of(Path(name)) is None


def test_tensors_are_divided_in_order_by_padded_size() -> None:
    infos = [TensorInfo(str(i), "F32", (n,)) for i, n in enumerate((8, 1, 8, 100, 1))]  # 32, 32, 32, 416, 32 bytes
    assert [[t.name for t in shard] for shard in gguf.divide(infos, 64)] == [["0", "1"], ["2"], ["3"], ["4"]]
    assert gguf.divide(infos, 10**9) == [infos]


def test_the_first_shard_carries_the_metadata() -> None:
    metadata = {"a": Value.uint32(1), "general.alignment": Value.uint32(64), "split.no": Value.uint32(9)}
    own = {
        "split.no": Value(ValueType.UINT16, 1),
        "split.tensors.count": Value(ValueType.INT32, 7),
        "split.count": Value(ValueType.UINT16, 2),
    }
    assert gguf.shard_metadata(metadata, 1, 2, 7) == {"general.alignment": Value.uint32(64)} | own
    assert list(gguf.shard_metadata(metadata, 0, 2, 7)) == ["a", "general.alignment", *own]
