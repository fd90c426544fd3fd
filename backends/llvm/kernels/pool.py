"""Max and average pooling with their gradients: vectors of channels, pixel by pixel.

Every output element is computed by one thread in a fixed order: the gradients do not scatter, but
let each element of the image gather from the windows that cover it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minigraph.backends.llvm.call import Binding, Call, Lowering, simple
from minigraph.backends.llvm.kernels.max_pool import (
    max_pool_calls,
    selected_sum_calls,
    tiled_scatter_calls,
    windows_tile,
)
from minigraph.backends.llvm.kernels.taps import as_word, plane_sum_calls
from minigraph.backends.llvm.kernels.windows import by_element, by_window, meetings
from minigraph.ops import pool


def _max_pool(binding: Binding) -> list[Call]:
    (x,), (y, positions), op = binding.inputs, binding.outputs, binding.op
    assert y is not None
    return max_pool_calls(op, x, y, positions, (op.kernel[1], 1))


def _scatter(binding: Binding) -> list[Call]:
    (gy, positions), gx, op = binding.inputs, binding.output, binding.op
    if windows_tile(op, gx.spec.shape[2:], gy.spec.shape[2:]):
        return tiled_scatter_calls(op, gy, positions, gx)
    lists = []
    for axis in (0, 1):
        size, windows = gx.spec.shape[2 + axis], gy.spec.shape[2 + axis]
        found = meetings(op, axis, gx.spec.shape[2:], windows)
        number = (op.kernel[1], 1)[axis]
        steps = gy.strides[2 + axis], positions.strides[2 + axis]
        lists.append(
            [
                [(m.window * steps[0], m.window * steps[1], m.place * number) for m in taps]
                for taps in by_element(found, size)
            ]
        )
    return selected_sum_calls(gy, positions, (0, 0), gx, lists)


def _gather(binding: Binding) -> list[Call]:
    (x, positions), y, op = binding.inputs, binding.output, binding.op
    lists = []
    for axis in (0, 1):
        windows = y.spec.shape[2 + axis]
        found = meetings(op, axis, x.spec.shape[2:], windows)
        number, step = (op.kernel[1], 1)[axis], x.strides[2 + axis]
        lists.append(
            [
                [(m.element * step, 0, m.place * number) for m in taps]
                for taps in by_window(found, windows)
            ]
        )
    return selected_sum_calls(x, positions, positions.strides[2:], y, lists)


def _weights(op: Any, axis: int, size: Sequence[int], windows: int) -> list[float]:
    """One over the number of elements that count along an axis of each window.

    The product of both axes' is what the window's sum is multiplied by.
    """
    if op.divisor is not None:
        return [1.0 / op.divisor if axis == 0 else 1.0] * windows
    low, high = op.explicit_padding(size)[axis]
    first, end = (-low, size[axis] + high) if op.count_include_pad else (0, size[axis])
    places = np.arange(op.kernel[axis]) * op.dilation[axis]
    elements = np.arange(windows)[:, None] * op.stride[axis] - low + places
    return [1.0 / n for n in ((elements >= first) & (elements < end)).sum(axis=1)]


def _average(binding: Binding) -> list[Call]:
    (x,), y, op = binding.inputs, binding.output, binding.op
    lists = []
    for axis in (0, 1):
        windows, step = y.spec.shape[2 + axis], x.strides[2 + axis]
        found = meetings(op, axis, x.spec.shape[2:], windows)
        weights = _weights(op, axis, x.spec.shape[2:], windows)
        lists.append(
            [
                [(m.element * step, as_word(weights[m.window])) for m in taps]
                for taps in by_window(found, windows)
            ]
        )
    return plane_sum_calls(x, x.strides[:2], y, lists, weighted=True)


def _average_grad(binding: Binding) -> list[Call]:
    (gy,), gx, op = binding.inputs, binding.output, binding.op
    lists = []
    for axis in (0, 1):
        size, windows = gx.spec.shape[2 + axis], gy.spec.shape[2 + axis]
        step = gy.strides[2 + axis]
        found = meetings(op, axis, gx.spec.shape[2:], windows)
        weights = _weights(op, axis, gx.spec.shape[2:], windows)
        lists.append(
            [
                [(m.window * step, as_word(weights[m.window])) for m in taps]
                for taps in by_element(found, size)
            ]
        )
    return plane_sum_calls(gy, gy.strides[:2], gx, lists, weighted=True)


LOWERINGS: Mapping[type, Lowering] = {
    pool.MaxPool2d: simple(_max_pool),
    pool.MaxPool2dScatter: simple(_scatter),
    pool.MaxPool2dGather: simple(_gather),
    pool.AvgPool2d: simple(_average),
    pool.AvgPool2dGrad: simple(_average_grad),
}
