"""The taps of maps along one axis: resizing, padding by content, and their adjoints."""

from __future__ import annotations

import numpy as np

from minigraph.ir.spec import TensorSpec
from minigraph.ops.axis_map import AxisMap, AxisMapAdjoint
from minigraph.ops.pad_modes import PadAxis
from minigraph.ops.resize import AdaptiveMeanAxis, ResizeAxis

AXIS_MAPS = (ResizeAxis, AdaptiveMeanAxis, PadAxis, AxisMapAdjoint)
"""Every op that is such a map."""

TapLists = list[list[tuple[int, float]]]
"""For each output, the sources and weights of its taps."""


def axis_and_taps(op: AxisMap | AxisMapAdjoint, x: TensorSpec) -> tuple[int, TapLists]:
    """The axis of a map or adjoint, and its taps on such an input; one of weight 0 is none."""
    if isinstance(op, AxisMapAdjoint):
        return op.map.axis, _adjoint(_taps(op.map, op.size), op.size)
    return op.axis, _taps(op, x.shape[op.axis])


def _taps(map_: AxisMap, size: int) -> TapLists:
    sources, weights = map_.taps(size)
    given = np.ones(sources.shape) if weights is None else weights
    return [
        [(int(s), float(w)) for s, w in zip(column, weight, strict=True) if w != 0]
        for column, weight in zip(sources.T, given.T, strict=True)
    ]


def _adjoint(taps: TapLists, size: int) -> TapLists:
    """For each input, the outputs that it is a tap of."""
    found: TapLists = [[] for _ in range(size)]
    for output, each in enumerate(taps):
        for source, weight in each:
            found[source].append((output, weight))
    return found
