"""Max and average pooling: one strided view of the input for each place in the window.

Selections are made by bits: a comparison's 0 or 1 becomes a mask of no or all bits, which is
exact and several times faster than ``where=``.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from minigraph.backends.numpy.kernel import Binding, Call, Kernel, carve, carved_bytes, simple
from minigraph.backends.numpy.windows import Place, bind_positions, by_planes
from minigraph.ir.spec import TensorSpec
from minigraph.ops import pool

# ---- max


def _max_workspace(op: pool.MaxPool2d, inputs: tuple[TensorSpec, ...]) -> int:
    pooled = op.infer(*inputs)[1]
    return carved_bytes((pooled.shape, bool), (pooled.shape, pooled.dtype.numpy))


def _bind_max(binding: Binding) -> Call:
    (x,), (y, positions) = binding.inputs, binding.outputs
    assert y is not None
    if positions is None:
        return by_planes(binding, [y, x], [], x.shape[2:], y.shape[2:], maxima)
    mask, chosen = carve(binding.workspace, (y.shape, bool), (y.shape, positions.dtype))
    return by_planes(
        binding, [y, x, positions], [mask, chosen], x.shape[2:], y.shape[2:], maxima_and_positions
    )


def maxima(op: Any, places: list[Place], arrays: list[np.ndarray], _: Any) -> list[Call]:
    """y = the windows' maxima of x."""
    y, x = arrays
    lowest = np.array(-np.inf, y.dtype)
    calls: list[Call] = [partial(y.fill, lowest)]
    for place in places:
        target = y[:, *place.windows]
        calls.append(partial(np.maximum, x[:, *place.input], target, out=target))
    return calls


def maxima_and_positions(
    op: Any, places: list[Place], arrays: list[np.ndarray], scratch: list[np.ndarray]
) -> list[Call]:
    """And the first place of each; nothing is less than NaN: there it is the first in the image."""
    y, x, positions = arrays
    calls = maxima(op, places, [y, x], None)
    return [*calls, *bind_positions(places, x, y, positions, scratch, np.less)]


# ---- by position


def _selection_parts(windows: tuple[int, ...], dtype: Any) -> tuple[tuple[Any, Any], ...]:
    bits = np.dtype(f"i{np.dtype(dtype).itemsize}")
    return (windows, bool), (windows, bits)


def _by_position_workspace(op: Any, inputs: tuple[TensorSpec, ...]) -> int:
    x, positions = inputs
    return carved_bytes(*_selection_parts(positions.shape, x.dtype.numpy))


def _bind_scatter(binding: Binding) -> Call:
    (gy, positions), gx = binding.inputs, binding.output
    scratch = carve(binding.workspace, *_selection_parts(gy.shape, gy.dtype))
    arrays = [gx, gy, positions]
    return by_planes(binding, arrays, scratch, gx.shape[2:], gy.shape[2:], _scatter)


def _select(
    place: Place, source: np.ndarray, positions: np.ndarray, mask: np.ndarray, bits: np.ndarray
) -> list[Call]:
    """bits = source where the position is this place, else 0."""
    number = np.array(place.number, positions.dtype)
    return [
        partial(np.equal, positions, number, out=mask),
        partial(np.copyto, bits, mask.view(np.int8)),
        partial(np.subtract, np.zeros((), bits.dtype), bits, out=bits),  # see windows.py
        partial(np.bitwise_and, bits, source.view(bits.dtype), out=bits),
    ]


def _scatter(
    op: pool.Window, places: list[Place], arrays: list[np.ndarray], scratch: list[np.ndarray]
) -> list[Call]:
    gx, gy, positions = arrays
    mask, bits = scratch
    calls: list[Call] = [partial(gx.fill, 0)]
    for place in places:
        here = (slice(None), *place.windows)
        target = gx[:, *place.input]
        calls += _select(place, gy[here], positions[here], mask[here], bits[here])
        calls.append(partial(np.add, target, bits[here].view(gx.dtype), out=target))
    return calls


