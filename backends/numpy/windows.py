"""Pooling ops by strided views: one view of the input for each place in the window.

View (u, v) of ``x`` holds, for every window, the element at row u and column v of that window.
Where windows reach into the padding, a view covers fewer windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Any

import numpy as np

from minigraph.backends.numpy.kernel import Binding, Call, in_parallel, leading_blocks
from minigraph.ops.pool import Window


@dataclass(frozen=True, slots=True)
class Place:
    """One place in the window: its number, and the matching slices of input and windows."""

    number: int
    input: tuple[slice, slice]
    windows: tuple[slice, slice]


def places_of(op: Window, size: tuple[int, ...], pooled: tuple[int, ...]) -> Iterator[Place]:
    """The places of a window, row by row, that meet the image in some window."""
    padding = op.explicit_padding(size)
    for row in range(op.kernel[0]):
        for column in range(op.kernel[1]):
            spans = [
                span(offset * dilation - low, stride, length, count)
                for offset, dilation, (low, _), stride, length, count in zip(
                    (row, column), op.dilation, padding, op.stride, size, pooled, strict=True
                )
            ]
            if all(windows.start < windows.stop for _, windows in spans):
                (rows, window_rows), (columns, window_columns) = spans
                number = row * op.kernel[1] + column
                yield Place(number, (rows, columns), (window_rows, window_columns))


def span(offset: int, stride: int, length: int, count: int) -> tuple[slice, slice]:
    """Windows w with 0 <= w * stride + offset < length, and where they lie in the input."""
    first = max(0, ceil(-offset / stride))
    last = min(count, ceil((length - offset) / stride))
    if first >= last:
        return slice(0, 0), slice(0, 0)
    start = first * stride + offset
    return slice(start, start + (last - first - 1) * stride + 1, stride), slice(first, last)


def planes(array: np.ndarray) -> np.ndarray:
    """(N,C,h,w) as (N*C,h,w)."""
    return array.reshape(-1, *array.shape[2:])


PerBlock = Callable[[Any, list[Place], list[np.ndarray], list[np.ndarray]], list[Call]]


def by_planes(
    binding: Binding,
    arrays: list[np.ndarray],
    scratch: list[np.ndarray],
    large: tuple[int, ...],
    pooled: tuple[int, ...],
    calls: PerBlock,
) -> Call:
    """Cut all arrays (N,C,h,w) along their planes, and bind each piece."""
    places = list(places_of(binding.op, large, pooled))
    groups = []
    for block in leading_blocks(planes(arrays[0]).shape):
        groups.append(
            calls(
                binding.op,
                places,
                [planes(array)[block] for array in arrays],
                [planes(array)[block] for array in scratch],
            )
        )
    return in_parallel(binding.workers, groups)


def bind_positions(
    places: list[Place],
    x: np.ndarray,
    y: np.ndarray,
    positions: np.ndarray,
    scratch: list[np.ndarray],
    differs: np.ufunc,
) -> list[Call]:
    """Calls that find, for each window, the first place whose element is the one in ``y``.

    ``differs(element, chosen)`` says that it is another. From the last place to the first, so that
    the first stays. Selections are made by bits: a comparison's 0 or 1 becomes a mask of no or all
    bits, which is exact and several times faster than ``where=``.
    """
    mask, chosen = scratch  # bool, and the positions' dtype
    calls: list[Call] = [partial(positions.fill, 0)]
    zero = np.zeros((), positions.dtype)
    for place in reversed(places):
        here = (slice(None), *place.windows)
        keep, number = chosen[here], np.array(place.number, positions.dtype)
        calls += [
            partial(differs, x[:, *place.input], y[here], out=mask[here]),
            partial(np.copyto, keep, mask[here]),
            # All bits where the element is elsewhere. (Not by np.negative: NumPy 2.4.6 gives wrong
            # numbers for it in place, over elements that lie 16 bytes apart.)
            partial(np.subtract, zero, keep, out=keep),
            partial(np.bitwise_and, positions[here], keep, out=positions[here]),
            partial(np.invert, keep, out=keep),
            partial(np.bitwise_and, keep, number, out=keep),
            partial(np.bitwise_or, positions[here], keep, out=positions[here]),
        ]
    return calls
