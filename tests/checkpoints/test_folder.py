"""Which files of a folder are the model, and what is said when it is not all there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import constants

from qconv import checkpoints
from qconv.errors import FormatError, InputError, UnsupportedError
from tests.checkpoints import packing as p

A, B = p.numbers(2, 4), p.numbers(3, 4, seed=1)
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    p.save(tmp_path / FIRST, {"z": A})
    p.save(tmp_path / SECOND, {"a": B, "b": A})
    p.index(tmp_path / "model.safetensors.index.json", {"z": FIRST, "a": SECOND, "b": SECOND})
    return tmp_path


@pytest.mark.parametrize("given", [".", "model.safetensors.index.json", FIRST, SECOND])
def test_a_sharded_model_opens_by_any_of_its_files(sharded: Path, given: str) -> None:
    with checkpoints.open(sharded / given) as opened:
        assert list(opened.tensors) == ["z", "a", "b"]  # file by file, by name in each
        assert [f.name for f in opened.files] == [FIRST, SECOND]
        assert opened.directory == sharded
        np.testing.assert_array_equal(opened.read("a", 0, 3), B)
        np.testing.assert_array_equal(opened.read("z", 0, 2), A)


@pytest.mark.parametrize("given", [".", FIRST, SECOND])
def test_parts_without_an_index(sharded: Path, given: str) -> None:
    (sharded / "model.safetensors.index.json").unlink()
    with checkpoints.open(sharded / given) as opened:
        assert list(opened.tensors) == ["z", "a", "b"]


def test_a_part_without_the_others_names_them(sharded: Path) -> None:
    (sharded / "model.safetensors.index.json").unlink()
    (sharded / FIRST).unlink()
    with pytest.raises(FormatError, match=rf"{SECOND}: is incomplete: '{FIRST}' is missing"):
        checkpoints.open(sharded / SECOND)


@pytest.mark.parametrize("name", ["model-00001-of-00001", "model-00000-of-00002"])
def test_names_that_only_look_like_parts(tmp_path: Path, name: str) -> None:
    with checkpoints.open(p.save(tmp_path / f"{name}.safetensors", {"a": A})) as opened:
        assert list(opened.tensors) == ["a"]


@pytest.mark.parametrize("with_index", [True, False])
def test_a_missing_part_is_named(sharded: Path, with_index: bool) -> None:
    (sharded / SECOND).unlink()
    if not with_index:
        (sharded / "model.safetensors.index.json").unlink()
    with pytest.raises(FormatError, match=rf"is incomplete: '{SECOND}' is missing"):
        checkpoints.open(sharded)


OLD = {"z": A + 1, "a": B + 1, "b": A}
WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize("with_index", [True, False])
def test_two_models_in_one_folder_are_refused(sharded: Path, with_index: bool) -> None:
    """transformers loads model.safetensors, llama.cpp's converter the shards: neither may be what is meant."""
    p.save(sharded / WHOLE, OLD)
    way = INDEX
    if not with_index:
        (sharded / INDEX).unlink()
        way = FIRST
    said = rf"holds two models, '{WHOLE}' and '{FIRST}' to '{SECOND}' \(give the one you mean, .*/{WHOLE} \(which trans"
    with pytest.raises(InputError, match=said) as caught:
        checkpoints.open(sharded)
    assert f" or {sharded / way}, or move the other away" in str(caught.value)
    with checkpoints.open(sharded / WHOLE) as opened:
        np.testing.assert_array_equal(opened.read("a", 0, 3), B + 1)
    with checkpoints.open(sharded / way) as opened:
        np.testing.assert_array_equal(opened.read("a", 0, 3), B)


@pytest.mark.parametrize("gone", [[FIRST], [FIRST, SECOND]])
def test_an_index_whose_shards_are_gone_is_passed_over(sharded: Path, gone: list[str]) -> None:
    p.save(sharded / WHOLE, OLD)
    for name in gone:
        (sharded / name).unlink()
    with checkpoints.open(sharded) as opened:
        np.testing.assert_array_equal(opened.read("a", 0, 3), B + 1)
        (said,) = opened.notes
    assert said.startswith(f"{INDEX} is passed over, since '{FIRST}'")
    assert said.endswith(f"missing: {WHOLE} is the model")


@pytest.mark.parametrize("content", [b"", b"{}", b"version https://git-lfs.github.com/spec/v1\n", b"[1]"])
def test_an_index_that_is_none_beside_a_whole_model_is_passed_over(sharded: Path, content: bytes) -> None:
    p.save(sharded / WHOLE, OLD)
    for name in (FIRST, SECOND):
        (sharded / name).unlink()
    (sharded / INDEX).write_bytes(content)
    with checkpoints.open(sharded) as opened:
        np.testing.assert_array_equal(opened.read("a", 0, 3), B + 1)
        (said,) = opened.notes
    assert said.startswith(f"{INDEX} is passed over, since it ")


