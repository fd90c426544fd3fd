"""Gather, take along an axis, their adjoints, and one-hot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from minigraph.backend import Slot, Strides
from minigraph.backends.cupy.call import Binding, Call, Context, Lowering, simple
from minigraph.backends.cupy.kernels.copy import copy_calls
from minigraph.backends.cupy.kernels.indexed import (
    IndexedAxis,
    Moves,
    add_calls,
    check_calls,
    take_calls,
)
from minigraph.backends.cupy.kernels.pointwise import pointwise_calls
from minigraph.ir.errors import IllegalIndexError
from minigraph.ir.spec import DType, TensorSpec
from minigraph.iteration import without_gaps
from minigraph.ops import indexing
from minigraph.ops.elementwise import Cast, Equal
from minigraph.ops.fused import Body, Instruction
from minigraph.places import Table, carve, part


def _refusal(op: Any, inputs: Sequence[Slot], position: int, value: int) -> IllegalIndexError:
    x, indices = inputs[0].spec, inputs[1].spec
    axis = op.axis % x.ndim
    size = x.shape[axis]
    place = [int(i) for i in np.unravel_index(position, indices.shape)]
    return IllegalIndexError(
        f"Expected an index in [{-size}, {size}) for axis {axis}, got {value}"
        f"{f' at {place} of the indices' if place else ''}"
    )


def _checked(binding: Binding) -> list[Call]:
    x, indices = binding.inputs[:2]
    size = x.spec.shape[binding.op.axis % x.spec.ndim]
    return check_calls(indices, -size, size)


def _replaced(strides: Strides, axis: int, inner: Strides) -> Strides:
    """The strides with one axis's replaced by these."""
    return (*strides[:axis], *inner, *strides[axis + 1 :])


def _still(strides: Strides) -> Strides:
    return (0,) * len(strides)


# ---- choosing


def _gather(binding: Binding) -> list[Call]:
    x, indices = binding.inputs
    axis = binding.op.axis % x.spec.ndim
    along_x = _replaced(x.strides, axis, _still(indices.strides))
    along_i = _replaced(_still(x.strides), axis, indices.strides)
    taken = take_calls(x, along_x, IndexedAxis.of(x, axis), indices, along_i, binding.output)
    return [*_checked(binding), *taken]


def _take_along_axis(binding: Binding) -> list[Call]:
    x, indices = binding.inputs
    axis = binding.op.axis % x.spec.ndim
    along_x = _replaced(x.strides, axis, (0,))
    indexed = IndexedAxis.of(x, axis)
    taken = take_calls(x, along_x, indexed, indices, indices.strides, binding.output)
    return [*_checked(binding), *taken]


# ---- adding


def _sums_workspace(op: Any, inputs: tuple[TensorSpec, ...], context: Context) -> int:
    """16-bit floats are summed in float32."""
    return inputs[0].size * 4 if _is_half(inputs[0]) else 0


def _is_half(spec: TensorSpec) -> bool:
    return spec.dtype in (DType.FLOAT16, DType.BFLOAT16)


def _added(binding: Binding, indices: Moves, updates: Moves, ordered: Sequence[int]) -> list[Call]:
    """The output as a copy of x, and what is then added to it."""
    x, y = binding.inputs[0], binding.output
    axis = binding.op.axis % x.spec.ndim
    others = [a for a in range(x.spec.ndim) if a != axis]
    sums = y
    if _is_half(x.spec):
        (flat,) = carve(binding.workspace, (DType.FLOAT32, x.spec.size))
        sums = part(flat, 0, x.spec.shape, DType.FLOAT32, without_gaps(y))
    return [
        *_checked(binding),
        *copy_calls(x, sums),
        *add_calls(sums, others, IndexedAxis.of(sums, axis), indices, updates, ordered),
        *(copy_calls(sums, y) if sums is not y else ()),
    ]


def _index_add(binding: Binding) -> list[Call]:
    x, indices, updates = binding.inputs
    axis, count = binding.op.axis % x.spec.ndim, indices.spec.ndim
    beside = (*updates.strides[:axis], *updates.strides[axis + count :])
    own = updates.strides[axis : axis + count]
    return _added(
        binding,
        Moves(indices, _still(beside), indices.strides),
        Moves(updates, beside, own),
        indices.spec.shape,
    )


def _scatter_add(binding: Binding) -> list[Call]:
    x, indices, updates = binding.inputs
    axis = binding.op.axis % x.spec.ndim
    where, what = (
        Moves(slot, _replaced(slot.strides, axis, ()), (slot.strides[axis],))
        for slot in (indices, updates)
    )
    return _added(binding, where, what, (indices.spec.shape[axis],))


# ---- one-hot


def _one_hot(binding: Binding) -> list[Call]:
    """Whether the label, the same along the new axis, is the position there."""
    (labels,), y, op = binding.inputs, binding.output, binding.op
    axis = op.axis % y.spec.ndim
    shape = (*labels.spec.shape[:axis], 1, *labels.spec.shape[axis:])
    strides = (*labels.strides[:axis], 0, *labels.strides[axis:])
    repeated = replace(labels, spec=TensorSpec(shape, labels.spec.dtype), strides=strides)
    classes = np.arange(op.classes).reshape(-1, *(1,) * (y.spec.ndim - axis - 1))
    instructions = (
        Instruction(Cast(DType.INT64), (0,)),
        Instruction(Equal(), (2, 1)),
        Instruction(Cast(op.dtype), (3,)),
    )
    return pointwise_calls(Body(2, instructions, (4,)), (repeated, Table(classes)), (y,))


LOWERINGS: Mapping[type, Lowering] = {
    indexing.OneHot: simple(_one_hot),
    **{
        op: replace(simple(calls, workspace=workspace), refusal=_refusal, refused_input=1)
        for op, calls, workspace in (
            (indexing.Gather, _gather, None),
            (indexing.TakeAlongAxis, _take_along_axis, None),
            (indexing.IndexAdd, _index_add, _sums_workspace),
            (indexing.ScatterAdd, _scatter_add, _sums_workspace),
        )
    },
}
