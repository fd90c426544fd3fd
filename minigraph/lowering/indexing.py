"""Gather, take along an axis, their adjoints, and one-hot.

Indices are checked before they are used: the kernels after that clamp what they read, so that
nothing beyond a tensor is touched in a call that is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic

import numpy as np

from minigraph.backend import Slot, Strides
from minigraph.ir.errors import IllegalIndexError
from minigraph.ir.spec import DType, TensorSpec
from minigraph.lowering.call import BindingT, BoundStep, CallT, ContextT, Lowering, OneAlgorithm
from minigraph.lowering.elementwise import Pointwise
from minigraph.lowering.moves import Copy
from minigraph.lowering.sums import sums_bytes, sums_of
from minigraph.ops import indexing
from minigraph.ops.elementwise import Cast, Equal
from minigraph.ops.fused import Body, Instruction
from minigraph.places import Table


@dataclass(frozen=True, slots=True)
class IndexedAxis:
    """The axis that indices are of."""

    count: int
    step: int  # in memory

    @staticmethod
    def of(slot: Slot, axis: int) -> IndexedAxis:
        return IndexedAxis(slot.spec.shape[axis], slot.strides[axis])


@dataclass(frozen=True, slots=True)
class Moves:
    """An operand's strides: along the axes of y but the indexed one, and along those in order."""

    slot: Slot
    shared: Strides
    ordered: Strides


@dataclass(frozen=True)
class IndexKernels(Generic[CallT]):
    """What a backend brings, and the calls that ops become by it."""

    check: Callable[[Slot, int, int], Sequence[CallT]]
    """Refuse the indices outside of [lowest, count)."""
    take: Callable[[Slot, Strides, IndexedAxis, Slot, Strides, Slot], Sequence[CallT]]
    """Of x, its strides, the axis, indices, their strides, y: elements of x along an axis. Strides
    are along the axes of y, 0 where nothing moves."""
    add: Callable[[Slot, Sequence[int], IndexedAxis, Moves, Moves, Sequence[int]], Sequence[CallT]]
    """Of y, its other axes, the axis, indices, updates, the sizes of the axes in whose order these
    are added to y."""
    copy: Copy[CallT]

    # ---- choosing

    def gather(self, binding: BoundStep) -> list[CallT]:
        x, indices = binding.inputs
        axis = binding.op.axis % x.spec.ndim
        along_x = _replaced(x.strides, axis, _still(indices.strides))
        along_i = _replaced(_still(x.strides), axis, indices.strides)
        indexed = IndexedAxis.of(x, axis)
        taken = self.take(x, along_x, indexed, indices, along_i, binding.output)
        return [*self._checked(binding), *taken]

    def take_along_axis(self, binding: BoundStep) -> list[CallT]:
        x, indices = binding.inputs
        axis = binding.op.axis % x.spec.ndim
        along_x = _replaced(x.strides, axis, (0,))
        indexed = IndexedAxis.of(x, axis)
        taken = self.take(x, along_x, indexed, indices, indices.strides, binding.output)
        return [*self._checked(binding), *taken]

    # ---- adding

    def index_add(self, binding: BoundStep) -> list[CallT]:
        x, indices, updates = binding.inputs
        axis, count = binding.op.axis % x.spec.ndim, indices.spec.ndim
        beside = (*updates.strides[:axis], *updates.strides[axis + count :])
        own = updates.strides[axis : axis + count]
        return self._added(
            binding,
            Moves(indices, _still(beside), indices.strides),
            Moves(updates, beside, own),
            indices.spec.shape,
        )

    def scatter_add(self, binding: BoundStep) -> list[CallT]:
        x, indices, updates = binding.inputs
        axis = binding.op.axis % x.spec.ndim
        where, what = (
            Moves(slot, _replaced(slot.strides, axis, ()), (slot.strides[axis],))
            for slot in (indices, updates)
        )
        return self._added(binding, where, what, (indices.spec.shape[axis],))

    def _added(
        self, binding: BoundStep, indices: Moves, updates: Moves, ordered: Sequence[int]
    ) -> list[CallT]:
        """The output as a copy of x, and what is then added to it."""
        x, y = binding.inputs[0], binding.output
        axis = binding.op.axis % x.spec.ndim
        others = [a for a in range(x.spec.ndim) if a != axis]
        sums = sums_of(y, binding.workspace)
        return [
            *self._checked(binding),
            *self.copy(x, sums),
            *self.add(sums, others, IndexedAxis.of(sums, axis), indices, updates, ordered),
            *(self.copy(sums, y) if sums is not y else ()),
        ]

    def _checked(self, binding: BoundStep) -> Sequence[CallT]:
        x, indices = binding.inputs[:2]
        size = x.spec.shape[binding.op.axis % x.spec.ndim]
        return self.check(indices, -size, size)


def _replaced(strides: Strides, axis: int, inner: Strides) -> Strides:
    """The strides with one axis's replaced by these."""
    return (*strides[:axis], *inner, *strides[axis + 1 :])


def _still(strides: Strides) -> Strides:
    return (0,) * len(strides)


def indexing_lowerings(
    simple: OneAlgorithm[ContextT, BindingT, CallT], kernels: IndexKernels[CallT]
) -> dict[type, Lowering[ContextT, BindingT, CallT]]:
    """The ops that choose elements by indices, and that add to chosen ones."""
    lowerings = {
        indexing.Gather: simple(kernels.gather),
        indexing.TakeAlongAxis: simple(kernels.take_along_axis),
        indexing.IndexAdd: simple(kernels.index_add, workspace=_sums_workspace),
        indexing.ScatterAdd: simple(kernels.scatter_add, workspace=_sums_workspace),
    }
    return {
        op: replace(lowering, refusal=_refusal, refused_input=1)
        for op, lowering in lowerings.items()
    }


def _sums_workspace(op: Any, inputs: tuple[TensorSpec, ...], context: Any) -> int:
    return sums_bytes(inputs[0])


def _refusal(op: Any, inputs: Sequence[Slot], position: int, value: int) -> IllegalIndexError:
    x, indices = inputs[0].spec, inputs[1].spec
    axis = op.axis % x.ndim
    size = x.shape[axis]
    place = [int(i) for i in np.unravel_index(position, indices.shape)]
    return IllegalIndexError(
        f"Expected an index in [{-size}, {size}) for axis {axis}, got {value}"
        f"{f' at {place} of the indices' if place else ''}"
    )


# ---- one-hot


def one_hot_lowering(
    simple: OneAlgorithm[ContextT, BindingT, CallT], pointwise: Pointwise[CallT]
) -> Lowering[ContextT, BindingT, CallT]:
    """Whether the label, the same along the new axis, is the position there."""

    def calls(binding: BoundStep) -> Sequence[CallT]:
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
        return pointwise(Body(2, instructions, (4,)), (repeated, Table(classes)), (y,))

    return simple(calls)