def test_a_file_beside_an_index_that_is_none_can_be_given(sharded: Path) -> None:
    p.save(sharded / WHOLE, OLD)
    (sharded / INDEX).write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(InputError, match="holds two models"):
        checkpoints.open(sharded)
    with checkpoints.open(sharded / WHOLE) as opened:
        np.testing.assert_array_equal(opened.read("a", 0, 3), B + 1)


def test_an_index_that_names_files_outside_is_not_passed_over(sharded: Path) -> None:
    p.save(sharded / WHOLE, OLD)
    p.index(sharded / INDEX, {"z": "../x.safetensors"})
    with pytest.raises(FormatError, match="names a file outside its folder"):
        checkpoints.open(sharded)


def test_a_link_to_a_disk_that_is_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / WHOLE).symlink_to("/nowhere/weights.safetensors")
    with pytest.raises(InputError, match=r"is a link to /nowhere/weights\.safetensors, where nothing is \(is the disk"):
        checkpoints.open(tmp_path)


def test_shards_that_are_not_all_there_beside_a_whole_model(sharded: Path) -> None:
    p.save(sharded / WHOLE, OLD)
    (sharded / INDEX).unlink()
    (sharded / SECOND).unlink()
    with checkpoints.open(sharded) as opened:
        np.testing.assert_array_equal(opened.read("a", 0, 3), B + 1)
        assert opened.notes == (f"{FIRST} passed over, since '{SECOND}' is missing",)


