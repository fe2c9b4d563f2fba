"""Which build a library is, from the bytes of its defaults."""

from __future__ import annotations

import ctypes

import pytest

from qconv.errors import LlamaCppError
from qconv.runtime.layout import Space, fields, find_build, structure, table

MODEL, CONTEXT = "model_params", "context_params"


def defaults(name: str, build: int, behind: int = 0) -> Space:
    """What a library of that build returns; ``behind`` fills the space that is not its struct's."""
    space = Space.from_buffer(bytearray([behind]) * ctypes.sizeof(Space))
    layout = structure(name, build)
    ctypes.memset(ctypes.addressof(space), 0, ctypes.sizeof(layout))
    params = layout.from_buffer(space)
    for field in fields(name, build):
        setattr(params, field.name, int(field.default))
    return space


@pytest.mark.parametrize("build", table().numbers)
@pytest.mark.parametrize("behind", [0, 1, 255])
def test_a_build_is_known_by_its_defaults(build: int, behind: int) -> None:
    found = find_build(defaults(MODEL, build, behind), defaults(CONTEXT, build, behind))
    for name in (MODEL, CONTEXT):
        assert [f.name for f in fields(name, found)] == [f.name for f in fields(name, build)]


def test_offsets_are_those_of_the_header() -> None:
    # counted by hand in llama.h of b11549: 14 fields of 4 bytes, 8 of 4, then pointers
    context = structure(CONTEXT, 11549)
    assert (context.n_threads.offset, context.rope_freq_base.offset, context.cb_eval.offset) == (28, 56, 88)
    assert (context.moe_cache_size.offset, context.abort_callback.offset, context.embeddings.offset) == (112, 120, 136)
    assert (context.samplers.offset, ctypes.sizeof(context)) == (144, 168)
    assert structure(CONTEXT, 11063).abort_callback.offset == 112
    assert structure(MODEL, 11549).use_extra_bufts.offset == 74
    tensor = structure("ggml_tensor")
    assert (tensor.op.offset, tensor.src.offset, tensor.name.offset, tensor.extra.offset) == (80, 152, 256, 320)


@pytest.mark.parametrize(("struct", "field", "value"), [(CONTEXT, "n_batch", 4096), (MODEL, "split_mode", 7)])
def test_an_unknown_layout_is_refused_naming_those_that_work(struct: str, field: str, value: int) -> None:
    found = {name: defaults(name, 11549) for name in (MODEL, CONTEXT)}
    setattr(structure(struct, 11549).from_buffer(found[struct]), field, value)
    with pytest.raises(LlamaCppError, match=r"xllamacpp 2026\.4\.8672 to 2026\.10\.11549"):
        find_build(found[MODEL], found[CONTEXT])


def test_a_field_put_between_others_is_noticed() -> None:
    shifted = defaults(CONTEXT, 11549)
    ctypes.memmove(ctypes.addressof(shifted) + 32, bytes(shifted)[28:], 300)
    with pytest.raises(LlamaCppError, match="does not know"):
        find_build(defaults(MODEL, 11549), shifted)
