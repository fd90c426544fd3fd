"""Resizing, padding by content and their adjoints: few taps an output, along one axis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from minigraph.backend import Slot
from minigraph.backends.llvm.call import Binding, Call, Lowering, simple
from minigraph.backends.llvm.kernels.fill import fill_calls
from minigraph.backends.llvm.kernels.taps import TapSum, as_word, tap_table
from minigraph.ir.spec import DType
from minigraph.iteration import collapse
from minigraph.ops.axis_map import AxisMap, AxisMapAdjoint
from minigraph.ops.pad_modes import PadAxis
from minigraph.ops.resize import AdaptiveMeanAxis, ResizeAxis

Lists = list[list[tuple[int, float]]]
"""For each output, the sources and weights of its taps."""


def _taps(map_: AxisMap, size: int) -> Lists:
    """The taps of a map for an input of this size; one of weight 0 is none."""
    sources, weights = map_.taps(size)
    given = np.ones(sources.shape) if weights is None else weights
    return [
        [(int(s), float(w)) for s, w in zip(column, weight, strict=True) if w != 0]
        for column, weight in zip(sources.T, given.T, strict=True)
    ]


def _adjoint(taps: Lists, size: int) -> Lists:
    """For each input, the outputs that it is a tap of."""
    found: Lists = [[] for _ in range(size)]
    for output, each in enumerate(taps):
        for source, weight in each:
            found[source].append((output, weight))
    return found


def _map(binding: Binding) -> list[Call]:
    op, axis = binding.op, binding.op.axis
    return _calls(binding, axis, _taps(op, binding.inputs[0].spec.shape[axis]))


def _map_adjoint(binding: Binding) -> list[Call]:
    op: AxisMapAdjoint = binding.op
    return _calls(binding, op.map.axis, _adjoint(_taps(op.map, op.size), op.size))


def _calls(binding: Binding, axis: int, taps: Lists) -> list[Call]:
    (x,), y = binding.inputs, binding.output
    if y.spec.size == 0:
        return []
    if x.spec.size == 0:
        return fill_calls(y, 0.0)
    shape, x_strides, y_strides = (_without(v, axis) for v in (y.spec.shape, x.strides, y.strides))
    space = collapse(shape, [x_strides, y_strides])
    (*x_outer, x_inner), (*y_outer, y_inner) = space.strides
    weighted = any(weight != 1 for each in taps for _, weight in each)
    step = x.strides[axis]
    words = [
        [(s * step, as_word(w)) if weighted else (s * step,) for s, w in each] for each in taps
    ]
    adjacent = space.sizes[-1] > 1 and x_inner == y_inner == 1
    code = TapSum(_summed_as(y), len(x_outer), 1, weighted, adjacent)
    sizes = (
        *(*space.sizes[:-1], len(taps), space.sizes[-1]),
        *(*x_outer, x_inner),
        *(*y_outer, y.strides[axis], y_inner),
    )
    return [Call(code, (tap_table(words, 2 if weighted else 1), x), (y,), sizes)]


def _without(values: Any, axis: int) -> tuple[int, ...]:
    return (*values[:axis], *values[axis + 1 :])


def _summed_as(slot: Slot) -> DType:
    """Bools are only moved: as bytes."""
    return DType.UINT8 if slot.spec.dtype is DType.BOOL else slot.spec.dtype


LOWERINGS: Mapping[type, Lowering] = {
    ResizeAxis: simple(_map),
    AdaptiveMeanAxis: simple(_map),
    PadAxis: simple(_map),
    AxisMapAdjoint: simple(_map_adjoint),
}
