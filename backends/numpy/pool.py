"""Pooling by strided views: one view of the input for each place in the window.

View (i, j) of ``x`` holds, for every window, the element at row i and column j of that window.
Where windows reach into the padding, a view covers fewer windows. Selections are made by bits: a
comparison's 0 or 1 becomes a mask of no or all bits, which is exact and several times faster than
``where=``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Any

import numpy as np

from minigraph.backends.numpy.kernel import (
    Binding,
    Call,
    Kernel,
    blocks_of,
    carve,
    carved_bytes,
    in_parallel,
    simple,
)
from minigraph.ir.spec import TensorSpec
from minigraph.ops import pool


@dataclass(frozen=True, slots=True)
class _Place:
    """One place in the window: its number, and the matching slices of input and windows."""

    number: int
    input: tuple[slice, slice]
    windows: tuple[slice, slice]


def _places(op: pool.Window, size: tuple[int, ...], pooled: tuple[int, ...]) -> Iterator[_Place]:
    for row in range(op.kernel[0]):
        for column in range(op.kernel[1]):
            spans = [
                _span(offset - low, stride, length, count)
                for offset, (low, _), stride, length, count in zip(
                    (row, column), op.padding, op.stride, size, pooled, strict=True
                )
            ]
            if all(windows.start < windows.stop for _, windows in spans):
                (rows, window_rows), (columns, window_columns) = spans
                number = row * op.kernel[1] + column
                yield _Place(number, (rows, columns), (window_rows, window_columns))


def _span(offset: int, stride: int, length: int, count: int) -> tuple[slice, slice]:
    """Windows w with 0 <= w * stride + offset < length, and where they lie in the input."""
    first = max(0, ceil(-offset / stride))
    last = min(count, ceil((length - offset) / stride))
    if first >= last:
        return slice(0, 0), slice(0, 0)
    start = first * stride + offset
    return slice(start, start + (last - first - 1) * stride + 1, stride), slice(first, last)


def _planes(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1, *array.shape[2:])


PerBlock = Callable[[Any, list[_Place], list[np.ndarray], list[np.ndarray]], list[Call]]


def _by_planes(
    binding: Binding,
    arrays: list[np.ndarray],
    scratch: list[np.ndarray],
    large: tuple[int, ...],
    pooled: tuple[int, ...],
    calls: PerBlock,
) -> Call:
    """Cut all arrays (N,C,h,w) along their planes, and bind each piece."""
    places = list(_places(binding.op, large, pooled))
    groups = []
    for block in blocks_of(_planes(arrays[0]).shape):
        groups.append(
            calls(
                binding.op,
                places,
                [_planes(array)[block] for array in arrays],
                [_planes(array)[block] for array in scratch],
            )
        )
    return in_parallel(binding.workers, groups)


# ---- max


def _max_workspace(op: pool.MaxPool2d, inputs: tuple[TensorSpec, ...]) -> int:
    pooled = op.infer(*inputs)[1]
    return carved_bytes((pooled.shape, bool), (pooled.shape, pooled.dtype.numpy))


def _bind_max(binding: Binding) -> Call:
    (x,), (y, positions) = binding.inputs, binding.outputs
    assert y is not None
    if positions is None:
        return _by_planes(binding, [y, x], [], x.shape[2:], y.shape[2:], _maxima)
    mask, chosen = carve(binding.workspace, (y.shape, bool), (y.shape, positions.dtype))
    return _by_planes(
        binding, [y, x, positions], [mask, chosen], x.shape[2:], y.shape[2:], _maxima_and_positions
    )


def _maxima(op: Any, places: list[_Place], arrays: list[np.ndarray], _: Any) -> list[Call]:
    y, x = arrays
    lowest = np.array(-np.inf, y.dtype)
    calls: list[Call] = [partial(y.fill, lowest)]
    for place in places:
        target = y[:, *place.windows]
        calls.append(partial(np.maximum, x[:, *place.input], target, out=target))
    return calls


def _maxima_and_positions(
    op: Any, places: list[_Place], arrays: list[np.ndarray], scratch: list[np.ndarray]
) -> list[Call]:
    """From the last place to the first, so that of equal maxima the first one stays."""
    y, x, positions = arrays
    mask, chosen = scratch
    calls = _maxima(op, places, [y, x], None)
    calls.append(partial(positions.fill, 0))
    for place in reversed(places):
        here = (slice(None), *place.windows)
        keep, number = chosen[here], np.array(place.number, positions.dtype)
        calls += [
            partial(np.not_equal, x[:, *place.input], y[here], out=mask[here]),
            partial(np.copyto, keep, mask[here]),
            partial(np.negative, keep, out=keep),  # all bits where the maximum is elsewhere
            partial(np.bitwise_and, positions[here], keep, out=positions[here]),
            partial(np.invert, keep, out=keep),
            partial(np.bitwise_and, keep, number, out=keep),
            partial(np.bitwise_or, positions[here], keep, out=positions[here]),
        ]
    return calls


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
    return _by_planes(binding, arrays, scratch, gx.shape[2:], gy.shape[2:], _scatter)


def _select(
    place: _Place, source: np.ndarray, positions: np.ndarray, mask: np.ndarray, bits: np.ndarray
) -> list[Call]:
    """bits = source where the position is this place, else 0."""
    number = np.array(place.number, positions.dtype)
    return [
        partial(np.equal, positions, number, out=mask),
        partial(np.copyto, bits, mask.view(np.int8)),
        partial(np.negative, bits, out=bits),
        partial(np.bitwise_and, bits, source.view(bits.dtype), out=bits),
    ]


def _scatter(
    op: pool.Window, places: list[_Place], arrays: list[np.ndarray], scratch: list[np.ndarray]
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
    return _by_planes(binding, arrays, scratch, x.shape[2:], y.shape[2:], _gather)


def _gather(
    op: Any, places: list[_Place], arrays: list[np.ndarray], scratch: list[np.ndarray]
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
    factors = []
    for k, s, (low, high), length, count in zip(
        op.kernel, op.stride, op.padding, size, pooled, strict=True
    ):
        starts = np.arange(count) * s - low
        if op.count_include_pad:
            lengths = np.minimum(starts + k, length + high) - starts
        else:
            lengths = np.minimum(starts + k, length) - np.maximum(starts, 0)
        factors.append(1.0 / lengths)
    return factors[0].astype(dtype)[:, None], factors[1].astype(dtype)[None, :]


def _bind_average(binding: Binding) -> Call:
    (x,), y = binding.inputs, binding.output
    return _by_planes(binding, [y, x], [], x.shape[2:], y.shape[2:], _average)


def _average(
    op: pool.AvgPool2d, places: list[_Place], arrays: list[np.ndarray], _: Any
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
    return _by_planes(binding, [gx, gy], scratch, gx.shape[2:], gy.shape[2:], _average_grad)


def _average_grad(
    op: pool.AvgPool2dGrad,
    places: list[_Place],
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
