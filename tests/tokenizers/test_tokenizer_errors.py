"""What a user sees when tokenizer files are missing, wrong or hostile."""

from __future__ import annotations

import base64
import contextlib
import json
import operator
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qconv import tokenizers
from qconv.errors import FormatError, QconvError, TableError, TokenizerError, UsageError
from qconv.storage import LocalFolder
from qconv.tokenizers.tables import tables

CASES = Path(__file__).parent / "cases"


def convert(folder: Path, **changes: Any) -> Any:
    case = json.loads((folder / "case.json").read_text())
    config = json.loads((folder / "config.json").read_text())
    pre = changes.pop("pre", None)
    return tokenizers.metadata(
        LocalFolder(folder), {**config, **changes}, kind=case["kind"], options=case["options"], pre=pre
    )


@pytest.fixture
def copy(tmp_path: Path) -> Callable[[str], Path]:
    def copied(name: str) -> Path:
        return Path(shutil.copytree(CASES / name, tmp_path / name))

    return copied


def edit(folder: Path, name: str, change: Callable[[Any], None]) -> None:
    value = json.loads((folder / name).read_text("utf-8"))
    change(value)
    (folder / name).write_text(json.dumps(value), "utf-8")


def test_missing_files_say_what_to_put_there(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"tokenizer\.model.*beside the weights"):
        tokenizers.metadata(LocalFolder(tmp_path), {}, kind="gemma")


def test_a_folder_without_a_tokenizer_says_what_to_put_there(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"has no tokenizer\.json \(put the model's tokenizer\.json, or its"):
        tokenizers.metadata(LocalFolder(tmp_path), {}, kind="llama")


@pytest.mark.parametrize(("case", "name"), [("bpe-bare", "tokenizer.json"), ("spm-added", "tokenizer.model")])
def test_git_lfs_pointers_are_told(copy: Callable[[str], Path], case: str, name: str) -> None:
    folder = copy(case)
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    with pytest.raises(FormatError, match=f"{name}: is a Git LFS pointer"):
        convert(folder)


def test_tokens_of_any_length_are_not_cut_everywhere(tmp_path: Path) -> None:
    tokens = [bytes([i]) for i in range(256)] + [b"a" * 200_000]
    tekken = {
        "config": {"default_vocab_size": 258, "default_num_special_tokens": 1},
        "vocab": [{"token_bytes": base64.b64encode(token).decode()} for token in tokens],
        "special_tokens": [],
    }
    (tmp_path / "tekken.json").write_text(json.dumps(tekken))
    with pytest.raises(FormatError, match=r"tekken\.json: holds a token of more than 1,024 bytes"):
        tokenizers.metadata(LocalFolder(tmp_path), {}, kind="tekken")


def test_vocabulary_larger_than_the_embedding(copy: Callable[[str], Path]) -> None:
    with pytest.raises(TokenizerError, match="token id 265 lies beyond the model's 262 rows"):
        convert(copy("bpe-added"), vocab_size=262)


@pytest.mark.parametrize("case", ["bpe-added", "spm-json"])
def test_tokens_assumed_for_a_missing_config_are_told(copy: Callable[[str], Path], case: str) -> None:
    folder = copy(case)
    (folder / "tokenizer_config.json").write_text("{}")
    with pytest.raises(TokenizerError, match="are the tokenizer files those of this model"):
        convert(folder, vocab_size=200)
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(TokenizerError, match=r"tokenizer_config\.json is missing, and tokens were assumed"):
        convert(folder, vocab_size=200)


def notes_of(folder: Path, **changes: Any) -> list[str]:
    case, config = (json.loads((folder / name).read_text()) for name in ("case.json", "config.json"))
    notes: list[str] = []
    pre = changes.pop("pre", None)
    tokenizers.metadata(LocalFolder(folder), {**config, **changes}, kind=case["kind"], pre=pre, note=notes.append)
    return notes


def test_tokens_past_the_embedding_are_told(copy: Callable[[str], Path]) -> None:
    (said,) = notes_of(copy("spm-added"))
    assert said.startswith("the embedding has 272 rows, so these tokens are left out: '<far>' (306), '<far>' (326); in")
    (said,) = notes_of(copy("spm-cut"))
    assert said.startswith("the embedding has 264 rows, so these tokens are left out: ")
    assert "(264)" in said
    assert notes_of(copy("codellama")) == []


