"""Vector operations for Numba functions: a vector holds one number of each of LANES images.

The compiler may or may not run a plain loop in vector registers; these operations always do.
Arrays are flat, in C order, and an index counts numbers, not vectors. They run on processors of
any vector width, because LLVM splits vectors that are too long.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models, register_default
from numba.extending import intrinsic

LANES = 16
INDEX = ir.IntType(64)
FUSED = ("contract",)  # a product and a sum may become one fused instruction


class Vector(types.Type):
    """Numba's type of a vector in a local variable."""

    def __init__(self, dtype: types.Float) -> None:
        self.dtype = dtype
        super().__init__(name=f"Vector({dtype})")


@register_default(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Vector) -> None:
        number = manager.lookup(kind.dtype).get_value_type()
        super().__init__(manager, kind, ir.VectorType(number, LANES))


@intrinsic
def load(_typing: Any, array: Any, index: Any) -> Any:
    """The vector at array[index : index + LANES]."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.load(_pointer(context, builder, signature.args[0], *values), align=4)

    return Vector(array.dtype)(array, types.intp), generate


@intrinsic
def store(_typing: Any, array: Any, index: Any, vector: Any) -> Any:
    """Write a vector to array[index : index + LANES]."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], *values[:2])
        builder.store(values[2], pointer, align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@intrinsic
def zeros(_typing: Any, array: Any) -> Any:
    """A vector of zeros, of the array's type."""

    def generate(context: Any, _builder: Any, signature: Any, _values: Any) -> Any:
        return _zero(context.get_value_type(signature.return_type))

    return Vector(array.dtype)(array), generate


@intrinsic
def add(_typing: Any, u: Any, v: Any) -> Any:
    """u + v."""

    def generate(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return builder.fadd(*values)

    return u(u, v), generate


@intrinsic
def subtract(_typing: Any, u: Any, v: Any) -> Any:
    """u - v."""

    def generate(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return builder.fsub(*values)

    return u(u, v), generate


@intrinsic
def maximum(_typing: Any, u: Any, v: Any) -> Any:
    """The larger of u and v, lane by lane."""

    def generate(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", *values), *values)

    return u(u, v), generate


@intrinsic
def where_equal(_typing: Any, u: Any, v: Any, then: Any, otherwise: Any) -> Any:
    """`then` in the lanes where u == v, `otherwise` in the others."""

    def generate(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        u, v, then, otherwise = values
        return builder.select(builder.fcmp_ordered("==", u, v), then, otherwise)

    return u(u, v, then, otherwise), generate


@intrinsic
def where_positive(_typing: Any, u: Any, then: Any) -> Any:
    """`then` in the lanes where u > 0, zero in the others."""

    def generate(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        u, then = values
        zero = _zero(u.type)
        return builder.select(builder.fcmp_ordered(">", u, zero), then, zero)

    return u(u, then), generate


@intrinsic
def lane_sum(_typing: Any, u: Any) -> Any:
    """The sum of a vector's numbers."""

    def generate(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return _sum_of_lanes(builder, values[0])

    return u.dtype(u), generate


@intrinsic(prefer_literal=True)
def multiply_add(
    _typing: Any,
    rows: Any, columns: Any,
    x: Any, x0: Any, x_row: Any, x_taps: Any,
    w: Any, w0: Any, w_column: Any, w_taps: Any,
    first: Any, last: Any,
    bias: Any, b0: Any, b_column: Any,
    out: Any, o0: Any, o_row: Any, o_column: Any,
) -> Any:  # fmt: skip
    """A tile of rows × columns vectors, summed over taps in registers.

    out[o0 + r·o_row + c·o_column, as a vector] = bias[b0 + c·b_column] + Σ_{first ≤ t < last}
        x[x0 + x_taps[t] + r·x_row, as a vector] · w[w0 + w_taps[t] + c·w_column]

    This is the form of convolutions and linear layers, and of their gradients in their inputs.
    """
    arguments = (rows, columns, x, types.intp, types.intp, x_taps, w, types.intp, types.intp,
                 w_taps, types.intp, types.intp, bias, types.intp, types.intp, out, types.intp,
                 types.intp, types.intp)  # fmt: skip
    shape = (rows.literal_value, columns.literal_value)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        (_, _, _, x0, x_row, _, _, w0, w_column, _, first, last,
         _, b0, b_column, _, o0, o_row, o_column) = values  # fmt: skip
        x, xt, w, wt, b, o = (
            _data(context, builder, signature.args[i], values[i]) for i in (2, 5, 6, 9, 12, 15)
        )
        vector = ir.VectorType(context.get_value_type(signature.args[2].dtype), LANES)

        def start(_r: int, c: int) -> Any:
            return _broadcast(builder, vector, builder.load(_at(builder, b, b0, b_column, c)))

        def factor(tap: Any, c: int) -> Any:
            first_column = builder.add(w0, _tap(builder, wt, tap))
            number = builder.load(_at(builder, w, first_column, w_column, c))
            return _broadcast(builder, vector, number)

        def row(tap: Any, r: int) -> Any:
            first_row = builder.add(x0, _tap(builder, xt, tap))
            return _vector(builder, vector, _at(builder, x, first_row, x_row, r))

        def finish(r: int, c: int, total: Any) -> None:
            row_start = builder.add(o0, builder.mul(o_row, INDEX(r)))
            pointer = _at(builder, o, row_start, o_column, c)
            builder.store(total, builder.bitcast(pointer, vector.as_pointer()), align=4)

        _tile(builder, shape, vector, (first, last), start, row, factor, finish)
        return context.get_dummy_value()

    return types.void(*arguments), generate


@intrinsic(prefer_literal=True)
def lane_products(
    _typing: Any,
    rows: Any, columns: Any,
    x: Any, x0: Any, x_row: Any, x_taps: Any,
    y: Any, y0: Any, y_column: Any, y_taps: Any,
    last: Any,
    out: Any, o0: Any, o_row: Any, o_column: Any,
) -> Any:  # fmt: skip
    """A tile of rows × columns numbers, products of vectors summed over taps and lanes.

    out[o0 + r·o_row + c·o_column] = Σ_{t < last, lanes}
        x[x0 + x_taps[t] + r·x_row, as a vector] · y[y0 + y_taps[t] + c·y_column, as a vector]

    This is the form of a convolution's gradient in its weights; taps are the output's positions.
    """
    arguments = (rows, columns, x, types.intp, types.intp, x_taps, y, types.intp, types.intp,
                 y_taps, types.intp, out, types.intp, types.intp, types.intp)  # fmt: skip
    shape = (rows.literal_value, columns.literal_value)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        (_, _, _, x0, x_row, _, _, y0, y_column, _, last, _, o0, o_row, o_column) = values
        x, xt, y, yt, o = (
            _data(context, builder, signature.args[i], values[i]) for i in (2, 5, 6, 9, 11)
        )
        vector = ir.VectorType(context.get_value_type(signature.args[2].dtype), LANES)

        def row(tap: Any, r: int) -> Any:
            first_row = builder.add(x0, _tap(builder, xt, tap))
            return _vector(builder, vector, _at(builder, x, first_row, x_row, r))

        def factor(tap: Any, c: int) -> Any:
            first_column = builder.add(y0, _tap(builder, yt, tap))
            return _vector(builder, vector, _at(builder, y, first_column, y_column, c))

        def finish(r: int, c: int, total: Any) -> None:
            row_start = builder.add(o0, builder.mul(o_row, INDEX(r)))
            builder.store(_sum_of_lanes(builder, total), _at(builder, o, row_start, o_column, c))

        def start(_r: int, _c: int) -> Any:
            return _zero(vector)

        _tile(builder, shape, vector, (INDEX(0), last), start, row, factor, finish)
        return context.get_dummy_value()

    return types.void(*arguments), generate


def _tile(
    builder: Any,
    shape: tuple[int, int],
    vector: ir.VectorType,
    taps: tuple[Any, Any],
    start: Callable[[int, int], Any],
    row: Callable[[Any, int], Any],
    factor: Callable[[Any, int], Any],
    finish: Callable[[int, int, Any], None],
) -> None:
    """Emit the loop over taps with a register for each cell of the tile."""
    rows, columns = shape
    cells = [[cgutils.alloca_once(builder, vector) for _ in range(columns)] for _ in range(rows)]
    for r in range(rows):
        for c in range(columns):
            builder.store(start(r, c), cells[r][c])
    with cgutils.for_range_slice(builder, *taps, INDEX(1), INDEX) as (tap, _):
        vectors = [row(tap, r) for r in range(rows)]
        for c in range(columns):
            column = factor(tap, c)
            for r in range(rows):
                product = builder.fmul(vectors[r], column, flags=FUSED)
                cell = cells[r][c]
                builder.store(builder.fadd(builder.load(cell), product, flags=FUSED), cell)
    for r in range(rows):
        for c in range(columns):
            finish(r, c, builder.load(cells[r][c]))


def _data(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    """The pointer to an array's first number."""
    return context.make_array(kind)(context, builder, array).data


def _pointer(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    """The pointer to the vector at array[index]."""
    vector = ir.VectorType(context.get_value_type(kind.dtype), LANES)
    number = builder.gep(_data(context, builder, kind, array), [index])
    return builder.bitcast(number, vector.as_pointer())


def _tap(builder: Any, taps: Any, tap: Any) -> Any:
    """taps[tap], as an index."""
    return builder.sext(builder.load(builder.gep(taps, [tap])), INDEX)


def _at(builder: Any, data: Any, start: Any, step: Any, i: int) -> Any:
    """The pointer to data[start + i·step]."""
    return builder.gep(data, [builder.add(start, builder.mul(step, INDEX(i)))])


def _vector(builder: Any, vector: ir.VectorType, pointer: Any) -> Any:
    """The vector that begins at a number's pointer."""
    return builder.load(builder.bitcast(pointer, vector.as_pointer()), align=4)


def _zero(vector: ir.VectorType) -> Any:
    return ir.Constant(vector, [0.0] * LANES)


def _shuffled(builder: Any, vector: Any, lanes: list[int]) -> Any:
    """The vector of the numbers in these lanes."""
    mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), lanes)
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)


def _broadcast(builder: Any, vector: ir.VectorType, number: Any) -> Any:
    """The vector of one number in all lanes."""
    first = ir.Constant(ir.IntType(32), 0)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), number, first)
    return _shuffled(builder, one, [0] * LANES)


def _sum_of_lanes(builder: Any, vector: Any) -> Any:
    half = LANES // 2
    while half:
        folded = _shuffled(builder, vector, [(i + half) % LANES for i in range(LANES)])
        vector, half = builder.fadd(vector, folded), half // 2
    return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))
