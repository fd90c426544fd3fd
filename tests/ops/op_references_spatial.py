"""Pooling, resizing and unfolding from their definitions, element by element in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]
Places = list[list[tuple[int, int]]]  # for each window: (number within it, place in the image)

NO_PADDING: Padding = ((0, 0), (0, 0))


def axis_windows(
    size: int, kernel: int, stride: int, padding: Pair, dilation: int, ceil_mode: bool
) -> Places:
    """The windows of one axis. Padding has places, too, outside of [0, size)."""
    found = []
    start = -padding[0]
    while True:
        places = [start + u * dilation for u in range(kernel)]
        fits = places[-1] < size + padding[1]
        begins = start < size and (places[-1] - (stride - 1) < size + padding[1])
        if not (fits or (ceil_mode and begins)):
            return found
        found.append(list(enumerate(places)))
        start += stride


def windows(
    size: Pair,
    kernel: Pair,
    stride: Pair,
    padding: Padding = NO_PADDING,
    dilation: Pair = (1, 1),
    ceil_mode: bool = False,
) -> dict[Pair, list[tuple[int, Pair]]]:
    """For each window all places: (number within the window, (row, column))."""
    rows, columns = (
        axis_windows(*axis, ceil_mode)
        for axis in zip(size, kernel, stride, padding, dilation, strict=True)
    )
    return {
        (i, j): [
            (u * kernel[1] + v, (row, column))
            for (u, row), (v, column) in product(rows[i], columns[j])
        ]
        for i, j in product(range(len(rows)), range(len(columns)))
    }


def inside(size: Pair, place: Pair) -> bool:
    return 0 <= place[0] < size[0] and 0 <= place[1] < size[1]


def pooled(x: np.ndarray, found: dict[Pair, list[tuple[int, Pair]]]) -> np.ndarray:
    rows, columns = max(found)
    return np.zeros((*x.shape[:2], rows + 1, columns + 1))


def max_pool(x: np.ndarray, *window: object) -> tuple[np.ndarray, np.ndarray]:
    """Maxima and their flat positions."""
    size = x.shape[2:]
    found = windows(size, *window)
    y = pooled(x, found)
    positions = np.zeros(y.shape, np.int64)
    for (i, j), places in found.items():
        here = [place for _, place in places if inside(size, place)]
        values = np.stack([x[:, :, row, column] for row, column in here])
        y[:, :, i, j] = values.max(axis=0)
        flat = np.array([row * size[1] + column for row, column in here])
        positions[:, :, i, j] = flat[values.argmax(axis=0)]
    return y, positions


def avg_pool(
    x: np.ndarray,
    kernel: Pair,
    stride: Pair,
    padding: Padding = NO_PADDING,
    dilation: Pair = (1, 1),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor: int | None = None,
) -> np.ndarray:
    """Sums of the windows by the number of places that count."""
    size = x.shape[2:]
    found = windows(size, kernel, stride, padding, dilation, ceil_mode)
    y = pooled(x, found)
    for (i, j), places in found.items():
        here = [place for _, place in places if inside(size, place)]
        borders = [
            (row, column)
            for _, (row, column) in places
            if row < size[0] + padding[0][1] and column < size[1] + padding[1][1]
        ]
        count = divisor or (len(borders) if count_include_pad else len(here))
        y[:, :, i, j] = sum(x[:, :, row, column] for row, column in here) / count
    return y


def lp_pool(x: np.ndarray, power: int, *window: object) -> np.ndarray:
    return avg_pool(np.abs(x) ** power, *window, divisor=1) ** (1 / power)


def unpool(y: np.ndarray, positions: np.ndarray, size: Pair) -> np.ndarray:
    x = np.zeros((*y.shape[:2], size[0] * size[1]))
    for index in np.ndindex(*y.shape):
        x[*index[:2], positions[index]] += y[index]
    return x.reshape(*y.shape[:2], *size)


def take(x: np.ndarray, positions: np.ndarray) -> np.ndarray:
    y = np.zeros(positions.shape)
    for index in np.ndindex(*y.shape):
        y[index] = x[*index[:2], *divmod(int(positions[index]), x.shape[3])]
    return y


def median_filter(x: np.ndarray, kernel: Pair, mode: str) -> np.ndarray:
    """``mode`` is NumPy's name of the padding."""
    rows, columns = kernel[0] // 2, kernel[1] // 2
    padded = np.pad(x, [(0, 0), (0, 0), (rows, rows), (columns, columns)], mode=mode)
    y = np.zeros(x.shape)
    for i, j in np.ndindex(*x.shape[2:]):
        y[:, :, i, j] = np.median(padded[:, :, i : i + kernel[0], j : j + kernel[1]], (2, 3))
    return y


