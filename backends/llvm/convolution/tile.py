"""The innermost part of every product: a tile of results that stays in registers.

A tile has some rows of some vectors. One step of the sum takes a number from each row's operand
and a few vectors that all rows share, and adds their products::

    result[row][column] += a(row, step) * b(step, column)        a: a number, b: a vector
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.types import value_type
from minigraph.backends.llvm.language.value import Value
from minigraph.backends.llvm.language.view import Index
from minigraph.backends.llvm.target import Target
from minigraph.ir.spec import DType

RowOperand = Callable[[int, Index], Value]  # (row, step) -> a number
ColumnOperand = Callable[[Index, int], Value]  # (step, which vector) -> a vector
Results = list[list[Value]]  # by row, then by vector


@dataclass(frozen=True)
class Tile:
    """``rows`` of ``vectors`` of ``lanes`` numbers; sums run ``unroll`` steps at a time."""

    rows: int
    vectors: int
    lanes: int
    unroll: int

    @property
    def columns(self) -> int:
        return self.vectors * self.lanes


def lanes_of(target: Target, dtype: DType) -> int:
    """Lanes of a vector of what a dtype is computed with (16-bit floats: float32)."""
    return target.lanes(value_type(dtype).bits // 8)


_ROWS_WITH_32_REGISTERS = {1: (8, 0.6), 2: (8, 0.85), 3: (8, 1.0), 4: (6, 0.97)}
"""Rows of a tile by its vectors, and its speed. The more multiply-adds a loaded number or vector
serves, the fewer instructions there are beside them."""


def choose_tile(target: Target, dtype: DType, columns: int) -> Tile:
    """The quickest tile for results with so many columns, the unused ones of panels counted.

    Its sums must cover the latency of multiply-adds (8 vectors or more on most processors), and
    leave registers for the shared vectors and one row's number.
    """
    lanes = lanes_of(target, dtype)
    needed = max(1, -(-columns // lanes))
    if target.vector_registers < 32:
        return Tile(6 if target.vector_bytes >= 32 else 4, min(needed, 2), lanes, 2)

    def seconds(vectors: int) -> float:
        return -(-needed // vectors) * vectors / _ROWS_WITH_32_REGISTERS[vectors][1]

    vectors = min(_ROWS_WITH_32_REGISTERS, key=seconds)
    rows = _ROWS_WITH_32_REGISTERS[vectors][0]
    # Instructions that count steps take turns with multiply-adds: fewer by more steps at a time.
    return Tile(rows, vectors, lanes, unroll=4 if vectors == 1 else 2)


def zeros(k: Kernel, tile: Tile, dtype: DType) -> Results:
    """A tile before anything is added."""
    zero = k.zero(value_type(dtype, tile.lanes))
    return [[zero] * tile.vectors for _ in range(tile.rows)]


def add_products(
    k: Kernel,
    tile: Tile,
    start: Index,
    stop: Index,
    a: RowOperand,
    b: ColumnOperand,
    results: Results,
) -> Results:
    """``results`` plus the products of the steps in ``range(start, stop)``, one by one in order."""
    first = k.index(start)
    whole = first + (stop - first) // tile.unroll * tile.unroll
    results = _loop(k, tile, first, whole, tile.unroll, a, b, results)
    return results if tile.unroll == 1 else _loop(k, tile, whole, stop, 1, a, b, results)


def _loop(
    k: Kernel,
    tile: Tile,
    start: Index,
    stop: Index,
    unroll: int,
    a: RowOperand,
    b: ColumnOperand,
    results: Results,
) -> Results:
    def body(step: Value, values: list[Value]) -> Sequence[Value]:
        steps = [step + i if i else step for i in range(unroll)]
        return _flat(add_steps(k, steps, a, b, folded(values, tile)))

    return folded(k.carry(start, stop, _flat(results), body, unroll), tile)


def add_steps(
    k: Kernel,
    steps: Sequence[Index],
    a: RowOperand,
    b: ColumnOperand,
    results: Results,
) -> Results:
    """The products of a few steps, written out."""
    results = [list(row) for row in results]
    for step in steps:
        vectors = [b(step, column) for column in range(len(results[0]))]
        for i, row in enumerate(results):
            number = a(i, step).spread(vectors[0].lanes)
            for j, vector in enumerate(vectors):
                row[j] = k.fma(number, vector, row[j])
    return results


def carry_tile(
    k: Kernel,
    tile: Tile,
    start: Index,
    stop: Index,
    results: Results,
    body: Callable[[Value, Results], Results],
    by: int = 1,
) -> Results:
    """A loop around sums: ``results = body(i, results)`` for i in ``range(start, stop, by)``."""

    def inner(i: Value, values: list[Value]) -> Sequence[Value]:
        return _flat(body(i, folded(values, tile)))

    return folded(k.carry(start, stop, _flat(results), inner, by), tile)


def _flat(results: Results) -> list[Value]:
    return [value for row in results for value in row]


def folded(values: Sequence[Value], tile: Tile) -> Results:
    """A tile's vectors, row after row, as a table."""
    return [list(values[i : i + tile.vectors]) for i in range(0, len(values), tile.vectors)]