def _bind_gather(binding: Binding) -> Call:
    (x, positions), y = binding.inputs, binding.output
    scratch = carve(binding.workspace, *_selection_parts(y.shape, y.dtype))
    arrays = [y, x, positions]
    return by_planes(binding, arrays, scratch, x.shape[2:], y.shape[2:], _gather)


def _gather(
    op: Any, places: list[Place], arrays: list[np.ndarray], scratch: list[np.ndarray]
) -> list[Call]:
    y, x, positions = arrays
    mask, bits = scratch
    calls: list[Call] = [partial(y.fill, 0)]
    for place in places:
        here = (slice(None), *place.windows)
        calls += _select(place, x[:, *place.input], positions[here], mask[here], bits[here])
        calls.append(partial(np.add, y[here], bits[here].view(y.dtype), out=y[here]))
    return calls


# ---- average


def _divisors(
    op: pool.AvgPool2d | pool.AvgPool2dGrad,
    size: tuple[int, ...],
    pooled: tuple[int, ...],
    dtype: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """One over the number of elements in each window's row and column; their product counts."""
    if op.divisor is not None:
        return np.full((1, 1), 1.0 / op.divisor, dtype), np.ones((1, 1), dtype)
    factors = []
    for k, s, d, (low, high), length, count in zip(
        op.kernel, op.stride, op.dilation, op.explicit_padding(size), size, pooled, strict=True
    ):
        elements = np.arange(count)[:, None] * s - low + np.arange(k) * d
        end = length + high if op.count_include_pad else length
        start = -low if op.count_include_pad else 0
        factors.append(1.0 / ((elements >= start) & (elements < end)).sum(axis=1))
    return factors[0].astype(dtype)[:, None], factors[1].astype(dtype)[None, :]


def _bind_average(binding: Binding) -> Call:
    (x,), y = binding.inputs, binding.output
    return by_planes(binding, [y, x], [], x.shape[2:], y.shape[2:], _average)


def _average(
    op: pool.AvgPool2d, places: list[Place], arrays: list[np.ndarray], _: Any
) -> list[Call]:
    y, x = arrays
    calls: list[Call] = [partial(y.fill, 0)]
    for place in places:
        target = y[:, *place.windows]
        calls.append(partial(np.add, target, x[:, *place.input], out=target))
    for factor in _divisors(op, x.shape[1:], y.shape[1:], y.dtype):
        calls.append(partial(np.multiply, y, factor, out=y))
    return calls


def _average_grad_workspace(op: pool.AvgPool2dGrad, inputs: tuple[TensorSpec, ...]) -> int:
    return carved_bytes((inputs[0].shape, inputs[0].dtype.numpy))


def _bind_average_grad(binding: Binding) -> Call:
    (gy,), gx = binding.inputs, binding.output
    scratch = carve(binding.workspace, (gy.shape, gy.dtype))
    return by_planes(binding, [gx, gy], scratch, gx.shape[2:], gy.shape[2:], _average_grad)


def _average_grad(
    op: pool.AvgPool2dGrad,
    places: list[Place],
    arrays: list[np.ndarray],
    scratch: list[np.ndarray],
) -> list[Call]:
    (gx, gy), (share,) = arrays, scratch
    rows, columns = _divisors(op, gx.shape[1:], gy.shape[1:], gy.dtype)
    calls: list[Call] = [
        partial(np.multiply, gy, rows, out=share),
        partial(np.multiply, share, columns, out=share),
        partial(gx.fill, 0),
    ]
    for place in places:
        target = gx[:, *place.input]
        calls.append(partial(np.add, target, share[:, *place.windows], out=target))
    return calls


KERNELS: dict[type, Kernel] = {
    pool.MaxPool2d: simple(_bind_max, workspace=_max_workspace),
    pool.MaxPool2dScatter: simple(_bind_scatter, workspace=_by_position_workspace),
    pool.MaxPool2dGather: simple(_bind_gather, workspace=_by_position_workspace),
    pool.AvgPool2d: simple(_bind_average),
    pool.AvgPool2dGrad: simple(_bind_average_grad, workspace=_average_grad_workspace),
}