def unfold(x: np.ndarray, *window: object) -> np.ndarray:
    """(N, C, places, windows) as (N, C * places, windows)."""
    found = windows(x.shape[2:], *window)
    y = np.zeros((*x.shape[:2], len(next(iter(found.values()))), len(found)))
    for number, places in enumerate(found.values()):
        for u, (row, column) in places:
            if inside(x.shape[2:], (row, column)):
                y[:, :, u, number] = x[:, :, row, column]
    return y.reshape(x.shape[0], -1, len(found))


def fold(columns: np.ndarray, size: Pair, *window: object) -> np.ndarray:
    found = windows(size, *window)
    count = len(next(iter(found.values())))
    by_place = columns.reshape(columns.shape[0], -1, count, len(found))
    x = np.zeros((*by_place.shape[:2], *size))
    for number, places in enumerate(found.values()):
        for u, (row, column) in places:
            if inside(size, (row, column)):
                x[:, :, row, column] += by_place[:, :, u, number]
    return x


def locally_connected(x: np.ndarray, w: np.ndarray, *window: object) -> np.ndarray:
    found = windows(x.shape[2:], w.shape[4:], *window)
    y = np.zeros((x.shape[0], w.shape[2], *w.shape[:2]))
    for (i, j), places in found.items():
        for u, (row, column) in places:
            if inside(x.shape[2:], (row, column)):
                weight = w[i, j].reshape(*w.shape[2:4], -1)[:, :, u]
                y[:, :, i, j] += x[:, :, row, column] @ weight.T
    return y


def coordinate(o: int, inputs: int, outputs: int, scale: float, kind: str) -> float:
    """Where output ``o`` lies: ONNX's formulas."""
    if kind == "align_corners":
        return 0.0 if outputs == 1 else o * (inputs - 1) / (outputs - 1)
    if kind == "asymmetric":
        return o / scale
    if kind == "pytorch_half_pixel" and outputs == 1:
        return 0.0
    if kind == "half_pixel_symmetric":
        adjustment = outputs / (scale * inputs)
        return inputs / 2 * (1 - adjustment) + (o + 0.5) / scale - 0.5
    return (o + 0.5) / scale - 0.5


def rounded(place: float, rounding: str) -> int:
    low = math.floor(place)
    if place == low or rounding == "floor":
        return low
    if rounding == "ceil":
        return low + 1
    if place - low == 0.5:
        return low if rounding == "round_prefer_floor" else low + 1
    return round(place)


def resize_axis(
    x: np.ndarray,
    axis: int,
    outputs: int,
    scale: float | None = None,
    mode: str = "nearest",
    coordinates: str = "half_pixel",
    rounding: str = "round_prefer_floor",
) -> np.ndarray:
    inputs = x.shape[axis]
    factor = outputs / inputs if scale is None else scale
    rows = []
    for o in range(outputs):
        place = coordinate(o, inputs, outputs, factor, coordinates)
        if mode == "nearest":
            rows.append(x.take(min(max(rounded(place, rounding), 0), inputs - 1), axis))
        else:
            place = min(max(place, 0.0), inputs - 1.0)
            low = int(place)
            high = min(low + 1, inputs - 1)
            rows.append((low + 1 - place) * x.take(low, axis) + (place - low) * x.take(high, axis))
    return np.stack(rows, axis)


def resize(x: np.ndarray, size: Pair, scale: tuple[float, float] | None = None, *how: str) -> Any:
    factors = scale or (None, None)
    return resize_axis(resize_axis(x, 2, size[0], factors[0], *how), 3, size[1], factors[1], *how)


def adaptive_mean(x: np.ndarray, size: Pair) -> np.ndarray:
    def spans(n: int, m: int) -> list[slice]:
        return [slice(math.floor(o * n / m), math.ceil((o + 1) * n / m)) for o in range(m)]

    rows, columns = (spans(*axis) for axis in zip(x.shape[2:], size, strict=True))
    means = [[x[:, :, row, column].mean((2, 3)) for column in columns] for row in rows]
    return np.array(means).transpose(2, 3, 0, 1)


def adjoint(function: Callable[[np.ndarray], np.ndarray], shape: tuple[int, ...]) -> Callable:
    """The adjoint of a linear function of arrays of ``shape``, by its matrix."""

    def transposed(gy: np.ndarray) -> np.ndarray:
        gx = np.zeros(shape)
        for index in np.ndindex(*shape):
            one = np.zeros(shape)
            one[index] = 1.0
            gx[index] = (function(one) * gy).sum()
        return gx

    return transposed
