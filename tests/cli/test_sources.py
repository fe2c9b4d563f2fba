"""What a SOURCE may be, and what a user is told about one that is not all there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader

from tests.checkpoints import packing
from tests.cli.commands import Run, make_checkpoint
from tests.mistral import models as mistral


def test_eight_bit_weights_without_their_scale_are_not_converted(qconv: Run, tmp_path: Path) -> None:
    quantization = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    config = {"architectures": ["LlamaForCausalLM"], "quantization_config": quantization}
    (tmp_path / "config.json").write_text(json.dumps(config))
    name = "model.layers.0.mlp.down_proj.weight"
    packing.save(tmp_path / "model.safetensors", {name: np.zeros((2, 32), np.uint8)}, {name: "F8_E4M3"})
    refused = qconv("convert", tmp_path, "--type", "q8_0", "--dry-run")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"tensor '{name}': is F8_E4M3 without its scale" in " ".join(refused.stderr.split())


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder of weights without a config."""
    folder = tmp_path / "bare"
    packing.save(folder / "model.safetensors", {"a.weight": np.zeros((2, 32), np.float32)})
    return folder


def test_a_folder_without_a_config_is_no_model(qconv: Run, bare: Path) -> None:
    refused = qconv("convert", bare, "--type", "f16")
    assert (refused.returncode, refused.stdout) == (1, "")
    said = " ".join(refused.stderr.split())
    assert f"{bare}: holds no config.json" in said
    assert "convert the weights file alone; --arch NAME" in said
    assert list(bare.iterdir()) == [bare / "model.safetensors"]


@pytest.mark.parametrize("given", [("model.safetensors",), (".", "--arch", "llama")])
def test_weights_without_a_config_keep_their_names_when_asked(qconv: Run, bare: Path, given: tuple[str, ...]) -> None:
    path, *options = given
    made = qconv("convert", bare / path, *options, "--type", "f16", "--dry-run")
    assert made.returncode == 0, made.stderr
    assert "no config.json beside the weights" in " ".join(made.stderr.split())


def test_a_config_that_is_a_directory_is_not_called_missing(qconv: Run, bare: Path) -> None:
    (bare / "config.json").mkdir()
    refused = qconv("convert", bare, "--type", "f16")
    assert refused.returncode == 1
    assert "config.json: is not a regular file" in " ".join(refused.stderr.split())


def test_one_part_without_an_index_is_the_whole_model(qconv: Run, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "Noise", "--shards", "3")
    (folder / "model.safetensors.index.json").unlink()
    made = qconv("convert", folder / "model-00002-of-00003.safetensors", "--type", "f16", "--dry-run")
    assert made.returncode == 0, made.stderr
    (folder / "model-00003-of-00003.safetensors").unlink()
    refused = qconv("convert", folder / "model-00002-of-00003.safetensors", "--type", "f16", "--dry-run")
    assert refused.returncode == 1
    assert "'model-00003-of-00003.safetensors' is missing" in " ".join(refused.stderr.split())


def test_mistrals_own_format(qconv: Run, tmp_path: Path) -> None:
    folder = tmp_path / "Ministral-3-14B"
    folder.mkdir()
    mistral.ministral(folder)
    made = qconv("convert", folder, "--type", "q8_0", "--output", tmp_path)
    assert made.returncode == 0, made.stderr
    reader = GGUFReader(made.stdout.strip())
    assert reader.fields["general.architecture"].contents() == "mistral3"
    assert {tensor.tensor_type.name for tensor in reader.tensors} == {"F32", "Q8_0"}
    (folder / "chat_template.jinja").unlink()
    known = qconv("convert", folder, "--type", "q8_0", "--dry-run")
    assert (known.returncode, known.stderr) == (0, "")
    vocabulary = json.loads((folder / "tekken.json").read_text())
    vocabulary["config"]["version"] = "v99"
    (folder / "tekken.json").write_text(json.dumps(vocabulary))
    told = qconv("convert", folder, "--type", "q8_0", "--dry-run")
    assert "there is no chat template" in " ".join(told.stderr.split())
    (folder / "params.json").unlink()
    refused = qconv("convert", folder, "--type", "q8_0", "--dry-run")
    assert refused.returncode == 1
    assert "holds no config.json" in " ".join(refused.stderr.split())


def test_a_lone_adapter_is_refused(qconv: Run, tmp_path: Path) -> None:
    names = [f"base_model.model.q_proj.lora_{x}.weight" for x in "AB"]
    path = tmp_path / "adapter_model.safetensors"
    packing.save(path, dict.fromkeys(names, np.zeros((2, 32), np.float32)))
    refused = qconv("convert", path, "--type", "f16")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "holds a LoRA adapter, not a model" in " ".join(refused.stderr.split())