def test_two_sets_of_shards(sharded: Path) -> None:
    others = [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
    for name, tensor in zip(others, OLD, strict=True):
        p.save(sharded / name, {tensor: OLD[tensor]})
    with checkpoints.open(sharded) as opened:  # the index says which
        np.testing.assert_array_equal(opened.read("a", 0, 3), B)
        assert opened.notes == (f"{others[0]}, {others[1]} and 1 more left out: {INDEX} does not name them",)
    (sharded / INDEX).unlink()
    with pytest.raises(InputError, match=f"two models, '{FIRST}' to '{SECOND}' and '{others[0]}' to '{others[2]}'"):
        checkpoints.open(sharded)
    (sharded / others[1]).unlink()
    with checkpoints.open(sharded) as opened:
        np.testing.assert_array_equal(opened.read("a", 0, 3), B)
        assert opened.notes == (f"{others[0]}, {others[2]} passed over, since '{others[1]}' is missing",)
    (sharded / FIRST).unlink()
    with pytest.raises(FormatError, match="is incomplete: '"):
        checkpoints.open(sharded)


def test_an_index_of_one_file_is_no_second_model(tmp_path: Path) -> None:
    p.save(tmp_path / WHOLE, OLD)
    p.index(tmp_path / INDEX, dict.fromkeys(OLD, WHOLE))
    with checkpoints.open(tmp_path) as opened:
        assert opened.notes == ()


def test_model_files_that_make_one_model_together(tmp_path: Path) -> None:
    p.save(tmp_path / WHOLE, {"a": A})
    p.save(tmp_path / "model_mtp.safetensors", {"b": B})
    with checkpoints.open(tmp_path) as opened:
        assert (list(opened.tensors), opened.notes) == (["a", "b"], ())


def test_a_tensor_in_the_index_alone_is_kept_in_mind(sharded: Path) -> None:
    (sharded / "config.json").write_text("{}")
    p.index(sharded / INDEX, {"z": FIRST, "lm_head.weight": FIRST, "a": SECOND, "b": SECOND})
    with checkpoints.open(sharded) as opened:
        assert opened.absent == {"lm_head.weight": FIRST}
    (sharded / "config.json").unlink()
    with pytest.raises(FormatError, match=f"tensor 'lm_head.weight': is not in '{FIRST}', as the index says"):
        checkpoints.open(sharded)


def test_consolidated_weights_are_left_alone(tmp_path: Path) -> None:
    p.save(tmp_path / "model.safetensors", {"a": A})
    p.save(tmp_path / "consolidated.safetensors", {"b": B})
    with checkpoints.open(tmp_path) as opened:
        assert list(opened.tensors) == ["a"]


def test_the_only_file_may_have_any_name(tmp_path: Path) -> None:
    p.save(tmp_path / "weights.safetensors", {"a": A})
    with checkpoints.open(tmp_path) as opened:
        assert list(opened.tensors) == ["a"]


def test_several_files_of_other_names_are_ambiguous(tmp_path: Path) -> None:
    for name in ("x", "y"):
        p.save(tmp_path / f"{name}.safetensors", {"a": A})
    with pytest.raises(InputError, match=r"none named model: x.safetensors, y.safetensors \(give the file you mean\)"):
        checkpoints.open(tmp_path)


def test_a_tensor_in_two_files_is_told(tmp_path: Path) -> None:
    p.save(tmp_path / "model.safetensors", {"a": A})
    p.save(tmp_path / "model2.safetensors", {"a": A})
    with pytest.raises(FormatError, match=r"model2.safetensors, tensor 'a': is also in 'model.safetensors'"):
        checkpoints.open(tmp_path)


def test_a_part_whose_name_no_file_can_have(sharded: Path) -> None:
    p.index(sharded / "model.safetensors.index.json", {"z": FIRST, "a": FIRST, "b": "w" * 300 + ".safetensors"})
    with pytest.raises(InputError, match=r"w{300}"):
        checkpoints.open(sharded)


def test_an_index_that_disagrees_with_its_files(sharded: Path) -> None:
    p.index(sharded / "model.safetensors.index.json", {"z": FIRST, "a": FIRST, "b": SECOND})
    with pytest.raises(FormatError, match=r"tensor 'a': is not in 'model-00001"):
        checkpoints.open(sharded)
    p.index(sharded / "model.safetensors.index.json", {"z": FIRST, "a": SECOND})
    with pytest.raises(FormatError, match=r"tensor 'b': is in 'model-00002.*but not in the index"):
        checkpoints.open(sharded)


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/passwd", "a/../../x", "", "a\0b"])
def test_an_index_naming_files_outside_is_refused(sharded: Path, name: str) -> None:
    p.index(sharded / "model.safetensors.index.json", {"z": name})
    with pytest.raises(FormatError, match="names a file outside its folder"):
        checkpoints.open(sharded)


@pytest.mark.parametrize("content", ["{}", "[]", '{"weight_map": []}', '{"weight_map": {"a": 1}}'])
def test_an_index_without_a_map_is_refused(sharded: Path, content: Any) -> None:
    (sharded / "model.safetensors.index.json").write_text(content)
    with pytest.raises(FormatError, match="has no 'weight_map'"):
        checkpoints.open(sharded)


def test_a_hub_cache_is_a_folder_of_links(tmp_path: Path) -> None:
    repository = tmp_path / "models--me--model"
    snapshot = repository / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    p.save(repository / "blobs" / "abcdef", {"a": A})
    (snapshot / "model.safetensors").symlink_to("../../blobs/abcdef")
    with checkpoints.open(snapshot) as opened:
        np.testing.assert_array_equal(opened.read("a", 0, 2), A)
    p.index(snapshot / "model.safetensors.index.json", {"a": "model.safetensors"})
    with checkpoints.open(snapshot) as opened:
        assert list(opened.tensors) == ["a"]


def test_a_users_own_links_are_followed(tmp_path: Path) -> None:
    p.save(tmp_path / "disk" / "weights.safetensors", {"a": A})
    (tmp_path / "disk" / "config.json").write_text('{"model_type": "x"}')
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").symlink_to(tmp_path / "disk" / "weights.safetensors")
    (folder / "config.json").symlink_to(tmp_path / "disk" / "config.json")
    for given in (folder, folder / "model.safetensors"):
        with checkpoints.open(given) as opened:
            assert list(opened.tensors) == ["a"]
            assert opened.config == {"model_type": "x"}


def test_links_that_lead_nowhere_are_told(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").symlink_to("model.safetensors")
    with pytest.raises(InputError, match=r"model.safetensors"):
        checkpoints.open(tmp_path)


def test_nothing_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InputError, match="is an empty directory"):
        checkpoints.open(tmp_path)
    (tmp_path / "README.md").write_text("hello")
    with pytest.raises(InputError, match="holds no weights"):
        checkpoints.open(tmp_path)
    with pytest.raises(InputError, match=r"hf://me/model: is not in the cache; no folder here has this name"):
        checkpoints.open("me/model")
    with pytest.raises(UnsupportedError, match=r"README.md: is of no kind qconv reads"):
        checkpoints.open(tmp_path / "README.md")
    with pytest.raises(InputError, match="does not exist"):
        checkpoints.open("a\0b")


def test_a_folder_around_a_model_names_the_nearest(tmp_path: Path) -> None:
    cache = tmp_path / "models--acme--Name"
    snapshot = cache / "snapshots" / "0123"
    p.save(snapshot / "model.safetensors", {"a": A})
    for name in ("blobs", "refs"):
        (cache / name).mkdir()
    with pytest.raises(InputError, match=rf"holds no weights itself \(give the folder: {snapshot}\)"):
        checkpoints.open(cache)
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    with pytest.raises(InputError, match=rf"give one of its folders: {tmp_path / 'a'}, {tmp_path / 'b'}\)"):
        checkpoints.open(tmp_path)


def test_a_folder_of_empty_folders_is_not_called_empty(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "loop").symlink_to(".")
    with pytest.raises(InputError, match=r"holds no weights: no \.safetensors file is in it"):
        checkpoints.open(tmp_path)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink(path.name, path)])
