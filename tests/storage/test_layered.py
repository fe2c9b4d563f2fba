"""One folder over another."""

from __future__ import annotations

from pathlib import Path

from qconv.storage import LayeredFolder, LocalFolder


def test_names_belong_to_one_of_the_two(tmp_path: Path) -> None:
    for name, files in {"lower": ("a", "b", "sub/x", "more/x"), "upper": ("b", "c", "sub/y", "other")}.items():
        for file in files:
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
    lower, upper = LocalFolder(tmp_path / "lower"), LocalFolder(tmp_path / "upper")
    both = LayeredFolder(lower, upper, ("b", "c", "a2", "sub"), "both")
    assert both.names() == ["a", "b", "c", "more", "sub"]
    assert both.names("sub") == ["y"]
    assert both.names("more") == ["x"]
    read = {name: both.read(name).decode() for name in ("a", "b", "c", "more/x", "sub/y")}
    assert read == {"a": "lower", "b": "upper", "c": "upper", "more/x": "lower", "sub/y": "upper"}
    assert [both.has(name) for name in ("a", "sub/x", "sub/y", "other", "a2")] == [True, False, True, False, False]
    assert both.locate("c") == str(tmp_path / "upper" / "c")
    assert (both.name, both.location) == ("both", str(tmp_path / "lower"))
    opened = both.open("b")
    assert (opened.location, opened.read(9, 0)) == (str(tmp_path / "upper" / "b"), b"upper")
    opened.close()