@pytest.mark.parametrize("dangling", [False, True])
def test_a_missing_tokenizer_config_is_named(checkpoint: Path, qconv: Run, tmp_path: Path, dangling: bool) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "Noise"))
    (folder / "tokenizer_config.json").unlink()
    if dangling:
        (folder / "tokenizer_config.json").symlink_to("nothing")
    refused = qconv("convert", folder, "--type", "f16", "--dry-run")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "tokenizer_config.json is missing" in " ".join(refused.stderr.split())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_norm_that_is_no_number_stops_every_type(checkpoint: Path, qconv: Run, tmp_path: Path, bad: float) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "Noise"))
    tensors, name = packing.load(folder / "model.safetensors"), "model.layers.1.input_layernorm.weight"
    tensors[name] = tensors[name].astype(np.float32)
    tensors[name][3] = bad
    packing.save(folder / "model.safetensors", tensors)
    for type in ("q8_0", "f16", "f32"):
        refused = qconv("convert", folder, "--type", type)
        assert (refused.returncode, refused.stdout) == (1, "")
        said = " ".join(refused.stderr.split())
        assert f"tensor 'blk.1.attn_norm.weight': row 0, column 3 is NaN or infinite, made from '{name}'" in said
        assert ("--allow-non-finite keeps it" in said) == (type != "q8_0")
    assert qconv("convert", folder, "--type", "q8_0", "--allow-non-finite").returncode == 1
    kept = qconv("convert", folder, "--type", "f16", "--allow-non-finite")
    assert kept.returncode == 0, kept.stderr


def test_weights_too_large_for_f16_are_told(checkpoint: Path, qconv: Run, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "Noise"))
    tensors, name = packing.load(folder / "model.safetensors"), "model.layers.1.mlp.up_proj.weight"
    tensors[name] = tensors[name].astype(np.float32)
    tensors[name][0, :2] = 1e5, -2e5
    packing.save(folder / "model.safetensors", tensors)
    made = qconv("convert", folder, "--type", "f16", "--json")
    assert made.returncode == 0, made.stderr
    said = "tensor 'blk.1.ffn_up.weight': 2 weights are too large for F16 and became infinite (the greatest is 200000)"
    assert said in " ".join(made.stderr.split())
    assert any(said in warning for warning in json.loads(made.stdout)["warnings"])


def test_of_two_models_none_is_taken(checkpoint: Path, qconv: Run, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "Noise", "--shards", "3")
    shutil.copy(checkpoint / "model.safetensors", folder)
    refused = qconv("convert", folder, "--type", "q8_0", "--dry-run")
    assert (refused.returncode, refused.stdout) == (1, "")
    said = " ".join(refused.stderr.split())
    assert "holds two models, 'model.safetensors' and 'model-00001-of-00003.safetensors' to" in said
    (folder / "model-00002-of-00003.safetensors").unlink()
    made = qconv("convert", folder, "--type", "q8_0", "--dry-run")
    assert made.returncode == 0, made.stderr
    assert "warning: model.safetensors.index.json is passed over" in " ".join(made.stderr.split())


def test_an_output_that_only_the_index_has_is_told(qconv: Run, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "Noise", "--shards", "2")
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    index["weight_map"]["lm_head.weight"] = "model-00002-of-00002.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    made = qconv("convert", folder, "--type", "q8_0", "--dry-run")
    assert made.returncode == 0, made.stderr
    assert "warning: lm_head.weight is in the index alone, and not needed" in " ".join(made.stderr.split())


@pytest.mark.parametrize("prefix", ["module.", "base_model.model."])
def test_names_with_a_prefix_give_the_same_file(checkpoint: Path, qconv: Run, tmp_path: Path, prefix: str) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / checkpoint.name))
    tensors = packing.load(folder / "model.safetensors")
    packing.save(folder / "model.safetensors", {prefix + name: tensors[name] for name in sorted(tensors)})
    files = []
    for number, source in enumerate((checkpoint, folder)):
        files.append(tmp_path / f"{number}.gguf")
        made = qconv("convert", source, "--type", "q8_0", "--output", files[-1])
        assert made.returncode == 0, made.stderr
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(
    ("dtype", "kind", "hint"), [("U16", np.uint16, "BF16 that a tool without that type"), ("I8", np.int8, "base_model")]
)
def test_weights_of_integers_are_refused(
    checkpoint: Path, qconv: Run, tmp_path: Path, dtype: str, kind: type, hint: str
) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "Noise"))
    tensors = {name: rows.astype(kind) for name, rows in packing.load(folder / "model.safetensors").items()}
    packing.save(folder / "model.safetensors", tensors, dict.fromkeys(tensors, dtype))
    for source in (folder, folder / "model.safetensors"):
        refused = qconv("convert", source, "--type", "q8_0")
        assert (refused.returncode, refused.stdout) == (1, "")
        said = " ".join(refused.stderr.split())
        assert "tensor 'model.embed_tokens.weight': is " + dtype in said
        assert hint in said
    (folder / "config.json").unlink()
    assert qconv("convert", folder / "model.safetensors", "--type", "q8_0").returncode == 1


def test_a_file_saved_without_gathering_is_told(checkpoint: Path, qconv: Run, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "Noise"))
    tensors = packing.load(folder / "model.safetensors")
    packing.save(folder / "model.safetensors", {name: rows.reshape(-1)[:0] for name, rows in tensors.items()})
    refused = qconv("convert", folder, "--type", "q8_0")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "is empty: the file was saved while its weights were spread over processes" in " ".join(
        refused.stderr.split()
    )


