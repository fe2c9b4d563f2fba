"""Vectors for numba: LLVM's ``<n x type>`` with loads, stores, operators and a few functions.

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
* ``select(mask, a, b)``, ``least(a, b)`` = ``a if a < b else b``, ``most(a, b)`` = ``a if a > b else b``,
  ``any_lane(mask)``, ``size(v)`` = |v|, ``rint`` (half to even), ``root``, ``trunc``, ``bits``/``floats``
  (reinterpret 32-bit lanes), ``to_int`` (lanes must fit), ``to_float``,
  ``narrow(v)`` (low byte), ``narrow16(v)``, ``widen(v)`` (bytes to int32),
  ``part(v, start, n)`` (n lanes), ``join(a, b)``, ``repeat(v, times)`` (each lane in turn),
  ``repeated(v, times)`` (the whole in turn), ``lane(v, i)``.
* ``store_turned(memory, i, stride, vectors)`` stores 16 vectors of 16 lanes transposed.
"""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic, lower_builtin, models, overload, register_model, type_callable

from qconv.blocks import machine

LANES = machine.lanes()
f32, i32, u8, u16, boolean = types.float32, types.int32, types.uint8, types.uint16, types.boolean
inline = njit(forceinline=True, nogil=True, error_model="numpy")
"""Decorator of a helper that is compiled into its callers."""
called = njit(nogil=True, error_model="numpy")
"""Decorator of a long helper off the hot path, compiled once for a kernel that needs it several times."""


class Vector(types.Type):  # type: ignore[misc]  # numba is not looked into
    """``n`` lanes of a numba scalar type; masks are lanes of boolean."""

    def __init__(self, dtype: Any, n: int) -> None:
        self.dtype, self.n = dtype, n
        super().__init__(f"{dtype}x{n}")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]  # numba has no types
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, ir.VectorType(_element(fe_type.dtype), fe_type.n))


def _element(dtype):
    if dtype is boolean:
        return ir.IntType(1)
    return ir.FloatType() if dtype is f32 else ir.IntType(dtype.bitwidth)


def _vector(v):
    return ir.VectorType(_element(v.dtype), v.n)


def _spread(builder, scalar, n):
    """All ``n`` lanes set to ``scalar``."""
    vector = ir.VectorType(scalar.type, n)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.IntType(32)(0))
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), ir.VectorType(ir.IntType(32), n)([0] * n))


def _both(context, builder, vector, kinds, values):
    """The values as two of ``vector``: scalars become lanes."""
    return [
        value
        if isinstance(kind, Vector)
        else _spread(builder, context.cast(builder, value, kind, vector.dtype), vector.n)
        for kind, value in zip(kinds, values, strict=True)
    ]


# ---- operators

_ARITHMETIC = {  # Python's operator: LLVM's instruction for floats, for integers
    operator.add: ("fadd", "add"),
    operator.sub: ("fsub", "sub"),
    operator.mul: ("fmul", "mul"),
    operator.truediv: ("fdiv", ""),
    operator.and_: ("", "and_"),
    operator.or_: ("", "or_"),
    operator.xor: ("", "xor"),
    operator.lshift: ("", "shl"),
    operator.rshift: ("", "lshr"),
}
_COMPARISONS = {
    operator.lt: "<",
    operator.le: "<=",
    operator.gt: ">",
    operator.ge: ">=",
    operator.eq: "==",
    operator.ne: "!=",
}


def _operator(function, emit, result):
    """Gives ``function`` a meaning between vectors, and vectors and scalars."""

    @type_callable(function)
    def _type(context):
        def typer(a, b):
            vectors = [v for v in (a, b) if isinstance(v, Vector)]
            scalars = [v for v in (a, b) if isinstance(v, types.Number)]
            if vectors and len(vectors) + len(scalars) == 2 and vectors[0] == vectors[-1]:
                return result(vectors[0])
            return None

        return typer

    @lower_builtin(function, Vector, Vector)
    @lower_builtin(function, Vector, types.Number)
    @lower_builtin(function, types.Number, Vector)
    def _lower(context, builder, signature, values):
        vector = next(v for v in signature.args if isinstance(v, Vector))
        pair = _both(context, builder, vector, signature.args, values)
        return emit(builder, vector.dtype is f32, *pair)


for _function, (_float, _integer) in _ARITHMETIC.items():
    _operator(_function, lambda b, f, x, y, names=(_integer, _float): getattr(b, names[f])(x, y), lambda v: v)
for _function, _sign in _COMPARISONS.items():
    # ordered comparisons, as in C: false for NaN, except != which is true
    _operator(
        _function,
        lambda b, f, x, y, s=_sign: (b.fcmp_unordered if f and s == "!=" else b.fcmp_ordered if f else b.icmp_signed)(
            s, x, y
        ),
        lambda v: Vector(boolean, v.n),
    )


