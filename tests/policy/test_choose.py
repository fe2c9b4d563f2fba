"""What llama.cpp's record cannot show: reasons, order, errors, checkpoints, and the user's own mixes."""

from __future__ import annotations

from pathlib import Path

import pytest

from qconv.errors import PlanError, TableError, UsageError
from qconv.formats import block_types
from qconv.policy import (
    Choice,
    HParams,
    TensorType,
    TypeOverrides,
    converter,
    find_mix,
    in_order,
    load_mix,
    mixes,
    offered,
    roles,
    split_tensor_type,
)
from qconv.policy.conditions import CONDITIONS
from qconv.policy.quantizer import choose
from qconv.types import TensorInfo

HPARAMS = HParams("llama", n_layer=2, n_head=8, n_head_kv=8)


def weight(name: str, dtype: str = "BF16", shape: tuple[int, ...] = (4, 256)) -> TensorInfo:
    return TensorInfo(name, dtype, shape)


def types(choice: Choice) -> dict[str, str]:
    return {d.name: d.type for d in choice.decisions}


def test_every_decision_says_why() -> None:
    tensors = [
        weight("token_embd.weight"),
        weight("blk.0.attn_norm.weight", "F32", (256,)),
        weight("blk.0.ffn_gate_inp.weight", "F32"),
        weight("blk.0.attn_v.weight"),
        weight("blk.0.attn_q.weight", shape=(4, 320)),
    ]
    decisions = {d.name: d for d in choose(tensors, HPARAMS, find_mix("q4_k_m")).decisions}
    assert decisions["token_embd.weight"].reason == "output (tied)"
    assert decisions["blk.0.attn_norm.weight"].reason == "one dimension"
    assert decisions["blk.0.ffn_gate_inp.weight"].reason == "router of experts"
    assert decisions["blk.0.attn_v.weight"].reason.startswith("attn_values: first or last eighth")
    misfit = decisions["blk.0.attn_q.weight"]
    assert (misfit.wanted, misfit.type, misfit.reason) == ("Q4_K", "Q5_0", "default")


def test_order_is_by_layer_then_bytes() -> None:
    names = ["blk.10.a", "blk.2.b", "output.weight", "blk.2.a", "Z", "a"]
    assert in_order(names) == ["Z", "a", "output.weight", "blk.2.a", "blk.2.b", "blk.10.a"]


def test_the_converters_order_and_fixed_types_stay_in_float_files() -> None:
    tensors = [weight("blk.1.ffn_up.weight", "F16"), weight("blk.0.ssm_a", "F32"), weight("blk.0.odd.weight", "F32")]
    choice = converter.choose(tensors, {"blk.0.ssm_a", "blk.0.odd.weight"}, find_mix("f16"))
    assert [d.name for d in choice.decisions] == [t.name for t in tensors]
    assert [d.type for d in choice.decisions] == ["F16", "F32", "F32"]
    assert choice.file_type == 1


def test_blocks_of_a_checkpoint_are_carried_over() -> None:
    experts = weight("blk.0.ffn_up_exps.weight", "MXFP4", (8, 4, 256))
    tensors = [experts, weight("blk.0.attn_q.weight")]
    assert types(choose(tensors, HPARAMS, find_mix("q4_k_m"), carry_blocks=True)) == {
        "blk.0.ffn_up_exps.weight": "MXFP4",
        "blk.0.attn_q.weight": "Q4_K",
    }
    assert converter.choose(tensors, (), find_mix("bf16")).file_type == 38
    assert choose(tensors, HPARAMS, find_mix("q8_0"), carry_blocks=True).file_type == 7


def test_requantizing_needs_permission_and_names_the_loss() -> None:
    tensors = [weight("blk.0.attn_q.weight", "Q8_0"), weight("blk.0.attn_k.weight", "Q8_0")]
    with pytest.raises(PlanError, match=r"attn_k.weight.*Q8_0 already.*Q4_K.*1 more.*--allow-requantize"):
        choose(tensors, HPARAMS, find_mix("q4_k_m"))
    choice = choose(tensors, HPARAMS, find_mix("q4_k_m"), TypeOverrides(allow_requantize=True))
    assert choice.notes == ("2 tensors are requantized from Q8_0: the loss of both adds up",)
    assert types(choose(tensors, HPARAMS, find_mix("q8_0"))) == {t.name: "Q8_0" for t in tensors}


def test_integers_are_kept() -> None:
    assert types(choose([weight("blk.0.map.weight", "I32")], HPARAMS, find_mix("q4_k_m"))) == {
        "blk.0.map.weight": "I32"
    }


def test_types_that_demand_an_importance_matrix() -> None:
    tensors = [weight("token_embd.weight"), weight("output.weight"), weight("blk.0.attn_q.weight")]
    with pytest.raises(UsageError, match=r"attn_q.weight.*q2_k_s needs an importance matrix for Q2_K.*--imatrix"):
        choose(tensors, HPARAMS, find_mix("q2_k_s"))
    with pytest.raises(UsageError, match="has no entry"):
        choose(tensors, HPARAMS, find_mix("q2_k_s"), imatrix={"output.weight"})
    choice = choose(tensors, HPARAMS, find_mix("q2_k_s"), imatrix={"blk.0.attn_q.weight"})
    assert choice.notes == (), "llama-imatrix measures neither embeddings nor output unless it is asked to"