def hub_cache(checkpoint: Path, folder: Path) -> Path:
    """The checkpoint as huggingface_hub keeps it: a snapshot of links to blobs named by their hashes."""
    repository = folder / "models--acme--Nice-Model-1B"
    snapshot = repository / "snapshots" / "4d3fb3a79c1f0aa7e6a1c2b3"
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for number, file in enumerate(sorted(checkpoint.iterdir())):
        shutil.copy(file, repository / "blobs" / f"{number:040x}")
        (snapshot / file.name).symlink_to(f"../../blobs/{number:040x}")
    return snapshot


@pytest.mark.parametrize("given", [".", "model.safetensors", "../.."])
def test_a_hub_cache_names_the_file_after_the_repository(
    checkpoint: Path, qconv: Run, tmp_path: Path, given: str
) -> None:
    snapshot = hub_cache(checkpoint, tmp_path)
    made = qconv("convert", snapshot / given, "--type", "q8_0", "--output", tmp_path)
    if given == "../..":  # the repository's own folder holds no weights, but says where they are
        assert made.returncode == 1
        assert f"give the folder: {tmp_path}" in " ".join(made.stderr.split())
    else:
        assert made.returncode == 0, made.stderr
        assert Path(made.stdout.strip()).name.startswith("Nice-Model-")


@pytest.mark.parametrize("linked", ["weights", "all", "folder", "chain"])
def test_a_users_own_links_are_followed(checkpoint: Path, qconv: Run, tmp_path: Path, linked: str) -> None:
    disk, folder = tmp_path / "disk", tmp_path / "Mine"
    shutil.copytree(checkpoint, disk)
    if linked == "folder":
        folder.symlink_to(disk, target_is_directory=True)
    else:
        folder.mkdir()
        for file in disk.iterdir():
            if linked == "all" or file.suffix == ".safetensors":
                (folder / file.name).symlink_to(file)
            else:
                shutil.copy(file, folder)
    if linked == "chain":
        (folder / "model.safetensors").unlink()
        (tmp_path / "between").symlink_to(disk / "model.safetensors")
        (folder / "model.safetensors").symlink_to("../between")
    made = qconv("convert", folder, "--type", "q8_0", "--output", tmp_path)
    assert made.returncode == 0, made.stderr
    expected = qconv("convert", disk, "--type", "q8_0", "--output", tmp_path / "expected.gguf")
    assert expected.returncode == 0, expected.stderr
    compared = qconv("compare", made.stdout.strip(), tmp_path / "expected.gguf", "--json")
    assert all(tensor["equal"] for tensor in json.loads(compared.stdout)["tensors"])


def test_a_model_that_mlx_saved(checkpoint: Path, qconv: Run, tmp_path: Path) -> None:
    """Llama's is the same file; of a kind that is not known nothing is assumed."""
    folder = Path(shutil.copytree(checkpoint, tmp_path / checkpoint.name))
    tensors = packing.load(folder / "model.safetensors")
    packing.save(folder / "model.safetensors", {name: tensors[name] for name in sorted(tensors)}, framework="mlx")
    files = []
    for number, source in enumerate((checkpoint, folder)):
        files.append(tmp_path / f"{number}.gguf")
        made = qconv("convert", source, "--type", "q8_0", "--output", files[-1])
        assert made.returncode == 0, made.stderr
    assert files[0].read_bytes() == files[1].read_bytes()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "surprise"}))
    refused = qconv("convert", folder, "--type", "q8_0", "--dry-run")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "was saved by MLX, and which weights MLX changes" in " ".join(refused.stderr.split())


def test_an_output_that_is_missing_is_told(qconv: Run, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "Noise", "--untied")
    tensors = packing.load(folder / "model.safetensors")
    del tensors["lm_head.weight"]
    packing.save(folder / "model.safetensors", tensors)
    made = qconv("convert", folder, "--type", "q8_0", "--dry-run")
    assert made.returncode == 0, made.stderr
    assert "warning: there is no lm_head.weight, though config.json says tie" in " ".join(made.stderr.split())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["LlamaModel"]}))
    embedding = qconv("convert", folder, "--type", "q8_0", "--dry-run")
    assert (embedding.returncode, "warning" in embedding.stderr) == (0, False)


def test_adapters_inside_a_model_are_named(checkpoint: Path, qconv: Run, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "Noise"))
    tensors = packing.load(folder / "model.safetensors")
    module = "model.layers.0.self_attn.q_proj"
    tensors[f"{module}.base_layer.weight"] = tensors.pop(f"{module}.weight")
    tensors[f"{module}.lora_A.default.weight"] = np.zeros((8, 64), np.float32)
    packing.save(folder / "model.safetensors", {f"base_model.model.{name}": rows for name, rows in tensors.items()})
    refused = qconv("convert", folder, "--type", "q8_0", "--dry-run")
    assert (refused.returncode, refused.stdout) == (1, "")
    said = " ".join(refused.stderr.split())
    assert f"holds adapters that are not merged into the weights, such as base_model.model.{module}.lora_A" in said
    assert "merge_and_unload()" in said
