"""``--mmproj``: the projector's file, beside the text model's from one reading or alone."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import gguf
import pytest

from tests.cli.commands import Run, environment
from tests.projectors.tiny import GOLDENS, write
from tests.storage.hub_server import TOKEN, running

TESTS = Path(__file__).parent.parent
NAME = "qwen3-vl"


def golden() -> dict[str, Any]:
    (path,) = (path for path in GOLDENS if path.stem == NAME)
    read: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return read


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / NAME
    write(folder, golden())
    shutil.copy(TESTS / "tokenizers" / "cases" / "bpe-bare" / "tokenizer.json", folder)
    return folder


def made(qconv: Run, model: Path | str, *options: str | Path, env: dict[str, str] | None = None) -> list[Path]:
    done = qconv("convert", model, *options, env=env)
    assert done.returncode == 0, done.stderr
    return [Path(line) for line in done.stdout.splitlines()]


def test_both_parts_from_one_reading(qconv: Run, model: Path, tmp_path: Path) -> None:
    for folder in ("both", "text", "projector"):
        (tmp_path / folder).mkdir()
    text = ("--type", "q8_0", "--pre", "gpt-2")
    both = made(qconv, model, *text, "--mmproj", "f16", "--output", tmp_path / "both")
    alone = [
        *made(qconv, model, *text, "--output", tmp_path / "text"),
        *made(qconv, model, "--mmproj", "f16", "--output", tmp_path / "projector"),
    ]
    assert [file.name for file in both] == [file.name for file in alone]
    assert both[1].name == "mmproj-Qwen3-Vl-F16.gguf"  # as llama.cpp's converter names it, without the size
    assert [file.read_bytes() for file in both] == [file.read_bytes() for file in alone]
    assert {t.name for t in gguf.GGUFReader(both[1]).tensors} == {row[0] for row in golden()["expected"]["tensors"]}


def test_each_tensor_is_fetched_once_and_only_if_needed(qconv: Run, model: Path, tmp_path: Path) -> None:
    size = (model / "model.safetensors").stat().st_size
    headers = 80_000
    tensors = golden()["tensors"]
    towers = sum(2 * math.prod(shape) for name, (_, shape) in tensors.items() if name.startswith("model.visual."))
    with running() as hub:
        hub.add(f"acme/{NAME}", model)
        env = environment(HF_ENDPOINT=hub.url, HF_HOME=str(tmp_path / "hf"), HF_TOKEN=TOKEN, HF_HUB_OFFLINE="0")
        source = f"hf://acme/{NAME}"
        made(qconv, source, "--mmproj", "f16", "--output", tmp_path, env=env)
        alone = hub.sent["store"]
        assert towers < alone < towers + headers < size
        both = ("--type", "f16", "--pre", "gpt-2", "--mmproj", "bf16")
        made(qconv, source, *both, "--output", tmp_path, env=env)
        assert hub.sent["store"] - alone < size + headers


def test_the_line_on_what_is_left_out_names_the_option(qconv: Run, model: Path) -> None:
    told = qconv("convert", model, "--type", "q8_0", "--pre", "gpt-2", "--dry-run").stdout
    assert "left out, of the projector, which --mmproj f16 makes a file of: model.visual." in told
    told = qconv("convert", model, "--type", "q8_0", "--pre", "gpt-2", "--mmproj", "f16", "--dry-run").stdout
    assert "left out" not in told
    assert "mmproj-Qwen3-Vl-F16.gguf: " in told


def test_a_file_without_its_options_is_checked_and_compared(qconv: Run, model: Path, tmp_path: Path) -> None:
    files = made(qconv, model, "--mmproj", "q8_0,bf16,f32", "--output", tmp_path)
    checked = qconv("verify", *files, "--against", model)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    compared = qconv("compare", model, files[2])
    assert compared.stdout == "the same: all keys, all 70 tensors\n"


def test_a_manifest_tells_what_part_it_is_of(qconv: Run, model: Path, tmp_path: Path) -> None:
    options = ("--type", "q8_0", "--pre", "gpt-2", "--mmproj", "q8_0", "--tensor-type", "ffn_up=q6_k", "--manifest")
    text, projector = made(qconv, model, *options, "--output", tmp_path)
    recorded = json.loads(projector.with_name(projector.name + ".json").read_text("utf-8"))
    assert recorded["options"] == {"mmproj": ["Q8_0"]}
    checked = qconv("verify", text, projector, "--against", model)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_what_info_tells(qconv: Run, model: Path, tmp_path: Path) -> None:
    (file,) = made(qconv, model, "--mmproj", "f16", "--output", tmp_path / "eyes.gguf")
    assert file == tmp_path / "eyes.gguf"
    about = json.loads(qconv("info", file, "--json").stdout)
    assert about["projector"] == "qwen3vl_merger, for images"
    assert about["layers"] == 4
    told = qconv("info", file).stdout
    assert "projector        qwen3vl_merger, for images" in told
    assert "beside what the text model takes" in told
    assert "context" not in told


def test_in_shares_both_parts_are_made_too(qconv: Run, model: Path, tmp_path: Path) -> None:
    options = ("--type", "q8_0", "--pre", "gpt-2", "--mmproj", "f16")
    (tmp_path / "whole").mkdir()
    whole = made(qconv, model, *options, "--output", tmp_path / "whole")
    (tmp_path / "shares").mkdir()
    for share in ("1/2", "2/2"):
        assert made(qconv, model, *options, "--output", tmp_path / "shares", "--part", share) == []
    shares = made(qconv, model, *options, "--output", tmp_path / "shares", "--finish")
    assert [file.read_bytes() for file in shares] == [file.read_bytes() for file in whole]
    left = made(qconv, model, *options, "--output", tmp_path / "shares", "--skip-existing")
    assert left == shares


def test_programs_are_told_the_part(qconv: Run, model: Path, tmp_path: Path) -> None:
    options = ("--type", "q8_0", "--pre", "gpt-2", "--mmproj", "f16", "--json", "--output", tmp_path)
    planned = qconv("convert", model, *options, "--dry-run").stdout.splitlines()
    assert [json.loads(line)["part"] for line in planned] == ["text", "projector"]
    done = qconv("convert", model, *options).stdout.splitlines()
    assert [json.loads(line)["part"] for line in done] == ["text", "projector"]


def test_a_card_tells_how_to_run_both(qconv: Run, model: Path, tmp_path: Path) -> None:
    text, projector = made(qconv, model, "--type", "q8_0", "--pre", "gpt-2", "--mmproj", "f16", "--output", tmp_path)
    card = qconv("card", text, projector, "--output", "-").stdout
    assert "pipeline_tag: image-text-to-text\n" in card
    assert f"    llama-mtmd-cli -m {text.name} --mmproj {projector.name}\n" in card
    assert f"    qconv modelfile {text.name} --mmproj {projector.name}\n" in card


def test_a_modelfile_takes_a_projector_beside_a_text_model(qconv: Run, model: Path, tmp_path: Path) -> None:
    text, projector = made(qconv, model, "--type", "q8_0", "--pre", "gpt-2", "--mmproj", "f16", "--output", tmp_path)
    refused = qconv("modelfile", text, "--mmproj", text, "--output", "-")
    assert refused.returncode == 2
    assert f"{text.name}: holds no projector, which --mmproj names" in refused.stderr
    refused = qconv("modelfile", projector, "--output", "-")
    assert refused.returncode == 2
    assert f"{projector.name}: is a projector alone" in refused.stderr


def test_a_projectors_file_keeps_its_kind_of_name(qconv: Run, model: Path, tmp_path: Path) -> None:
    (projector,) = made(qconv, model, "--mmproj", "f16", "--output", tmp_path)
    (again,) = made(qconv, projector, "--type", "q8_0")
    assert again.name == projector.name.replace("F16", "Q8_0")
    refused = qconv("convert", projector, "--mmproj", "q8_0")
    assert "a projector's file gets another type by --type" in refused.stderr


def test_block_types_are_given_to_the_text_alone(qconv: Run, model: Path) -> None:
    refused = qconv("convert", model, "--mmproj", "f16", "--tensor-type", "ffn_up=q6_k")
    assert refused.returncode == 2
    assert "--tensor-type is for the text model, and --mmproj alone makes no file of it" in refused.stderr


def test_one_file_is_no_place_for_two(qconv: Run, model: Path, tmp_path: Path) -> None:
    refused = qconv("convert", model, "--type", "q8_0", "--mmproj", "f16", "--output", tmp_path / "one.gguf")
    assert refused.returncode == 2
    assert "--output names one file, but 2 are to be made" in refused.stderr


def test_a_model_that_takes_in_text_alone(qconv: Run, checkpoint: Path) -> None:
    refused = qconv("convert", checkpoint, "--type", "q8_0", "--mmproj", "f16", "--dry-run")
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert (
        "has no projector: LlamaForCausalLM takes in neither images nor sounds (leave --mmproj out)" in refused.stderr
    )


def test_gguf_files_hold_no_projector(qconv: Run, q8_0: Path) -> None:
    refused = qconv("convert", q8_0, "--mmproj", "f16")
    assert refused.returncode == 2
    assert "--mmproj is for a model with a config.json" in refused.stderr


def test_a_projector_that_is_not_known(qconv: Run, model: Path, tmp_path: Path) -> None:
    config = json.loads((model / "config.json").read_text("utf-8"))
    shutil.copytree(model, tmp_path / "other")
    (tmp_path / "other" / "config.json").write_text(json.dumps(config | {"architectures": ["Qwen9VLModel"]}), "utf-8")
    refused = qconv("convert", tmp_path / "other", "--mmproj", "f16")
    assert refused.returncode == 1
    assert "the projector of Qwen9VLModel is not known" in refused.stderr
    assert "`qconv architectures --projectors` lists all" in refused.stderr


def test_architectures_show_both_parts(qconv: Run) -> None:
    shown = qconv("architectures", "Qwen3VLForConditionalGeneration").stdout
    assert "\nprojector qwen3vl: " in shown
    assert shown.startswith("qwen3vl: ")
    about = json.loads(qconv("architectures", "qwen2vl", "--json").stdout)
    assert {"qwen2vl", "qwen25vl"} <= {one["name"] for one in about["projectors"]}


def test_projectors_are_listed(qconv: Run) -> None:
    rows = json.loads(qconv("architectures", "--projectors", "--json").stdout)
    assert {"class": "InternVisionModel", "table": "internvl", "architecture": "clip"} in rows
    assert {row["architecture"] for row in rows} == {"clip"}