def test_a_config_that_is_no_file_is_told(tmp_path: Path, make: Callable[[Path], object]) -> None:
    p.save(tmp_path / "model.safetensors", {"a": A})
    make(tmp_path / "config.json")
    with pytest.raises(InputError, match=r"config\.json") as caught:
        checkpoints.open(tmp_path)
    assert "no config.json" not in str(caught.value)


def test_named_pipes_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="is not a regular file"):
        checkpoints.open(tmp_path)
    with pytest.raises(InputError, match="is neither a file nor a directory"):
        checkpoints.open(tmp_path / "model.safetensors")


def test_a_folder_of_gguf_points_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "m-Q4_K_M.gguf").write_bytes(b"GGUF")
    with pytest.raises(InputError, match=r"holds 1 GGUF file and no safetensors \(give the file: .*m-Q4_K_M.gguf\)"):
        checkpoints.open(tmp_path)


@pytest.mark.parametrize(
    ("name", "tensors"),
    [
        ("adapter_model", ["model.q_proj.lora_A.weight", "lm_head.weight"]),
        ("mine", ["model.q_proj.lora_A.weight", "model.q_proj.lora_B.weight"]),
    ],
)
def test_adapters_are_told_from_models(tmp_path: Path, name: str, tensors: Any) -> None:
    path = p.save(tmp_path / f"{name}.safetensors", dict.fromkeys(tensors, A))
    for given in (tmp_path, path):
        with checkpoints.open(given) as opened:
            assert (opened.kind, opened.config) == ("adapter", None)


def test_the_adapter_of_a_folder_is_opened_beside_a_model(tmp_path: Path) -> None:
    p.save(tmp_path / "model.safetensors", {"q_proj.weight": A})
    p.save(tmp_path / "0000100_adapters.safetensors", {"q_proj.lora_a": A})
    with pytest.raises(InputError, match=r"holds no adapter: that is adapter_model\.safetensors or adapters"):
        checkpoints.open_adapter(tmp_path)
    p.save(tmp_path / "adapters.safetensors", {"q_proj.lora_a": A})
    (tmp_path / "adapter_config.json").write_text('{"fine_tune_type": "lora"}')
    with checkpoints.open_adapter(tmp_path) as opened:
        assert (list(opened.lazy), opened.config) == (["q_proj.lora_a"], {"fine_tune_type": "lora"})
    with checkpoints.open(tmp_path) as opened:
        assert opened.kind == "safetensors"
    with pytest.raises(InputError, match="holds no adapter, but a model's weights"):
        checkpoints.open_adapter(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    with checkpoints.open(tmp_path) as opened:
        assert opened.kind == "adapter"
    (tmp_path / "adapters.safetensors").unlink()
    (tmp_path / "adapter_model.bin").write_bytes(b"PK")
    with pytest.raises(UnsupportedError, match="pickled PyTorch weights"):
        checkpoints.open_adapter(tmp_path)


def test_a_model_may_hold_adapters(tmp_path: Path) -> None:
    p.save(tmp_path / "model.safetensors", {"q.base_layer.weight": A, "q.lora_A.speech.weight": A})
    checkpoints.open(tmp_path).close()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth", "last.ckpt"])
def test_pickles_are_never_opened(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    for given in (tmp_path, path):
        with pytest.raises(UnsupportedError, match=r"pickled PyTorch weights, which qconv never opens .*save_file"):
            checkpoints.open(given)


@pytest.mark.parametrize("name", ["model.h5", "flax_model.msgpack", "model.onnx"])
def test_other_frameworks_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(bytes(100))
    for given in (tmp_path, tmp_path / name):
        with pytest.raises(UnsupportedError, match="which qconv does not read"):
            checkpoints.open(given)


@pytest.mark.parametrize("name", ["model.safetensors", "model.gguf"])
@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "is a Git LFS pointer"),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "is a web page"),
        (b'\n<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "is a web page"),
        (b"PK\x03\x04" + bytes(60), "pickled PyTorch weights"),
        (b"\x80\x04\x95" + bytes(60), "pickled PyTorch weights"),
        (b"", "is empty"),
    ],
)
def test_files_that_are_something_else(tmp_path: Path, name: str, content: Any, complaint: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=complaint) as caught:
        checkpoints.open(path)
    assert caught.value.hint
    if name.endswith("safetensors"):
        with pytest.raises(InputError, match=complaint):
            checkpoints.open(tmp_path)
