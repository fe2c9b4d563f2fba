"""``qconv architectures``: what is converted, and what is not."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.commands import Run, make_checkpoint


def test_all_lists_what_is_not_converted(qconv: Run) -> None:
    lists = {arguments: qconv("architectures", *arguments).stdout for arguments in [(), ("--all",)]}
    assert lists[("--all",)].startswith(lists[()])
    more = lists[("--all",)].removeprefix(lists[()])
    assert "WavTokenizerDec" in more
    assert "no text model, but a codec" in more
    assert "LlamaForCausalLM" not in more
    assert "WavTokenizerDec" not in lists[()]


def test_all_for_programs(qconv: Run) -> None:
    rows = json.loads(qconv("architectures", "--all", "--json").stdout)
    reasons = {row["class"]: row["reason"] for row in rows if "reason" in row}
    assert "joint_head.safetensors" in reasons["ClefModel"]
    assert "LlamaForCausalLM" in {row["class"] for row in rows} - set(reasons)
    assert not any("reason" in row for row in json.loads(qconv("architectures", "--json").stdout))


def test_one_of_them_tells_its_reason(qconv: Run, tmp_path: Path) -> None:
    shown = qconv("architectures", "LevModel")
    assert shown.returncode == 0
    assert "LevModel is not converted: a decision model saved as an adapter" in shown.stdout
    folder = make_checkpoint(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["LevModel"]}))
    refused = qconv("convert", folder, "--type", "q8_0")
    assert refused.returncode == 1
    assert "architecture LevModel is not converted: a decision model saved as an adapter" in refused.stderr
    assert not list(folder.glob("*.gguf*"))