def test_gaps_of_an_importance_matrix_are_told() -> None:
    tensors = [weight(f"blk.{n}.attn_q.weight") for n in range(6)]
    choice = choose(tensors, HPARAMS, find_mix("q4_k_m"), imatrix={"blk.1.attn_q.weight"})
    named = "blk.0.attn_q.weight, blk.2.attn_q.weight, blk.3.attn_q.weight and 2 more"
    assert choice.notes == (f"the importance matrix has no entry for {named}",)


def test_options_without_effect_are_told() -> None:
    given = TypeOverrides(tensor_types=(TensorType.of("attn_x", "q8_0"), TensorType.of("attn_q", "q8_0")))
    tensors = [weight("blk.0.attn_q.weight")]
    assert choose(tensors, HPARAMS, find_mix("q4_k_m"), given).notes == ("no tensor matches --tensor-type attn_x",)
    assert choose(tensors, HPARAMS, find_mix("f16"), given).notes[1] == "--tensor-type attn_q has no effect on f16"


@pytest.mark.parametrize(
    ("word", "name"), [("q4_k", "Q4_K_M"), ("Q5_K", "Q5_K_M"), ("Q3_k", "Q3_K_M"), ("q8_0", "Q8_0")]
)
def test_aliases(word: str, name: str) -> None:
    assert find_mix(word).name == name


def test_unknown_names_list_the_known_nearest_first() -> None:
    with pytest.raises(UsageError, match=r"unknown type 'q4km' \(known: q4_k_m, "):
        find_mix("q4km")
    with pytest.raises(UsageError, match=r"unknown block type 'q6k' \(known: Q6_K, "):
        TypeOverrides(output_tensor_type="q6k")
    with pytest.raises(UsageError, match="malformed pattern"):
        TensorType.of("attn_(", "q6_k")
    with pytest.raises(UsageError, match="malformed tensor type"):
        split_tensor_type("=q6_k")
    assert split_tensor_type("a=b=c") == ("a", "b=c")


def test_twenty_one_mixes_and_fifteen_block_types() -> None:
    assert len(mixes()) == 21
    assert len(offered()) == 15
    assert all(mix.about and mix.bits for mix in mixes().values())


def own(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


def test_a_users_mix_goes_before_the_one_it_extends(tmp_path: Path) -> None:
    mix = load_mix(own(tmp_path, 'extends = "q4_k"\nrules = [{ role = "attn_q", when = "first_2", use = "Q8_0" }]'))
    assert (mix.name, mix.type, mix.file_type) == ("MINE", "Q4_K", 15)
    tensors = [weight("output.weight"), *(weight(f"blk.{i}.attn_q.weight") for i in range(3))]
    assert list(types(choose(tensors, HPARAMS, mix)).values()) == ["Q6_K", "Q8_0", "Q8_0", "Q4_K"]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('type = "Q4_K"', "file_type: is missing"),
        ("file_type = 15", "type: is missing"),
        ('file_type = 15\ntype = "Q4K"', "type: 'Q4K' is not known (known: Q4_K"),
        (
            'extends = "q4_k_m"\nrules = [{ role = "attn", use = "Q8_0" }]',
            "rules[0].role: 'attn' is not known (known: attn_",
        ),
        ('extends = "q4_k_m"\nrules = [{ role = "attn_q", use = "I32" }]', "rules[0].use: 'I32' is not known"),
        ('extends = "q4_k_m"\nrules = [{ role = "attn_q", when = "fist_2", use = "Q8_0" }]', "rules[0].when: 'fist_2'"),
        ('extends = "q4_k_m"\nrules = [{ role = "attn_q" }]', "$.rules[0]"),
        ('extends = "q4_k_m"\nrule = []', "rule"),
        ("extends = q4", "line 1"),
    ],
)
def test_errors_in_a_mix_point_at_the_key(tmp_path: Path, text: str, where: str) -> None:
    with pytest.raises(TableError) as error:
        load_mix(own(tmp_path, text))
    assert where in str(error.value)
    assert "mine.toml" in str(error.value)


def test_bits_are_those_of_llama_3_8b() -> None:
    shapes = {"token_embd.weight": (128256, 4096), "output.weight": (128256, 4096), "output_norm.weight": (4096,)}
    parts = {"attn_q": (4096, 4096), "attn_k": (1024, 4096), "attn_v": (1024, 4096), "attn_output": (4096, 4096)}
    parts |= {"ffn_gate": (14336, 4096), "ffn_up": (14336, 4096), "ffn_down": (4096, 14336)}
    for layer in range(32):
        shapes |= {f"blk.{layer}.{part}.weight": shape for part, shape in parts.items()}
        shapes |= {f"blk.{layer}.{part}_norm.weight": (4096,) for part in ("attn", "ffn")}
    tensors = [TensorInfo(name, "BF16" if len(shape) == 2 else "F32", shape) for name, shape in shapes.items()]
    hparams = HParams("llama", n_layer=32, n_head=32, n_head_kv=8)
    for mix in mixes().values():
        imatrix = set(shapes) if mix.needs_imatrix else None
        decisions = choose(tensors, hparams, mix, imatrix=imatrix).decisions
        size = sum(block_types()[d.type].bits * d.weights for d in decisions)
        assert mix.bits == round(size / sum(d.weights for d in decisions), 2), mix.name


def test_the_readme_names_every_role_and_condition(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "formats" / "mixes" / "README.md").read_text()
    for word in (*CONDITIONS, *roles.members()):
        assert f"`{word}`" in text
    example = text.split("# mine.toml")[1].split("\n\n")[0].split("\n", 1)[1]
    mix = load_mix(own(tmp_path, example))
    assert [rule.use for rule in mix.rules[:2]] == ["Q8_0", "Q3_K"]