@type_callable(operator.neg)
def _type_neg(context):
    return lambda v: v if isinstance(v, Vector) else None


@lower_builtin(operator.neg, Vector)
def _lower_neg(context, builder, signature, values):
    return builder.fneg(values[0]) if signature.args[0].dtype is f32 else builder.neg(values[0])


@type_callable(operator.invert)
def _type_invert(context):
    return lambda v: v if isinstance(v, Vector) else None


@lower_builtin(operator.invert, Vector)
def _lower_invert(context, builder, signature, values):
    return builder.not_(values[0])


# ---- memory


def _pointer(context, builder, memory, value, index, index_type):
    """Address and element type of ``memory[index]``."""
    if isinstance(memory, types.Array):
        if memory.ndim != 1:
            raise TypingError("only 1-D memory has lanes")
        value = context.make_array(memory)(context, builder, value).data
    elif not isinstance(memory, types.CPointer):
        raise TypingError(f"{memory} is no memory")
    dtype = memory.dtype
    element = context.get_data_type(dtype)
    index = context.cast(builder, index, index_type, types.intp)
    return builder.gep(builder.bitcast(value, element.as_pointer()), [index]), dtype


def _read(builder, pointer, vector):
    instruction = builder.load(builder.bitcast(pointer, vector.as_pointer()))
    instruction.align = max(1, vector.element.width // 8) if isinstance(vector.element, ir.IntType) else 4
    return instruction


def _write(builder, pointer, value):
    element = value.type.element
    instruction = builder.store(value, builder.bitcast(pointer, value.type.as_pointer()))
    instruction.align = max(1, element.width // 8) if isinstance(element, ir.IntType) else 4


@intrinsic(prefer_literal=True)
def scratch(typing, count, dtype):
    """``count`` elements on the stack, 64-byte aligned, uninitialised, for as long as the kernel runs."""
    element = dtype.dtype

    def emit(context, builder, signature, values):
        kind = ir.ArrayType(context.get_data_type(element), count.literal_value)
        with builder.goto_entry_block():
            slot = builder.alloca(kind)
        slot.align = 64
        return builder.bitcast(slot, kind.element.as_pointer())

    return types.CPointer(element)(count, dtype), emit


@intrinsic
def at(typing, memory, index):
    """The memory from element ``index`` on."""

    def emit(context, builder, signature, values):
        return _pointer(context, builder, memory, values[0], values[1], signature.args[1])[0]

    return types.CPointer(memory.dtype)(memory, index), emit


@intrinsic(prefer_literal=True)
def load(typing, memory, index, n):
    def emit(context, builder, signature, values):
        pointer, dtype = _pointer(context, builder, memory, values[0], values[1], signature.args[1])
        return _read(builder, pointer, ir.VectorType(_element(dtype), n.literal_value))

    return Vector(memory.dtype, n.literal_value)(memory, index, n), emit


@intrinsic
def store(typing, memory, index, vector):
    def emit(context, builder, signature, values):
        pointer, _ = _pointer(context, builder, memory, values[0], values[1], signature.args[1])
        _write(builder, pointer, values[2])
        return context.get_dummy_value()

    if memory.dtype != vector.dtype:
        raise TypingError(f"{vector} into memory of {memory.dtype}")
    return types.void(memory, index, vector), emit


# ---- functions


def _unary(name, emit, result):
    """An intrinsic of one vector: ``emit(builder, value, LLVM type of the result)``."""

    def function(typing, v):
        kind = result(v)
        return kind(v), lambda context, builder, signature, values: emit(builder, values[0], _vector(kind))

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
root = _unary("root", _llvm("llvm.sqrt"), lambda v: v)
size = _unary("size", _llvm("llvm.fabs"), lambda v: v)
bits = _unary("bits", lambda b, v, kind: b.bitcast(v, kind), lambda v: Vector(i32, v.n))
floats = _unary("floats", lambda b, v, kind: b.bitcast(v, kind), lambda v: Vector(f32, v.n))
to_int = _unary("to_int", lambda b, v, kind: b.fptosi(v, kind), lambda v: Vector(i32, v.n))
to_float = _unary("to_float", lambda b, v, kind: b.sitofp(v, kind), lambda v: Vector(f32, v.n))
narrow = _unary("narrow", lambda b, v, kind: b.trunc(v, kind), lambda v: Vector(u8, v.n))
narrow16 = _unary("narrow16", lambda b, v, kind: b.trunc(v, kind), lambda v: Vector(u16, v.n))
widen = _unary("widen", lambda b, v, kind: b.zext(v, kind), lambda v: Vector(i32, v.n))
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
        return _spread(builder, context.cast(builder, values[0], signature.args[0], f32), n.literal_value)

    return Vector(f32, n.literal_value)(scalar, n), emit


@intrinsic
def select(typing, mask, a, b):
    """Lanes of ``a`` where ``mask``, else of ``b``; one of the two may be a scalar."""
    vector = a if isinstance(a, Vector) else b

    def emit(context, builder, signature, values):
        return builder.select(values[0], *_both(context, builder, vector, signature.args[1:], values[1:]))

    return vector(mask, a, b), emit


def _choice(name, sign):
    """An intrinsic taking ``a`` where ``a sign b``, else ``b``; an intrinsic since those compile fastest."""

    def function(typing, a, b):
        vector = a if isinstance(a, Vector) else b

        def emit(context, builder, signature, values):
            a, b = _both(context, builder, vector, signature.args, values)
            compare = builder.fcmp_ordered if vector.dtype is f32 else builder.icmp_signed
            return builder.select(compare(sign, a, b), a, b)

        return vector(a, b), emit

    function.__name__ = function.__qualname__ = name
    return intrinsic(function)


least = _choice("least", "<")
most = _choice("most", ">")


@intrinsic
def least_unsigned(typing, a, b):
    """The lesser of int32 lanes taken as unsigned."""

    def emit(context, builder, signature, values):
        b_lanes = _spread(builder, context.cast(builder, values[1], b, i32), a.n)
        return builder.select(builder.icmp_unsigned("<", values[0], b_lanes), values[0], b_lanes)

    return a(a, b), emit


@intrinsic
def any_lane(typing, mask):
    def emit(context, builder, signature, values):
        whole = builder.bitcast(values[0], ir.IntType(mask.n))
        return builder.icmp_unsigned("!=", whole, ir.Constant(whole.type, 0))

    return boolean(mask), emit


@intrinsic(prefer_literal=True)
def lane(typing, v, index):
    return v.dtype(v, index), lambda c, b, s, values: b.extract_element(values[0], b.trunc(values[1], ir.IntType(32)))


def _shuffled(builder, a, b, order):
    return builder.shuffle_vector(a, b, ir.VectorType(ir.IntType(32), len(order))(order))


@intrinsic(prefer_literal=True)
def part(typing, v, start, n):
    order = range(start.literal_value, start.literal_value + n.literal_value)
    return Vector(v.dtype, n.literal_value)(v, start, n), lambda c, b, s, values: _shuffled(
        b, values[0], values[0], list(order)
    )


@intrinsic
def join(typing, a, b):
    return Vector(a.dtype, a.n + b.n)(a, b), lambda c, builder, s, values: _shuffled(
        builder, values[0], values[1], list(range(a.n + b.n))
    )


@intrinsic(prefer_literal=True)
def repeated(typing, v, times):
    order = [i for _ in range(times.literal_value) for i in range(v.n)]
    return Vector(v.dtype, len(order))(v, times), lambda c, b, s, values: _shuffled(b, values[0], values[0], order)


@intrinsic(prefer_literal=True)
def repeat(typing, v, times):
    order = [i for i in range(v.n) for _ in range(times.literal_value)]
    return Vector(v.dtype, len(order))(v, times), lambda c, b, s, values: _shuffled(b, values[0], values[0], order)


# ---- binary16, and weights as they are stored


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


_LOW, _HIGH = [0, 1, 16, 17], [2, 3, 18, 19]
_TURN = (  # rows so far apart are shuffled so: two rounds inside groups of four lanes, two of whole groups
    (1, [i + 4 * g for g in range(4) for i in (0, 16, 1, 17)], [i + 4 * g for g in range(4) for i in (2, 18, 3, 19)]),
    (2, [i + 4 * g for g in range(4) for i in _LOW], [i + 4 * g for g in range(4) for i in _HIGH]),
    (4, [i + 4 * g for g in (0, 2, 4, 6) for i in range(4)], [i + 4 * g for g in (1, 3, 5, 7) for i in range(4)]),
    (8, [i + 4 * g for g in (0, 2, 4, 6) for i in range(4)], [i + 4 * g for g in (1, 3, 5, 7) for i in range(4)]),
)


@intrinsic
def store_turned(typing, memory, index, stride, vectors):
    """Stores lane ``k`` of each of a tuple of 16 vectors, together, at ``index + k * stride``."""

    def emit(context, builder, signature, values):
        rows = [builder.extract_value(values[3], k) for k in range(16)]
        for reach, low, high in _TURN:
            for k in (k for k in range(16) if not k & reach):
                rows[k], rows[k + reach] = (
                    _shuffled(builder, rows[k], rows[k + reach], order) for order in (low, high)
                )
        for k, row in enumerate(rows):
            column = (k & 12) | (k & 1) << 1 | (k & 2) >> 1  # the first two rounds swap the middle rows of four
            offset = builder.add(values[1], builder.mul(values[2], ir.Constant(values[2].type, column)))
            _write(builder, _pointer(context, builder, memory, values[0], offset, signature.args[1])[0], row)
        return context.get_dummy_value()

    return types.void(memory, index, stride, vectors), emit
