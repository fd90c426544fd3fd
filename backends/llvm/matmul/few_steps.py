"""Products whose sums have few steps, such as the gradient of a dense layer's weight.

Each row of the result is a sum of a few rows of ``b``. Nearly all of the time goes into the result
and what the epilogue reads beside it, so rows are written from end to end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minigraph.backend import Algorithm
from minigraph.backends.llvm.call import Binding, Call, Context
from minigraph.backends.llvm.convolution.method import estimated_seconds
from minigraph.backends.llvm.convolution.tile import lanes_of
from minigraph.backends.llvm.kernels.epilogue import Epilogue, epilogue_sizes
from minigraph.backends.llvm.language.code import KernelCode
from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.types import value_type
from minigraph.backends.llvm.language.value import Value
from minigraph.backends.llvm.matmul.problem import Method, Problem
from minigraph.ir.spec import DType, TensorSpec
from minigraph.lowering.epilogue import (
    anchor_operands,
    epilogue_outputs,
    epilogue_overwrites,
    epilogue_places,
)

_MOST_STEPS = 16
_ROWS = 4


@dataclass(frozen=True)
class FewSteps(KernelCode):
    """``y[m, n] = sum_k a[m, k] b[k, n]``, row after row.

    Arguments: a, b, the epilogue's. Sizes: rows, depth, columns, the distances in a of rows and of
    steps, that of the rows of b, the epilogue's.
    """

    dtype: DType
    lanes: int
    epilogue: Epilogue

    @property
    def pointers(self) -> int:
        return 2 + self.epilogue.pointers

    @property
    def sizes(self) -> int:
        return 6 + self.epilogue.sizes

    def emit(self, k: Kernel) -> None:
        rows, depth, columns, row_stride, step_stride, b_stride = k.sizes[:6]
        writer = self.epilogue.writer(k, k.pointers[2:], k.sizes[6:])
        a = k.view(k.pointers[0], self.dtype, row_stride, step_stride)
        b = k.view(k.pointers[1], self.dtype, b_stride, 1)
        with k.parallel((rows + (_ROWS - 1)) // _ROWS) as group:
            first = group * _ROWS
            left = [a.at(k.minimum(first + i, rows - 1)).strided(step_stride) for i in range(_ROWS)]

            def sum_up(column: Value, mask: Value | None) -> None:
                def add(step: Value, sums: list[Value]) -> list[Value]:
                    vector = b.load(step, column, lanes=self.lanes, mask=mask)
                    return [
                        k.fma(line.load(step).spread(self.lanes), vector, value)
                        for line, value in zip(left, sums, strict=True)
                    ]

                zero = k.zero(value_type(self.dtype, self.lanes))
                sums = k.carry(0, depth, [zero] * _ROWS, add)
                for i, value in enumerate(sums):
                    with k.when(first + i < rows):
                        writer.store(value, (0, 0, first + i), column, mask)

            k.vectors(columns, self.lanes, sum_up)


def _algorithm(op: Any, inputs: tuple[TensorSpec, ...], context: Context) -> Algorithm | None:
    p = Problem.of_node(op, inputs)
    if not p.is_single or p.op.transpose_b or p.depth > _MOST_STEPS:
        return None
    cost = op.cost(*inputs)
    seconds = estimated_seconds(context, p.dtype, cost.flops / 2, cost.bytes)
    return Algorithm("few-steps", 0, seconds, overwrites=epilogue_overwrites(op, inputs))


def _calls(binding: Binding) -> Sequence[Call]:
    a, b = anchor_operands(binding.op, binding.inputs)
    p = Problem.of_node(binding.op, [slot.spec for slot in binding.inputs])
    row, step = reversed(a.strides) if p.op.transpose_a else a.strides
    code = FewSteps(p.dtype, lanes_of(binding.target, p.dtype), Epilogue.of(binding))
    sizes = (p.rows, p.depth, p.columns, row, step, b.strides[0], *epilogue_sizes(binding))
    return [Call(code, (a, b, *epilogue_places(binding)), tuple(epilogue_outputs(binding)), sizes)]


FEW_STEPS = Method("few-steps", _algorithm, _calls)
