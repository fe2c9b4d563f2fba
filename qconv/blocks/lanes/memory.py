"""Loads and stores of the vectors of ``qconv.blocks.lanes``: arrays, the stack, and transposing on the way."""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from qconv.blocks.lanes.vectors import Vector, element_type, shuffled


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
    """``count`` uninitialised elements on the kernel's stack, aligned to 64 bytes, or to a page where they fill one."""
    element = dtype.dtype

    def emit(context, builder, signature, values):
        kind = ir.ArrayType(context.get_data_type(element), count.literal_value)
        with builder.goto_entry_block():
            slot = builder.alloca(kind)
        # tiles then share their place within a page: stores to one a line ahead would 4K-alias loads of another
        slot.align = 4096 if count.literal_value * element.bitwidth >= 4096 * 8 else 64
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
        return _read(builder, pointer, ir.VectorType(element_type(dtype), n.literal_value))

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


@intrinsic
def prefetch(typing, memory, index):
    """Prefetches what lies at ``index`` into the second-level cache."""

    def emit(context, builder, signature, values):
        pointer, _ = _pointer(context, builder, memory, values[0], values[1], signature.args[1])
        number, byte = ir.IntType(32), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        to_read, second_cache, data = number(0), number(2), number(1)
        builder.call(function, [builder.bitcast(pointer, byte), to_read, second_cache, data])
        return context.get_dummy_value()

    return types.void(memory, index), emit


_LOW, _HIGH = [0, 1, 16, 17], [2, 3, 18, 19]
_TRANSPOSE = (  # (distance of rows, shuffles of such a pair): two rounds within groups of four lanes, two of groups
    (1, [i + 4 * g for g in range(4) for i in (0, 16, 1, 17)], [i + 4 * g for g in range(4) for i in (2, 18, 3, 19)]),
    (2, [i + 4 * g for g in range(4) for i in _LOW], [i + 4 * g for g in range(4) for i in _HIGH]),
    (4, [i + 4 * g for g in (0, 2, 4, 6) for i in range(4)], [i + 4 * g for g in (1, 3, 5, 7) for i in range(4)]),
    (8, [i + 4 * g for g in (0, 2, 4, 6) for i in range(4)], [i + 4 * g for g in (1, 3, 5, 7) for i in range(4)]),
)


@intrinsic
def store_transposed(typing, memory, index, stride, vectors):
    """Stores lane ``k`` of each of a tuple of 16 vectors, together, at ``index + k * stride``."""

    def emit(context, builder, signature, values):
        rows = [builder.extract_value(values[3], k) for k in range(16)]
        for reach, low, high in _TRANSPOSE:
            for k in (k for k in range(16) if not k & reach):
                rows[k], rows[k + reach] = (shuffled(builder, rows[k], rows[k + reach], order) for order in (low, high))
        for k, row in enumerate(rows):
            column = (k & 12) | (k & 1) << 1 | (k & 2) >> 1  # the first two rounds swap the middle rows of four
            offset = builder.add(values[1], builder.mul(values[2], ir.Constant(values[2].type, column)))
            _write(builder, _pointer(context, builder, memory, values[0], offset, signature.args[1])[0], row)
        return context.get_dummy_value()

    return types.void(memory, index, stride, vectors), emit