def test_tokens_past_the_embedding_in_every_file(copy: Callable[[str], Path]) -> None:
    folder = copy("spm-added")
    added = json.loads((folder / "added_tokens.json").read_text())
    (folder / "added_tokens.json").write_text(json.dumps({**added, "<a>": 300}))
    token = {"id": 301, "content": "<b>", "special": False}
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {}}, "added_tokens": [token]}))
    (said,) = notes_of(folder)
    assert "'<a>' (300), '<b>' (301), '<far>' (306)" in said


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("tokenizer_config.json", {"eos_token": "<far>"}, "eos_token is '<far>', token 306"),
        ("tokenizer_config.json", {"pad_token": {"content": "<far>"}}, "pad_token is '<far>', token 306"),
        ("special_tokens_map.json", {"bos_token": "<far>"}, "bos_token is '<far>', token 306"),
        ("config.json", {"eos_token_id": 306}, "eos_token_id is '<far>', token 306"),
        ("config.json", {"text_config": {"pad_token_id": 306}}, "pad_token_id is '<far>', token 306"),
    ],
)
def test_a_special_token_past_the_embedding_is_an_error(
    copy: Callable[[str], Path], name: str, change: dict[str, Any], said: str
) -> None:
    folder = copy("spm-added")
    if not (folder / name).exists():
        (folder / name).write_text("{}")
    edit(folder, name, operator.methodcaller("update", change))
    with pytest.raises(TokenizerError, match=f"{said}, but the embedding has 272 rows .*resize_token_embeddings"):
        convert(folder)


@pytest.mark.parametrize("case", ["bpe-added", "spm-json"])
def test_one_id_with_two_spellings_is_told(copy: Callable[[str], Path], case: str) -> None:
    """transformers takes the config's for a further token: an error where there is no row for it."""
    folder = copy(case)
    file = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    token = file["added_tokens"][0]
    renamed = {str(token["id"]): token | {"content": "<custom_token_0>"}}
    edit(folder, "tokenizer_config.json", operator.methodcaller("update", {"added_tokens_decoder": renamed}))
    (folder / "added_tokens.json").unlink(missing_ok=True)
    size = max([*file["model"]["vocab"].values(), *(t["id"] for t in file["added_tokens"])]) + 1
    said = (
        f"token {token['id']} is '{token['content']}' in tokenizer.json and '<custom_token_0>' in tokenizer_config.json"
    )
    with pytest.raises(TokenizerError, match=re.escape(said) + ".*the same text in both"):
        convert(folder, vocab_size=size)
    assert notes_of(folder, vocab_size=size + 8)[0] == said


def test_a_renamed_token_of_a_sentencepiece_model_is_told(copy: Callable[[str], Path]) -> None:
    """llama.cpp's converter takes the config's spelling, and has a row for it."""
    folder = copy("spm-added")
    added = [{"id": 270, "content": "<|reserved|>", "special": False}]
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {}}, "added_tokens": added}))
    assert (
        notes_of(folder)[-1] == "token 270 is '<|reserved|>' in tokenizer.json and '<|odd|>' in tokenizer_config.json"
    )


def test_a_pre_tokenizer_that_does_not_count_is_told(copy: Callable[[str], Path]) -> None:
    assert "--pre llama-bpe counts for byte-level BPE only" in notes_of(copy("codellama"), pre="llama-bpe")[0]


@pytest.mark.parametrize("size", [-1, 0, 1 << 40, "12", True, 1.5])
def test_impossible_vocabulary_sizes(copy: Callable[[str], Path], size: object) -> None:
    with pytest.raises(TokenizerError, match="vocab_size"):
        convert(copy("spm-added"), vocab_size=size)


def test_unknown_pre_tokenizer_names_the_nearest(copy: Callable[[str], Path]) -> None:
    folder = copy("bpe-added")
    steps = next(row.steps for row in tables().structures if row.name == "tekken")
    expression = steps[0].removeprefix("split ").replace("/", "#")
    split = {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False}
    letters = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    edit(
        folder,
        "tokenizer.json",
        lambda v: v.update(pre_tokenizer={"type": "Sequence", "pretokenizers": [split, letters]}),
    )
    with pytest.raises(TokenizerError, match=r"nearest known is 'tekken'.*--pre tekken"):
        convert(folder)
    assert convert(folder, pre="tekken")["tokenizer.ggml.pre"].data == "tekken"


