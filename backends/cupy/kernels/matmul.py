"""Matrix products, batched as NumPy's, each matrix read as it lies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from minigraph.backend import Algorithm, Refused, Slot
from minigraph.backends.cupy.call import AnyCall, Binding, Context, Lowering, memory_seconds
from minigraph.backends.cupy.kernels.gemm_calls import (
    ONE,
    BatchAxis,
    Extents,
    Plan,
    matrix,
    product_calls,
    product_seconds,
    workspace_bytes,
)
from minigraph.ir.spec import TensorSpec
from minigraph.iteration import batch_strides, collapse
from minigraph.lowering.epilogue import anchor_of, anchor_operands
from minigraph.ops.matmul import MatMul


def _extents(op: MatMul, a: TensorSpec, b: TensorSpec) -> Extents:
    (y,) = op.infer(a, b)
    *batch, rows, columns = y.shape
    depth = a.shape[-2] if op.transpose_a else a.shape[-1]
    if _joins_batch(op, a, b, y):
        return Extents(rows * math.prod(batch), columns, depth)
    return Extents(rows, columns, depth, math.prod(batch))


def _joins_batch(op: MatMul, a: TensorSpec, b: TensorSpec, y: TensorSpec) -> bool:
    """Whether all of ``a`` is one matrix of more rows: there is one ``b`` for the batch."""
    one_matrix = math.prod(b.shape[:-2]) == 1 and not op.transpose_a
    return (
        one_matrix and y.ndim == 3 and a.shape[:-1] == y.shape[:-1]
    )  # of four axes, channels last


def _candidates(
    op: Any, inputs: tuple[TensorSpec, ...], context: Context
) -> tuple[Algorithm, ...] | Refused:
    anchor, (a, b) = anchor_of(op), anchor_operands(op, inputs)
    extents = _extents(anchor, a, b)
    (y,) = anchor.infer(a, b)
    seconds = product_seconds(extents, a.dtype, memory_seconds(op, inputs))
    return (Algorithm("gemm", workspace_bytes(extents, y.size, a.dtype), seconds),)


def _calls(binding: Binding) -> Sequence[AnyCall]:
    op: MatMul = anchor_of(binding.op)
    a, b = anchor_operands(binding.op, binding.inputs)
    y, extents = binding.output, _extents(op, a.spec, b.spec)
    rows, columns, depth = extents.rows, extents.columns, extents.depth
    axes = _batch_axes(a, b, y) if extents.batch > 1 else ONE
    # Strides of rows (of y) and depth, of depth and columns.
    a_row, a_depth = reversed(a.strides[-2:]) if op.transpose_a else a.strides[-2:]
    b_depth, b_column = reversed(b.strides[-2:]) if op.transpose_b else b.strides[-2:]
    left, left_sizes = matrix(a, rows, depth, a_row, a_depth, [axis.a for axis in axes])
    right, right_sizes = matrix(b, columns, depth, b_column, b_depth, [axis.b for axis in axes])
    y_row, y_column = y.strides[-2:]
    adjacent = y_column == 1
    plan = Plan(
        extents,
        left,
        right,
        first_sizes=(rows, columns, depth),
        a_sizes=left_sizes,
        b_sizes=right_sizes,
        y_sizes=(y_row,) if adjacent else (y_row, y_column),
        batch=axes,
        adjacent=adjacent,
    )
    return product_calls(binding, a, b, plan)


def _batch_axes(a: Slot, b: Slot, y: Slot) -> tuple[BatchAxis, ...]:
    shape = y.spec.shape[:-2]
    space = collapse(shape, [batch_strides(place, shape) for place in (a, b, y)])
    return tuple(BatchAxis(*numbers) for numbers in zip(space.sizes, *space.strides, strict=True))


LOWERINGS: Mapping[type, Lowering] = {MatMul: Lowering(_candidates, _calls)}
