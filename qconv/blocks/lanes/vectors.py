"""The vector types of ``qconv.blocks.lanes`` for numba, and what operators between them mean."""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import lower_builtin, models, register_model, type_callable

from qconv.blocks.lanes import machine

LANES = machine.lanes()
f32, i32, u8, u16, boolean = types.float32, types.int32, types.uint8, types.uint16, types.boolean
_OPTIONS = {"nogil": True, "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Helpers are called from kernels alone: without a way in from Python they compile a quarter faster."""
inline = njit(forceinline=True, **_OPTIONS)
"""Decorator of a helper that is compiled into its callers."""
outlined = njit(**_OPTIONS)
"""Decorator of a long helper off the hot path, compiled once for a kernel that calls it from several places."""


class Vector(types.Type):  # type: ignore[misc]  # numba has no types
    """``n`` lanes of a numba scalar type; masks are lanes of boolean."""

    def __init__(self, dtype: Any, n: int) -> None:
        self.dtype, self.n = dtype, n
        super().__init__(f"{dtype}x{n}")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]  # numba has no types
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, ir.VectorType(element_type(fe_type.dtype), fe_type.n))


def element_type(dtype):
    if dtype is boolean:
        return ir.IntType(1)
    return ir.FloatType() if dtype is f32 else ir.IntType(dtype.bitwidth)


def vector_type(v):
    return ir.VectorType(element_type(v.dtype), v.n)


def spread(builder, scalar, n):
    """All ``n`` lanes set to ``scalar``."""
    vector = ir.VectorType(scalar.type, n)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.IntType(32)(0))
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), ir.VectorType(ir.IntType(32), n)([0] * n))


def both_vectors(context, builder, vector, kinds, values):
    """The values as two of ``vector``: scalars become lanes."""
    return [
        value
        if isinstance(kind, Vector)
        else spread(builder, context.cast(builder, value, kind, vector.dtype), vector.n)
        for kind, value in zip(kinds, values, strict=True)
    ]


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
        pair = both_vectors(context, builder, vector, signature.args, values)
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


def shuffled(builder, a, b, order):
    return builder.shuffle_vector(a, b, ir.VectorType(ir.IntType(32), len(order))(order))
