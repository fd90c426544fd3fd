"""Products of any size, batched as NumPy's: that of ``convolution/product.py`` with one tap.

The rows of ``a`` are the pixels of one line of an image, the columns of ``a`` their channels; ``b``
is packed into panels. A matrix of a batch is a group.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from minigraph.backend import Algorithm, Slot, aligned
from minigraph.backends.llvm.call import Binding, Call, Context
from minigraph.backends.llvm.convolution.axis import axis_sizes
from minigraph.backends.llvm.convolution.blocking import (
    Blocking,
    Inputs,
    Sums,
    choose_blocking,
    product_code,
    product_sizes,
)
from minigraph.backends.llvm.convolution.method import estimated_seconds
from minigraph.backends.llvm.convolution.pack import Source, computed, pack_calls
from minigraph.backends.llvm.kernels.copy import copy_calls
from minigraph.backends.llvm.kernels.epilogue import Epilogue, epilogue_sizes
from minigraph.backends.llvm.matmul.problem import Method, Problem
from minigraph.ir.spec import TensorSpec
from minigraph.iteration import batch_strides, row_major_strides
from minigraph.lowering.epilogue import (
    anchor_of,
    anchor_operands,
    epilogue_outputs,
    epilogue_overwrites,
    epilogue_places,
)
from minigraph.ops.fused import Fused
from minigraph.ops.matmul import MatMul
from minigraph.places import part

_PAGE = 4096  # bytes: rows that far apart fall into the same sets of the first-level cache


@dataclass(frozen=True)
class _Copies:
    """Bytes of copies for operands (and the result) that may not lie as the kernel wants them.

    It wants neighbouring numbers of each row of ``a`` and of ``y``, and batches of ``b`` at one
    distance. What has four axes lies channels last.
    """

    a: int
    b: int
    y: int

    @staticmethod
    def of(op: MatMul, p: Problem) -> _Copies:
        def size(spec: TensorSpec, wanted: bool, padding: int = 0) -> int:
            elements = math.prod(spec.shape[:-1]) * (spec.shape[-1] + padding)
            return aligned(elements * spec.dtype.itemsize) if wanted else 0

        return _Copies(
            size(p.a, op.transpose_a or p.a.ndim == 4, _row_padding(p.a)),
            size(p.b, p.b.ndim == 4),
            size(p.y, p.y.ndim == 4),
        )


def _sums(p: Problem) -> Sums:
    """The extents of one kernel call."""
    *batch, rows, columns = p.y.shape
    if p.joins_batch:
        rows, batch = rows * math.prod(batch), []
    return Sums(rows, 1, math.prod(batch[-1:]), columns, p.depth, 1, 1)


def _row_padding(spec: TensorSpec) -> int:
    """Elements between copied rows, so that neighbours do not fall into the same cache sets."""
    return 16 if spec.shape[-1] * spec.dtype.itemsize % _PAGE == 0 else 0


def _packed_bytes(p: Problem, sums: Sums, blocking: Blocking) -> int:
    """Some at least, also where there is nothing to sum."""
    elements = p.b_matrices * blocking.packed_elements(sums)
    return aligned(max(elements, 1) * computed(p.dtype).itemsize)


def _algorithm(op: Any, inputs: tuple[TensorSpec, ...], context: Context) -> Algorithm:
    anchor, (a, b) = anchor_of(op), anchor_operands(op, range(len(inputs)))
    p = Problem.of(anchor, inputs[a], inputs[b])
    sums, copies = _sums(p), _Copies.of(anchor, p)
    blocking = choose_blocking(sums, p.dtype, context.target, context.threads)
    workspace = context.threads * aligned(blocking.scratch_bytes(sums, p.dtype))
    workspace += copies.a + copies.y
    prepared = _packed_bytes(p, sums, blocking) + copies.b
    cost = op.cost(*inputs)
    moved = cost.bytes + 2 * (prepared + copies.a + copies.y)
    seconds = estimated_seconds(context, p.dtype, cost.flops / 2, moved)
    overwrites = epilogue_overwrites(op, inputs)
    return Algorithm("packed", workspace, seconds, 0.0, overwrites, prepared, (b,))


def _calls(binding: Binding) -> Sequence[Call]:
    if binding.output.spec.size == 0:
        return []
    op: MatMul = anchor_of(binding.op)
    a, b = anchor_operands(binding.op, binding.inputs)
    p = Problem.of(op, a.spec, b.spec)
    sums, copies = _sums(p), _Copies.of(op, p)
    blocking = choose_blocking(sums, p.dtype, binding.target, binding.threads)
    a, b = _as_read(a, p.a, op.transpose_a), _as_read(b, p.b, op.transpose_b)
    y = binding.output
    workspace, prepared = binding.workspace, binding.prepared
    assert workspace is not None and prepared is not None
    before: list[Call] = []
    after: list[Call] = []
    if copies.a:
        copied = _rows(workspace, workspace.spec.size - copies.a, p.a, _row_padding(p.a))
        before += copy_calls(a, copied)
        a = copied
    if copies.b:
        copied = _rows(prepared, _packed_bytes(p, sums, blocking), p.b)
        before += [replace(call, prepares=True) for call in copy_calls(b, copied)]
        b = copied
    if copies.y:
        y = _rows(workspace, workspace.spec.size - copies.a - copies.y, p.y)
        after = copy_calls(y, binding.output)
    packing = pack_calls(b, prepared, _source(b, p), blocking.tile.columns)
    products = _product_calls(binding, p, sums, blocking, (a, y))
    return [*before, *packing, *products, *after]


def _as_read(slot: Slot, spec: TensorSpec, transposed: bool) -> Slot:
    """An operand with its last two axes as they are multiplied."""
    if not transposed:
        return slot
    *outer, second, first = slot.strides
    return replace(slot, spec=spec, strides=(*outer, first, second))


def _rows(slot: Slot, offset: int, spec: TensorSpec, padding: int = 0) -> Slot:
    """A copy row by row, with some elements between the rows."""
    strides = row_major_strides((*spec.shape[:-1], spec.shape[-1] + padding))
    return part(slot, offset, spec.shape, spec.dtype, strides)


def _source(b: Slot, p: Problem) -> Source[int]:
    group_stride = b.strides[-3] if b.spec.ndim > 2 else 0
    depth, columns = p.b.shape[-2:]
    row_stride, column_stride = b.strides[-2:]
    return Source(
        p.b_matrices, depth, columns, 1, 1, group_stride, row_stride, column_stride, 0, 0, 1, 1
    )


def _product_calls(
    binding: Binding, p: Problem, sums: Sums, blocking: Blocking, places: tuple[Slot, Slot]
) -> list[Call]:
    """One call for all matrices of the last batch axis: outer axes get a call an index."""
    a, y = places
    assert binding.prepared is not None and binding.workspace is not None
    code = product_code(sums, blocking, p.dtype, Epilogue.of(binding), False, flat=True)
    batch = () if p.joins_batch else y.spec.shape[:-2]
    size = computed(p.dtype).itemsize
    matrices = _matrices(binding.prepared, p)
    strides = [batch_strides(operand, batch) for operand in (a, matrices, y)]
    inner = [steps[-1] if steps else 0 for steps in strides]
    inputs = Inputs(1, 1, sums.pixels, 0, 0, a.strides[-2])
    sizes = product_sizes(
        sums, blocking, p.dtype, inputs, group_stride=inner[0], output_group_stride=inner[2],
        shared_panels=inner[1] == 0,
    )  # fmt: skip
    axes = (
        *axis_sizes(1, 1, 1, 0, 1, transposed=False),
        *axis_sizes(sums.pixels, 1, 1, 0, 1, transposed=False),
    )
    is_fused = isinstance(binding.op, Fused)
    stored = epilogue_sizes(binding) if is_fused else [0, 0, y.strides[-2]]
    outputs = epilogue_outputs(binding) if is_fused else [y]
    calls = []
    for index in product(*(range(n) for n in batch[:-1])):
        first_a, matrix, first_y = (
            sum(i * step for i, step in zip(index, steps, strict=False)) for steps in strides
        )
        reads = (
            _moved(a, first_a * p.dtype.itemsize),
            _moved(binding.prepared, matrix * blocking.packed_elements(sums) * size),
            *epilogue_places(binding),
        )
        written = (_moved(slot, first_y * p.dtype.itemsize) for slot in outputs)
        writes = (*written, binding.workspace)
        calls.append(Call(code, reads, writes, (*sizes, *axes, *stored)))
    return calls


def _matrices(prepared: Slot, p: Problem) -> Slot:
    """The packed matrices as a tensor whose elements are whole matrices."""
    shape = (*p.b.shape[:-2], 1, 1)
    return replace(prepared, spec=p.b.with_shape(shape), strides=row_major_strides(shape))


def _moved(slot: Slot, offset: int) -> Slot:
    return replace(slot, offset=slot.offset + offset)


PACKED = Method("packed", _algorithm, _calls)
