from pathlib import Path

import pytest

from qconv import gguf
from qconv.errors import FormatError
from tests.hostile.gguf_attacks import ATTACKS
from tests.hostile.work import MOST_CALLS, measured


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_are_refused_at_once(tmp_path: Path, attack: str) -> None:
    data, complaint = ATTACKS[attack]
    path = tmp_path / "x.gguf"
    path.write_bytes(data)
    with measured() as work, pytest.raises(FormatError) as caught:
        gguf.read(path)
    assert complaint in str(caught.value)
    assert str(path) in str(caught.value)
    assert work.calls < MOST_CALLS
    assert work.memory < 5_000_000


def test_the_smallest_attack_is_43_bytes() -> None:
    assert min(len(data) for name, (data, _) in ATTACKS.items() if "43 bytes" in name) == 43


def test_many_small_items_stay_quick(tmp_path: Path) -> None:
    """4,096 of the smallest keys that differ: each costs as much as the first."""
    keys = b"".join(b"\3\0\0\0\0\0\0\0%03x" % i + b"\0\0\0\0\0" for i in range(4096))
    path = tmp_path / "x.gguf"
    path.write_bytes(b"GGUF\3\0\0\0" + bytes(8) + (4096).to_bytes(8, "little") + keys)
    with measured() as work:
        assert len(gguf.read(path).metadata) == 4096
    assert work.calls < 4096 * 50
