"""Products with few rows, such as a dense layer's on a small batch: ``b`` is read once, as it lies.

Nearly all of the time goes into reading ``b``, so bringing it into panels first would cost three
times as much. Where ``b`` is transposed (a layer's result), each number of the result is the
scalar product of two rows; else (the gradient of its input) rows of ``b``, times a number each,
are added up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minigraph.backend import Algorithm, aligned
from minigraph.backends.llvm.call import Binding, Call, Context
from minigraph.backends.llvm.convolution.method import estimated_seconds
from minigraph.backends.llvm.convolution.pack import computed
from minigraph.backends.llvm.convolution.tile import lanes_of
from minigraph.backends.llvm.kernels.epilogue import Epilogue, EpilogueWriter, epilogue_sizes
from minigraph.backends.llvm.language.code import KernelCode
from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.types import value_type
from minigraph.backends.llvm.language.value import Value
from minigraph.backends.llvm.language.view import View
from minigraph.backends.llvm.matmul.problem import Method, Problem
from minigraph.ir.spec import DType, TensorSpec
from minigraph.lowering.epilogue import (
    anchor_operands,
    epilogue_outputs,
    epilogue_overwrites,
    epilogue_places,
)

_MOST_ROWS = 32
_ROWS = 4  # of the result that are computed together
_STEPS = 4  # of the sum that are added at once
_CHUNK = 1024  # columns, of which the sums stay in the first-level cache
_ATTAINED = 0.4  # of the multiply-adds that could be done


@dataclass(frozen=True)
class ScalarProducts(KernelCode):
    """``y[m, n] = sum_k a[m, k] b[n, k]``: both operands are read along their rows.

    Arguments: a, b, the epilogue's. Sizes: rows, depth, columns, the distances of the rows of a
    and of b, the epilogue's. ``columns`` results of each of four rows are summed together.
    """

    dtype: DType
    lanes: int
    columns: int
    epilogue: Epilogue

    @property
    def pointers(self) -> int:
        return 2 + self.epilogue.pointers

    @property
    def sizes(self) -> int:
        return 5 + self.epilogue.sizes

    def emit(self, k: Kernel) -> None:
        rows, depth, columns, a_stride, b_stride = k.sizes[:5]
        writer = self.epilogue.writer(k, k.pointers[2:], k.sizes[5:])
        a = k.view(k.pointers[0], self.dtype, a_stride, 1)
        b = k.view(k.pointers[1], self.dtype, b_stride, 1)
        with k.parallel((columns + (self.columns - 1)) // self.columns) as group:
            first = group * self.columns
            right = _lines(k, b, first, self.columns, columns)
            with k.loop(0, rows, _ROWS) as row:
                left = _lines(k, a, row, _ROWS, rows)
                sums = self._sums(k, left, right, depth)
                for i in range(_ROWS):
                    with k.when(row + i < rows):
                        self._store(k, writer, sums[i], row + i, first, columns)

    def _sums(
        self, k: Kernel, left: Sequence[View], right: Sequence[View], depth: Value
    ) -> list[list[Value]]:
        """The scalar products of each left row with each right row."""
        zero = k.zero(value_type(self.dtype, self.lanes))
        sums = [zero] * (len(left) * len(right))

        def add(step: Value, sums: Sequence[Value], mask: Value | None) -> list[Value]:
            vectors = [line.load(step, lanes=self.lanes, mask=mask) for line in right]
            added = []
            for i, line in enumerate(left):
                vector = line.load(step, lanes=self.lanes, mask=mask)
                row = sums[i * len(right) : (i + 1) * len(right)]
                added += [k.fma(vector, v, s) for v, s in zip(vectors, row, strict=True)]
            return added

        whole = depth // self.lanes * self.lanes
        sums = k.carry(0, whole, sums, lambda i, s: add(i, s, None), self.lanes)
        mask = k.first_lanes(depth - whole, self.lanes)
        totals = [k.sum_lanes(value) for value in add(whole, sums, mask)]
        return [totals[i * len(right) :][: len(right)] for i in range(len(left))]

    def _store(
        self,
        k: Kernel,
        writer: EpilogueWriter,
        sums: Sequence[Value],
        row: Value,
        first: Value,
        columns: Value,
    ) -> None:
        for j, value in enumerate(sums):
            with k.when(first + j < columns):
                writer.store(value, (0, 0, row), first + j)


def _lines(k: Kernel, matrix: View, first: Value, count: int, total: Value) -> list[View]:
    """Rows that follow each other; the last one again where there are fewer."""
    lines = []
    for i in range(count):
        row = k.minimum(first + i, total - 1) if i else first
        lines.append(matrix.at(row).strided(1))
    return lines


@dataclass(frozen=True)
class RowSums(KernelCode):
    """``y[m, n] = sum_k a[m, k] b[k, n]``: the rows of ``b``, times numbers of ``a``, added up.

    A thread goes through all of ``b`` for a chunk of columns, some rows at a time, and adds to
    sums in the cache.

    Arguments: a, b, the epilogue's; output, scratch. Sizes: rows, depth, columns, the distances of
    the rows of a and of b, columns of a chunk, numbers of scratch of a thread, the epilogue's.
    """

    dtype: DType
    lanes: int
    epilogue: Epilogue

    @property
    def pointers(self) -> int:
        return 3 + self.epilogue.pointers

    @property
    def sizes(self) -> int:
        return 7 + self.epilogue.sizes

    def emit(self, k: Kernel) -> None:
        rows, depth, columns, a_stride, b_stride, chunk, scratch = k.sizes[:7]
        writer = self.epilogue.writer(k, k.pointers[2:-1], k.sizes[7:])
        a = k.view(k.pointers[0], self.dtype, a_stride, 1)
        b = k.view(k.pointers[1], self.dtype, b_stride, 1)
        sums = k.view(k.pointers[-1], computed(self.dtype), chunk, 1).shifted(k.thread * scratch)
        with k.parallel((columns + chunk - 1) // chunk) as item:
            first = item * chunk
            count = k.minimum(chunk, columns - first)
            zero = k.zero(sums.type.with_lanes(self.lanes))
            with k.loop(0, (rows + (_ROWS - 1)) // _ROWS * _ROWS * chunk, self.lanes) as i:
                sums.strided(1).store(zero, i)
            part, whole = b.at(0, first), depth // _STEPS * _STEPS
            for start, stop, steps in ((k.index(0), whole, _STEPS), (whole, depth, 1)):
                with (
                    k.loop(start, stop, steps) as step,
                    k.loop(0, rows, _ROWS) as row,
                ):
                    left = [line.shifted(step) for line in _lines(k, a, row, _ROWS, rows)]
                    right = [part.at(step + i).strided(1) for i in range(steps)]
                    self._add(k, left, right, sums.at(row), count)
            with k.loop(0, rows) as row:
                line = sums.at(row).strided(1)

                def store(i: Value, mask: Value | None) -> None:
                    value = line.load(i, lanes=self.lanes)
                    writer.store(value, (0, 0, row), first + i, mask)

                k.vectors(count, self.lanes, store)

    def _add(
        self, k: Kernel, left: Sequence[View], right: Sequence[View], sums: View, count: Value
    ) -> None:
        """A few rows of ``b`` to the sums of a few rows."""
        lanes = self.lanes
        numbers = [[line.load(step).spread(lanes) for step in range(len(right))] for line in left]

        def add(i: Value, mask: Value | None) -> None:
            vectors = [line.load(i, lanes=lanes, mask=mask) for line in right]
            for row, multipliers in enumerate(numbers):
                total = sums.load(row, i, lanes=lanes)
                for number, vector in zip(multipliers, vectors, strict=True):
                    total = k.fma(number, vector, total)
                sums.store(total, row, i)

        k.vectors(count, lanes, add)


def _algorithm(op: Any, inputs: tuple[TensorSpec, ...], context: Context) -> Algorithm | None:
    p = Problem.of_node(op, inputs)
    if not p.is_single or p.op.transpose_a or p.rows > _MOST_ROWS:
        return None
    workspace = 0 if p.op.transpose_b else context.threads * _scratch_bytes(p, context)
    cost = op.cost(*inputs)
    rows = -(-p.rows // _ROWS) * _ROWS
    seconds = estimated_seconds(context, p.dtype, rows * p.depth * p.columns, cost.bytes, _ATTAINED)
    overwrites = epilogue_overwrites(op, inputs)
    return Algorithm("few-rows", workspace, seconds, overwrites=overwrites)


def _chunk(p: Problem, context: Context) -> int:
    """Columns that one thread sums at a time: about as much work for each."""
    lanes = lanes_of(context.target, p.dtype)
    rounds = -(-p.columns // (context.threads * _CHUNK))
    columns = -(-p.columns // (context.threads * rounds))
    return -(-columns // lanes) * lanes


def _scratch_bytes(p: Problem, context: Context) -> int:
    rows = -(-p.rows // _ROWS) * _ROWS
    return aligned(rows * _chunk(p, context) * computed(p.dtype).itemsize)


def _calls(binding: Binding) -> Sequence[Call]:
    a, b = anchor_operands(binding.op, binding.inputs)
    p = Problem.of_node(binding.op, [slot.spec for slot in binding.inputs])
    epilogue = Epilogue.of(binding)
    lanes = lanes_of(binding.target, p.dtype)
    sizes: tuple[int, ...] = (p.rows, p.depth, p.columns, a.strides[0], b.strides[0])
    stored, outputs = epilogue_sizes(binding), tuple(epilogue_outputs(binding))
    reads = (a, b, *epilogue_places(binding))
    if p.op.transpose_b:
        columns = 4 if binding.target.vector_registers >= 32 else 2
        code: KernelCode = ScalarProducts(p.dtype, lanes, columns, epilogue)
        return [Call(code, reads, outputs, (*sizes, *stored))]
    context = Context(binding.threads, binding.target)
    scratch = _scratch_bytes(p, context) // computed(p.dtype).itemsize
    assert binding.workspace is not None
    code = RowSums(p.dtype, lanes, epilogue)
    return [
        Call(
            code,
            reads,
            (*outputs, binding.workspace),
            (*sizes, _chunk(p, context), scratch, *stored),
        )
    ]


FEW_ROWS = Method("few-rows", _algorithm, _calls)
