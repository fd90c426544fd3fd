"""Convolution, pooling and randomness from their definitions, element by element in float64."""

from __future__ import annotations

from itertools import product

import numpy as np

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]

NO_PADDING: Padding = ((0, 0), (0, 0))


def out_size(size: int, kernel: int, stride: int, padding: Pair, dilation: int) -> int:
    """How many times a (dilated) window fits."""
    count = 0
    while count * stride + (kernel - 1) * dilation < size + padding[0] + padding[1]:
        count += 1
    return count


def conv2d(
    x: np.ndarray,
    w: np.ndarray,
    stride: Pair = (1, 1),
    padding: Padding = NO_PADDING,
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> np.ndarray:
    """``y[n,k,i,j] = sum_{c,u,v} w[k,c,u,v] x[n, c, i s + u d - p, j s + v d - p]``"""
    outputs, inputs_per_group, *kernel = w.shape
    sizes = [
        out_size(*axis) for axis in zip(x.shape[2:], kernel, stride, padding, dilation, strict=True)
    ]
    y = np.zeros((x.shape[0], outputs, *sizes))
    for k, i, j, u, v in product(*map(range, (outputs, *sizes, *kernel))):
        row = i * stride[0] + u * dilation[0] - padding[0][0]
        column = j * stride[1] + v * dilation[1] - padding[1][0]
        if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
            first = k // (outputs // groups) * inputs_per_group
            for c in range(inputs_per_group):
                y[:, k, i, j] += w[k, c, u, v] * x[:, first + c, row, column]
    return y


def conv_transpose2d(
    x: np.ndarray,
    w: np.ndarray,
    stride: Pair = (1, 1),
    padding: Padding = NO_PADDING,
    dilation: Pair = (1, 1),
    groups: int = 1,
    output_padding: Pair = (0, 0),
) -> np.ndarray:
    """Every input element scales a copy of the kernel; copies that overlap add up."""
    channels, outputs_per_group, *kernel = w.shape
    full = [
        (size - 1) * s + d * (k - 1) + 1 + extra
        for size, k, s, d, extra in zip(
            x.shape[2:], kernel, stride, dilation, output_padding, strict=True
        )
    ]
    y = np.zeros((x.shape[0], outputs_per_group * groups, *full))
    for k, i, j, u, v in product(*map(range, (channels, *x.shape[2:], *kernel))):
        first = k // (channels // groups) * outputs_per_group
        row, column = i * stride[0] + u * dilation[0], j * stride[1] + v * dilation[1]
        for c in range(outputs_per_group):
            y[:, first + c, row, column] += w[k, c, u, v] * x[:, k, i, j]
    (top, bottom), (left, right) = padding
    return y[:, :, top : full[0] - bottom, left : full[1] - right]


def conv2d_grad_weight(
    x: np.ndarray,
    gy: np.ndarray,
    kernel: Pair,
    stride: Pair = (1, 1),
    padding: Padding = NO_PADDING,
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> np.ndarray:
    """``gw[k,c,u,v] = sum_{n,i,j} gy[n,k,i,j] x[n, c, i s + u d - p, j s + v d - p]``"""
    outputs, inputs_per_group = gy.shape[1], x.shape[1] // groups
    gw = np.zeros((outputs, inputs_per_group, *kernel))
    for k, i, j, u, v in product(*map(range, (outputs, *gy.shape[2:], *kernel))):
        row = i * stride[0] + u * dilation[0] - padding[0][0]
        column = j * stride[1] + v * dilation[1] - padding[1][0]
        if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
            first = k // (outputs // groups) * inputs_per_group
            for c in range(inputs_per_group):
                gw[k, c, u, v] += (gy[:, k, i, j] * x[:, first + c, row, column]).sum()
    return gw


def windows(
    shape: tuple[int, ...], kernel: Pair, stride: Pair, padding: Padding
) -> dict[Pair, list[tuple[int, Pair]]]:
    """For each window the places inside the image: (number within the window, (row, column))."""
    sizes = [out_size(*axis, 1) for axis in zip(shape[2:], kernel, stride, padding, strict=True)]
    found: dict[Pair, list[tuple[int, Pair]]] = {}
    for i, j in product(*map(range, sizes)):
        found[i, j] = []
        for number, (u, v) in enumerate(product(*map(range, kernel))):
            row, column = i * stride[0] + u - padding[0][0], j * stride[1] + v - padding[1][0]
            if 0 <= row < shape[2] and 0 <= column < shape[3]:
                found[i, j].append((number, (row, column)))
    return found


def pooled(x: np.ndarray, places: dict[Pair, list[tuple[int, Pair]]]) -> np.ndarray:
    """Zeros of the pooled shape."""
    last = max(places)
    return np.zeros((*x.shape[:2], last[0] + 1, last[1] + 1))


def max_pool2d(
    x: np.ndarray, kernel: Pair, stride: Pair, padding: Padding = NO_PADDING
) -> tuple[np.ndarray, np.ndarray]:
    """Maxima and the number of the first place in the window that has it."""
    places = windows(x.shape, kernel, stride, padding)
    y = pooled(x, places)
    positions = np.zeros(y.shape, np.uint8)
    for (i, j), inside in places.items():
        values = np.stack([x[:, :, row, column] for _, (row, column) in inside])
        y[:, :, i, j] = values.max(axis=0)
        positions[:, :, i, j] = np.array([number for number, _ in inside])[values.argmax(axis=0)]
    return y, positions


def avg_pool2d(
    x: np.ndarray,
    kernel: Pair,
    stride: Pair,
    padding: Padding = NO_PADDING,
    count_include_pad: bool = True,
) -> np.ndarray:
    """Means of the windows; a place counts if it is in the image or, if asked, in the padding."""
    places = windows(x.shape, kernel, stride, padding)
    y = pooled(x, places)
    for (i, j), inside in places.items():
        count = kernel[0] * kernel[1] if count_include_pad else len(inside)
        y[:, :, i, j] = sum(x[:, :, row, column] for _, (row, column) in inside) / count
    return y


def philox4x32_10(counter: tuple[int, ...], key: tuple[int, int]) -> tuple[int, ...]:
    """Salmon et al. 2011, with Python's integers."""
    low = 0xFFFFFFFF
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & low, (p0 >> 32) ^ c3 ^ k1, p0 & low
        k0, k1 = (k0 + 0x9E3779B9) & low, (k1 + 0xBB67AE85) & low
    return c0, c1, c2, c3


def dropout_mask(shape: tuple[int, ...], rate: float, key: np.ndarray, stream: int) -> np.ndarray:
    """True where kept: element ``i`` takes word ``i % 4`` of block ``i // 4``."""
    seed, step = int(key[0]), int(key[1])
    halves = (seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF)
    size = int(np.prod(shape, dtype=int))
    words = [
        philox4x32_10((i // 4 & 0xFFFFFFFF, i // 4 >> 32, step & 0xFFFFFFFF, stream), halves)[i % 4]
        for i in range(size)
    ]
    return (np.array(words, np.float64) / 2**32 >= rate).reshape(shape)
