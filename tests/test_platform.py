"""Conversions on a system that lacks what Windows lacks, and the paths Windows has."""

from __future__ import annotations

import errno
import ntpath
import os
import subprocess
import sys
import threading
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import SimpleNamespace

import pytest

import qconv
from qconv import cores, platform
from qconv.cli.overwrite import take
from qconv.conversion import Disk
from qconv.errors import InputError, OutputError
from qconv.metadata import file_name
from qconv.pipeline import sizing
from qconv.storage import LocalFolder, is_address, is_inside
from qconv.types import Value, ValueType
from tests import windows
from tests.cli.commands import environment, make_checkpoint


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("windows") / "Noise", "--layers", "1")


@pytest.fixture(scope="module")
def whole(noise: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file as this system makes it."""
    (made,) = qconv.convert(noise, "q8_0", output=tmp_path_factory.mktemp("whole"))
    return made.read_bytes()


def test_a_conversion(noise: Path, whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    windows.play(monkeypatch)
    (made,) = qconv.convert(noise, "q8_0", output=tmp_path, manifest=True)
    assert made.read_bytes() == whole
    assert sorted(p.name for p in tmp_path.iterdir()) == [made.name, made.name + ".json"]
    (again,) = qconv.convert(noise, "q8_0", output=tmp_path, force=True)
    assert again.read_bytes() == whole


def test_an_interrupted_one_is_resumed(
    noise: Path, whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows.play(monkeypatch)
    monkeypatch.setattr(sizing, "ROW_BLOCK", 1 << 14)
    read, reads = platform.read_into, 0

    def fail_half_way(descriptor: int, view: memoryview, offset: int) -> int:
        nonlocal reads
        reads += offset > 10_000
        if reads == 40 and offset > 10_000:
            raise OSError(5, "Input/output error")
        return read(descriptor, view, offset)

    monkeypatch.setattr(platform, "read_into", fail_half_way)
    output = tmp_path / "x.gguf"
    with pytest.raises(InputError, match="Input/output error"):
        qconv.convert(noise, "q8_0", output=output, threads=1)
    assert not output.exists()
    qconv.convert(noise, "q8_0", output=output, threads=1)
    assert output.read_bytes() == whole


def test_a_second_one_is_refused(noise: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    windows.play(monkeypatch)
    journal = tmp_path / "x.gguf.part.journal"
    descriptor = Disk().open(journal, platform.WRITE_FLAGS | os.O_CREAT)
    platform.lock(descriptor, shared=False)
    with pytest.raises(OutputError, match="another process is writing this output"):
        qconv.convert(noise, "q8_0", output=tmp_path / "x.gguf")
    os.close(descriptor)
    qconv.convert(noise, "q8_0", output=tmp_path / "x.gguf")


def test_parts_of_one_machine_one_after_another(
    noise: Path, whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qconv.options import Part

    windows.play(monkeypatch)
    output = tmp_path / "x.gguf"
    for number in (1, 2):
        qconv.convert(noise, "q8_0", output=output, part=Part(number, 2))
    qconv.convert(noise, "q8_0", output=output)
    assert output.read_bytes() == whole


def test_a_link_in_the_way_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    windows.play(monkeypatch)
    (tmp_path / "target").write_bytes(b"precious")
    (tmp_path / "x.part").symlink_to(tmp_path / "target")
    with pytest.raises(FileExistsError, match="a link or something else"):
        Disk().open(tmp_path / "x.part", platform.WRITE_FLAGS | os.O_CREAT)


def test_what_cannot_be_opened_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    windows.play(monkeypatch)
    with pytest.raises(InputError, match="cannot be opened: No such file"):
        LocalFolder(tmp_path).read("nothing")


def test_memory_and_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    windows.play(monkeypatch)
    monkeypatch.setattr(platform, "Path", lambda path: Path("/nowhere"))
    assert platform.resident_bytes() == windows.RESIDENT
    assert cores.usable(Path("/nowhere")) == os.cpu_count()


@pytest.mark.parametrize(
    ("path", "extended"),
    [
        ("C:\\models\\x.gguf", "C:\\models\\x.gguf"),
        ("C:\\" + 30 * "directory\\" + "x.gguf", "\\\\?\\C:\\" + 30 * "directory\\" + "x.gguf"),
        ("C:/" + 30 * "directory/" + "x.gguf", "\\\\?\\C:\\" + 30 * "directory\\" + "x.gguf"),
        ("\\\\host\\share\\" + 30 * "directory\\" + "x", "\\\\?\\UNC\\host\\share\\" + 30 * "directory\\" + "x"),
        ("\\\\?\\C:\\" + 30 * "directory\\" + "x", "\\\\?\\C:\\" + 30 * "directory\\" + "x"),
        (30 * "directory\\" + "x.gguf", 30 * "directory\\" + "x.gguf"),
    ],
)
def test_long_paths(path: str, extended: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By Microsoft's "Maximum Path Length Limitation"; relative paths take no prefix."""
    assert platform.extended(PurePosixPath(path)) == path
    windows.play(monkeypatch)
    assert platform.extended(PurePosixPath(path)) == extended
    if "/" not in path:
        assert platform.extended(PureWindowsPath(path)) == extended


def test_a_drive_is_no_scheme() -> None:
    assert not any(map(is_address, ("C:\\models\\x", "C:/models/x", "C://models/x", "\\\\host\\share\\x")))
    assert is_address("hf://acme/Noise")


def test_long_paths_of_sources(noise: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is asked of the system is asked by the extended path; here that is the only one that exists."""
    windows.play(monkeypatch)
    extended = platform.extended
    monkeypatch.setattr(platform, "extended", lambda path: extended(path).replace("nowhere", noise.parent.name))
    folder = noise.parent.parent / "nowhere" / noise.name
    with qconv.open(folder) as checkpoint:
        assert checkpoint.config is not None
        assert checkpoint.files[0].identity().size > 0
        assert checkpoint.folder.names() == sorted(p.name for p in noise.iterdir())
        assert checkpoint.folder.has("config.json")


def test_names_that_differ_in_case_are_one_on_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Directory(PureWindowsPath):
        def resolve(self) -> PureWindowsPath:
            return self

    plans = [SimpleNamespace(files=[SimpleNamespace(name=name)]) for name in ("X-Q8_0.gguf", "x-q8_0.GGUF")]
    with pytest.raises(OutputError, match="is made from one by this very command"):
        take("one", plans, Directory("C:\\gguf"), {})  # type: ignore[arg-type]  # as much of them as it looks at
    (tmp_path / "X.gguf.part").touch()
    assert Disk().beginning_with(tmp_path / "x.gguf") == []
    monkeypatch.setattr(os.path, "normcase", ntpath.normcase)
    assert Disk().beginning_with(tmp_path / "x.gguf") == [tmp_path / "X.gguf.part"]


def test_an_old_file_that_another_program_has_open(
    noise: Path, whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows replaces no file that is open without sharing; what is done waits until it can."""
    windows.play(monkeypatch)
    output = tmp_path / "x.gguf"
    output.write_bytes(b"old")
    replace = os.replace

    def refuse(source: str, target: str) -> None:
        error = PermissionError(errno.EACCES, "Access is denied")
        error.winerror = 5  # type: ignore[attr-defined,unused-ignore]  # as on Windows
        raise error

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OutputError, match=r"cannot be renamed to x\.gguf: .* \(close the program that has it open"):
        qconv.convert(noise, "q8_0", output=output, force=True)
    assert output.read_bytes() == b"old"
    monkeypatch.setattr(os, "replace", replace)
    qconv.convert(noise, "q8_0", output=output, force=True)
    assert output.read_bytes() == whole


def test_ctrl_c_reaches_every_wait(noise: Path, whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows no signal ends a wait of the main thread that has no end of its own."""
    wait, join, start = threading.Condition.wait, threading.Thread.join, threading.Thread.start
    waits, starting = 0, False

    def check(timeout: float | None) -> None:
        nonlocal waits
        if threading.current_thread() is threading.main_thread() and not starting:
            waits += 1
            assert timeout is not None
            assert timeout <= 1

    def wait_a_while(self: threading.Condition, timeout: float | None = None) -> bool:
        check(timeout)
        return wait(self, timeout)

    def join_a_while(self: threading.Thread, timeout: float | None = None) -> None:
        check(timeout)
        join(self, timeout)

    def start_at_once(self: threading.Thread) -> None:
        nonlocal starting
        starting = True  # which waits a moment, until the thread runs
        start(self)
        starting = False

    windows.play(monkeypatch)
    monkeypatch.setattr(threading.Thread, "start", start_at_once)
    monkeypatch.setattr(threading.Condition, "wait", wait_a_while)
    monkeypatch.setattr(threading.Thread, "join", join_a_while)
    (made,) = qconv.convert(noise, "q8_0", output=tmp_path)
    assert made.read_bytes() == whole
    assert waits


def test_the_console_takes_all_characters(tmp_path: Path) -> None:
    """Streams whose encoding is Windows' own, before and after."""
    code = """
import os
from qconv import cli
os.name = "nt"
cli._prepare_streams()
os.name = "posix"
print("\u6a21\u578b \u2026")
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment(PYTHONIOENCODING="cp1252"))
    assert told.stdout.decode("utf-8").rstrip() == "\u6a21\u578b \u2026", told.stderr


def test_names_that_lead_out_on_windows() -> None:
    for name in ("..\\x", "a\\..\\..\\x", "C:\\x", "C:x", "\\x", "\\\\host\\share\\x", "\\\\?\\C:\\x"):
        assert not is_inside(name)
    assert is_inside("1_Pooling\\config.json")


def test_names_of_outputs_have_only_what_windows_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = {"general.name": Value(ValueType.STRING, 'a:b\\c*d?"e')}
    assert file_name(metadata, "Q8_0") == 'a:b\\c*d?"e-Q8_0.gguf'
    windows.play(monkeypatch)
    assert file_name(metadata, "Q8_0") == "a-b-c-d--e-Q8_0.gguf"


def test_the_command_line(noise: Path, whole: bytes, tmp_path: Path) -> None:
    """A process that finds itself there from the beginning."""
    code = """
import pytest
from tests import windows
windows.play(pytest.MonkeyPatch())
from qconv.cli import main
main()
"""
    command = [sys.executable, "-c", code, "convert", str(noise), "--type", "q8_0", "-o", str(tmp_path / "ä.gguf")]
    root = str(Path(__file__).parents[1])
    made = subprocess.run(command, capture_output=True, text=True, env=environment(PYTHONPATH=root), check=False)
    assert made.returncode == 0, made.stderr
    assert made.stdout.rstrip() == str(tmp_path / "ä.gguf")
    assert (tmp_path / "ä.gguf").read_bytes() == whole
