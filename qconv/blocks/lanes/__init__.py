"""Vectors for numba: LLVM's ``<n x type>`` with loads, stores, operators and a few functions.

Import the module for the functions that share their names with Python's own, ``lanes.abs``, ``lanes.max``,
``lanes.min``, ``lanes.sqrt``, and the rest by name.

A kernel written over these reads like its scalar original: every lane does what the scalar did, in the same order, so
the result is the same to the bit.  There is no branch per lane; compare and ``select`` instead::

    @inline
    def weighted_square(x, w):              # x, w: memory of float32, 16 steps of LANES lanes
        total = splat(0.0, LANES)
        for i in range(16):
            v = load(x, i * LANES, LANES)
            total = total + load(w, i * LANES, LANES) * select(v < 0.0, -v, v)
        return total                        # LANES sums, each added up in order of i

* ``load(memory, i, n)``, ``store(memory, i, v)``: memory is a 1-D contiguous array, ``scratch(n, f32)`` (64-byte
  aligned, on the stack) or ``at(memory, i)`` (the rest of it from ``i``).  ``n`` is a literal or a global.
* ``as_float(v)``: weights as stored, float32, bfloat16 bits (uint16) or binary16 bits (int16), as float32 lanes;
  ``to_half(v)``, ``from_half(v)``: between float32 and uint16 lanes holding binary16 bits.
* ``+ - * /``, comparisons, ``& | ^ << >> ~ -`` between vectors, and with scalars, which become the vector's type.
  Nothing is contracted or reordered: one operator is one rounding.
* ``select(mask, a, b)``, ``min(a, b)`` = ``a if a < b else b``, ``max(a, b)`` = ``a if a > b else b``, both also
  of integers taken as unsigned, ``min_unsigned`` and ``max_unsigned``,
  ``any_lane(mask)``, ``abs``, ``rint`` (half to even), ``sqrt``, ``trunc``, ``bits``/``floats``
  (reinterpret 32-bit lanes), ``to_int`` (lanes must fit), ``to_float``,
  ``narrow(v)`` (low byte), ``narrow16(v)``, ``widen(v)`` (zero-extended to int32),
  ``words(v)`` (pairs of bytes as uint16, little-endian),
  ``part(v, start, n)`` (n lanes), ``join(a, b)``, ``repeat_each(v, times)`` (as ``numpy.repeat``),
  ``repeat_all(v, times)`` (as ``numpy.tile``), ``lane(v, i)``.
* ``store_transposed(memory, i, stride, vectors)`` stores 16 vectors of 16 lanes transposed; ``prefetch(memory, i)``.
* ``opaque(number)`` hides a number from the optimizer, ``materialize(memory)`` pins where stored values are computed.
"""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from qconv.blocks.lanes import machine
from qconv.blocks.lanes.memory import at, load, prefetch, scratch, store, store_transposed
from qconv.blocks.lanes.vectors import (
    LANES,
    Vector,
    boolean,
    both_vectors,
    f32,
    i32,
    inline,
    outlined,
    shuffled,
    spread,
    u8,
    u16,
    vector_type,
)

# fmt: off
__all__ = [
    "LANES", "abs", "any_lane", "as_float", "at", "bits", "boolean", "f32", "floats", "from_half", "i32", "inline",
    "join", "lane", "load", "materialize", "max", "max_unsigned", "min", "min_unsigned", "narrow", "narrow16", "opaque",
    "outlined", "part", "prefetch", "repeat_all", "repeat_each", "rint", "scratch", "select", "splat", "sqrt", "store",
    "store_transposed", "to_float", "to_half", "to_int", "trunc", "u8", "u16", "widen", "words",
]
# fmt: on


def _unary(name, emit, result):
    """An intrinsic of one vector: ``emit(builder, value, LLVM type of the result)``."""

    def function(typing, v):
        kind = result(v)
        return kind(v), lambda context, builder, signature, values: emit(builder, values[0], vector_type(kind))

    function.__name__ = function.__qualname__ = name
    return intrinsic(function)


def _llvm(name):
    def emit(builder, value, kind):
        full = f"{name}.v{kind.count}f32"
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind]), full)
        return builder.call(function, [value])

    return emit


