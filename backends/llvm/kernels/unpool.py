"""Max pooling with flat positions, and what moves elements by them."""

from __future__ import annotations

from collections.abc import Mapping

from minigraph.backends.llvm.call import Binding, Call, Lowering, simple
from minigraph.backends.llvm.kernels.copy import copy_calls, fill_calls
from minigraph.backends.llvm.kernels.indexed import (
    add_calls,
    check_calls,
    plane_of,
    take_calls,
)
from minigraph.backends.llvm.kernels.max_pool import max_pool_calls
from minigraph.lowering.indexing import Moves
from minigraph.lowering.sums import sums_of
from minigraph.lowering.unpool import unpool_lowerings
from minigraph.ops import unpool


def _pool(binding: Binding) -> list[Call]:
    (x,), (y, positions) = binding.inputs, binding.outputs
    assert y is not None
    return max_pool_calls(binding.op, x, y, positions, (x.spec.shape[3], 1), flat=True)


# ---- by flat position


def _unpool(binding: Binding) -> list[Call]:
    (x, positions), y = binding.inputs, binding.output
    sums = sums_of(y, binding.workspace)
    plane = plane_of(sums)
    where, what = (Moves(slot, slot.strides[:2], slot.strides[2:]) for slot in (positions, x))
    return [
        *check_calls(positions, 0, plane.count),
        *fill_calls(sums, 0.0),
        *add_calls(sums, (0, 1), plane, where, what, x.spec.shape[2:]),
        *(copy_calls(sums, y) if sums is not y else ()),
    ]


def _take(binding: Binding) -> list[Call]:
    (x, positions), y = binding.inputs, binding.output
    plane = plane_of(x)
    along_x = (*x.strides[:2], 0, 0)
    taken = take_calls(x, along_x, plane, positions, positions.strides, y)
    return [*check_calls(positions, 0, plane.count), *taken]


LOWERINGS: Mapping[type, Lowering] = {
    unpool.MaxPool2dWithPositions: simple(_pool),
    **unpool_lowerings(simple, _unpool, _take),
}