def test_known_expressions_are_recognized_with_unknown_tokens(copy: Callable[[str], Path]) -> None:
    folder = copy("bpe-added")
    for row in tables().structures:
        if row.steps[-1] != "bytes":
            continue
        inner: list[dict[str, Any]] = [
            {"type": "Digits", "individual_digits": True}
            if step == "digits"
            else {
                "type": "Split",
                "pattern": {"Regex": step.removeprefix("split ")},
                "behavior": "Isolated",
                "invert": False,
            }
            for step in row.steps[:-1]
        ]
        inner.append({"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False})
        steps = {"type": "Sequence", "pretokenizers": inner}
        edit(folder, "tokenizer.json", operator.methodcaller("update", {"pre_tokenizer": steps}))
        assert convert(folder)["tokenizer.ggml.pre"].data == row.name


def test_said_names_must_exist(copy: Callable[[str], Path]) -> None:
    with pytest.raises(UsageError, match=r"no pre-tokenizer is called 'qwen-2'.*qwen2"):
        convert(copy("bpe-added"), pre="qwen-2")


def test_unknown_kinds_and_options() -> None:
    with pytest.raises(TableError, match="known: gpt2"):
        tokenizers.metadata(LocalFolder(CASES), {}, kind="gtp2")
    with pytest.raises(TableError, match="aftre"):
        tokenizers.metadata(LocalFolder(CASES), {}, kind="gpt2", options={"aftre": {}})


def test_presets_have_names_of_their_own() -> None:
    assert not set(tables().presets) & set(tokenizers.KINDS)
    for name in tables().presets:
        assert tokenizers._attempts([name])


def test_truncated_sentencepiece_model(copy: Callable[[str], Path]) -> None:
    folder = copy("spm-added")
    data = (folder / "tokenizer.model").read_bytes()
    for size in (0, 1, 7, len(data) // 2, len(data) - 1):
        (folder / "tokenizer.model").write_bytes(data[:size])
        with pytest.raises(FormatError, match="not a SentencePiece model"):
            convert(folder)


ODD: list[Any] = [
    None,
    -1,
    0,
    2**31,
    2**63,
    1e300,
    True,
    "",
    "x",
    "\0",
    [],
    {},
    [1],
    ["a"],
    {"a": 1},
    {"type": "Sequence"},
]


def mutated(value: Any, dice: random.Random) -> Any:
    """``value`` with one thing in it left out or replaced."""
    spot = value
    while isinstance(spot, dict | list) and spot:
        keys = list(spot) if isinstance(spot, dict) else range(len(spot))
        key = dice.choice(keys)
        inner = spot[key]
        if not isinstance(inner, dict | list) or not inner or dice.random() < 0.3:
            if dice.random() < 0.3:
                del spot[key]
            else:
                spot[key] = dice.choice(ODD)
            break
        spot = inner
    return value


@pytest.mark.parametrize("seed", range(20))
def test_damaged_files_are_errors_or_fine_but_never_a_crash(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    for turn, case in enumerate(sorted(CASES.iterdir())):
        folder = Path(shutil.copytree(case, tmp_path / str(turn)))
        names = sorted(p.name for p in folder.iterdir() if p.is_file() and p.name not in ("case.json", "expected.json"))
        path = folder / dice.choice(names)
        if path.suffix == ".json" and dice.random() < 0.8:
            path.write_text(json.dumps(mutated(json.loads(path.read_text("utf-8")), dice)), "utf-8")
        else:
            data = bytearray(path.read_bytes())
            data[dice.randrange(len(data))] = dice.randrange(256)
            path.write_bytes(data)
        config = json.loads((case / "config.json").read_text())
        kind = json.loads((case / "case.json").read_text())["kind"]
        with contextlib.suppress(QconvError):
            tokenizers.metadata(LocalFolder(folder), config, kind=kind)


def test_a_template_of_a_token_it_does_not_define(
    copy: Callable[[str], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    """The tokenizers library panics there, and its Rust says so on standard error whoever catches that."""
    folder = copy("bpe-added")
    edit(folder, "tokenizer.json", lambda file: _templates(file)[0].update(special_tokens={}))
    with pytest.raises(
        FormatError, match=r"post_processor puts '.*' around a text, which is not among its special_tok"
    ):
        convert(folder)
    assert capfd.readouterr().err == ""


def _templates(file: Any) -> list[Any]:
    steps = file["post_processor"].get("processors", [file["post_processor"]])
    return [step for step in steps if step["type"] == "TemplateProcessing"]