rint = _unary("rint", _llvm("llvm.rint"), lambda v: v)
trunc = _unary("trunc", _llvm("llvm.trunc"), lambda v: v)
sqrt = _unary("sqrt", _llvm("llvm.sqrt"), lambda v: v)
abs = _unary("abs", _llvm("llvm.fabs"), lambda v: v)
bits = _unary("bits", lambda b, v, kind: b.bitcast(v, kind), lambda v: Vector(i32, v.n))
floats = _unary("floats", lambda b, v, kind: b.bitcast(v, kind), lambda v: Vector(f32, v.n))
to_int = _unary("to_int", lambda b, v, kind: b.fptosi(v, kind), lambda v: Vector(i32, v.n))
to_float = _unary("to_float", lambda b, v, kind: b.sitofp(v, kind), lambda v: Vector(f32, v.n))
narrow = _unary("narrow", lambda b, v, kind: b.trunc(v, kind), lambda v: Vector(u8, v.n))
narrow16 = _unary("narrow16", lambda b, v, kind: b.trunc(v, kind), lambda v: Vector(u16, v.n))
widen = _unary("widen", lambda b, v, kind: b.zext(v, kind), lambda v: Vector(i32, v.n))
words = _unary("words", lambda b, v, kind: b.bitcast(v, kind), lambda v: Vector(u16, v.n // 2))
_to_half = _unary(
    "_to_half", lambda b, v, kind: b.bitcast(b.fptrunc(v, _halves(kind)), kind), lambda v: Vector(u16, v.n)
)
_from_half = _unary(
    "_from_half", lambda b, v, kind: b.fpext(b.bitcast(v, _halves(kind)), kind), lambda v: Vector(f32, v.n)
)


def _halves(kind):
    return ir.VectorType(ir.HalfType(), kind.count)


@intrinsic(prefer_literal=True)
def splat(typing, scalar, n):
    def emit(context, builder, signature, values):
        return spread(builder, context.cast(builder, values[0], signature.args[0], f32), n.literal_value)

    return Vector(f32, n.literal_value)(scalar, n), emit


@intrinsic
def select(typing, mask, a, b):
    """Lanes of ``a`` where ``mask``, else of ``b``; one of the two may be a scalar."""
    vector = a if isinstance(a, Vector) else b

    def emit(context, builder, signature, values):
        return builder.select(values[0], *both_vectors(context, builder, vector, signature.args[1:], values[1:]))

    return vector(mask, a, b), emit


def _choice(name, sign, unsigned=False):
    """An intrinsic taking ``a`` where ``a sign b``, else ``b``; an intrinsic since those compile fastest."""

    def function(typing, a, b):
        vector = a if isinstance(a, Vector) else b

        def emit(context, builder, signature, values):
            a, b = both_vectors(context, builder, vector, signature.args, values)
            integer = builder.icmp_unsigned if unsigned else builder.icmp_signed
            compare = builder.fcmp_ordered if vector.dtype is f32 else integer
            return builder.select(compare(sign, a, b), a, b)

        return vector(a, b), emit

    function.__name__ = function.__qualname__ = name
    return intrinsic(function)


min, max = _choice("min", "<"), _choice("max", ">")
min_unsigned, max_unsigned = _choice("min_unsigned", "<", True), _choice("max_unsigned", ">", True)


@intrinsic
def opaque(typing, number):
    """``number``, an integer, as one the optimizer knows nothing of, so that it leaves a loop to it a loop."""

    def emit(context, builder, signature, values):
        same = context.cast(builder, values[0], number, types.int64)
        return builder.asm(ir.FunctionType(ir.IntType(64), [ir.IntType(64)]), "", "=r,0", [same], False)

    return types.int64(number), emit


@intrinsic
def materialize(typing, memory):
    """Has what was stored in ``memory`` computed here, not sunk to where it is used."""

    def emit(context, builder, signature, values):
        kind = ir.FunctionType(ir.VoidType(), [values[0].type])
        builder.asm(kind, "", "r,~{memory}", [values[0]], True)
        return context.get_dummy_value()

    return types.void(memory), emit


@intrinsic
def any_lane(typing, mask):
    def emit(context, builder, signature, values):
        whole = builder.bitcast(values[0], ir.IntType(mask.n))
        return builder.icmp_unsigned("!=", whole, ir.Constant(whole.type, 0))

    return boolean(mask), emit


@intrinsic(prefer_literal=True)
def lane(typing, v, index):
    return v.dtype(v, index), lambda c, b, s, values: b.extract_element(values[0], b.trunc(values[1], ir.IntType(32)))


@intrinsic(prefer_literal=True)
def part(typing, v, start, n):
    order = range(start.literal_value, start.literal_value + n.literal_value)
    return Vector(v.dtype, n.literal_value)(v, start, n), lambda c, b, s, values: shuffled(
        b, values[0], values[0], list(order)
    )


@intrinsic
def join(typing, a, b):
    return Vector(a.dtype, a.n + b.n)(a, b), lambda c, builder, s, values: shuffled(
        builder, values[0], values[1], list(range(a.n + b.n))
    )


@intrinsic(prefer_literal=True)
def repeat_all(typing, v, times):
    order = [i for _ in range(times.literal_value) for i in range(v.n)]
    return Vector(v.dtype, len(order))(v, times), lambda c, b, s, values: shuffled(b, values[0], values[0], order)


@intrinsic(prefer_literal=True)
def repeat_each(typing, v, times):
    order = [i for i in range(v.n) for _ in range(times.literal_value)]
    return Vector(v.dtype, len(order))(v, times), lambda c, b, s, values: shuffled(b, values[0], values[0], order)


@inline
def _round_to_half(v):
    """Binary16 bits of float32 lanes, half to even, without instructions for it."""
    pattern = bits(v)
    magnitude = pattern & 0x7FFFFFFF
    # adding 0.5 leaves the bits of a subnormal half, a multiple of 2**-24, in the low bits of the sum
    small = bits(floats(magnitude) + 0.5) - 0x3F000000
    normal = (magnitude + ((magnitude >> 13) & 1) + (0xFFF - 0x38000000)) >> 13
    half = select(magnitude < 0x38800000, small, select(magnitude < 0x477FF000, normal, 0x7C00))
    return narrow16(select(magnitude > 0x7F800000, 0x7E00, half) | ((pattern >> 16) & 0x8000))


@inline
def _extend_half(v):
    pattern = widen(v)
    magnitude = (pattern & 0x7FFF) << 13
    finite = bits(floats(magnitude) * 5.192296858534828e33)  # 2**112 moves the exponent's bias, subnormals included
    return floats(select(magnitude < 0x0F800000, finite, magnitude | 0x7F800000) | ((pattern & 0x8000) << 16))


to_half, from_half = (_to_half, _from_half) if machine.converts_half() else (_round_to_half, _extend_half)


def as_float(v):
    """Weights as they are stored, float32, bfloat16 bits (uint16) or binary16 bits (int16), as float32 lanes."""
    raise NotImplementedError("for kernels only")


@overload(as_float, jit_options={"forceinline": True, "error_model": "numpy"})
def _as_float(v):
    if v.dtype is f32:
        return lambda v: v
    if v.dtype is u16:
        return lambda v: floats(widen(v) << 16)
    return lambda v: from_half(v)
