"""Resizing, padding by content and their adjoints: few taps an output, along one axis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minigraph.backend import Slot
from minigraph.backends.llvm.call import Binding, Call, Lowering, simple
from minigraph.backends.llvm.kernels.copy import fill_calls
from minigraph.backends.llvm.kernels.taps import TapSum, as_word, tap_table
from minigraph.ir.spec import DType
from minigraph.iteration import collapse
from minigraph.lowering.taps import AXIS_MAPS, axis_and_taps


def _calls(binding: Binding) -> list[Call]:
    (x,), y = binding.inputs, binding.output
    if y.spec.size == 0:
        return []
    if x.spec.size == 0:
        return fill_calls(y, 0.0)
    axis, taps = axis_and_taps(binding.op, x.spec)
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


LOWERINGS: Mapping[type, Lowering] = dict.fromkeys(AXIS_MAPS, simple(_calls))
