"""Rows of an image in tiles of six that overlap by two, and their columns: Winograd's operands.

A tile row t of an image computes the output rows 4 t ... 4 t + 3 from six input rows. For every
tile row of a block the six rows are copied, zero-padded, into d[j][n, c, t, w]: each d[j] is one
contiguous array, as the transforms want it. The transformed rows t[u] (same layout) are then laid
out as columns, for the three kernel columns s:

    columns[(s, c), (n, t, j)] = t[u][n, c, t, j + s]
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minigraph.backends.numpy.convolution.algorithm import Call
from minigraph.backends.numpy.convolution.columns import bind_padding
from minigraph.backends.numpy.convolution.winograd_transforms import (
    OUTPUTS,
    POINTS,
    TAPS,
    input_transform,
)
from minigraph.ops.geometry import ConvGeometry


def supports_tiles(geometry: ConvGeometry) -> bool:
    """3 x 3, stride 1, dilation 1, one group."""
    return (
        geometry.kernel == (TAPS, TAPS)
        and geometry.stride == (1, 1)
        and geometry.dilation == (1, 1)
        and geometry.groups == 1
    )


def tile_rows(geometry: ConvGeometry) -> int:
    """Tile rows of an image; the last one may compute rows beyond its end."""
    return -(-geometry.out_height // OUTPUTS)


def bind_tile_rows(source: np.ndarray, target: np.ndarray, first: int, left: int) -> list[Call]:
    """target[n, c, t, w] = source[n, c, first + 4 t, left + w], zero outside of the source."""
    tiles, height = target.shape[2], source.shape[2]
    start = min(max(-(first // OUTPUTS), 0), tiles)
    stop = max(min((height - 1 - first) // OUTPUTS + 1, tiles), start)
    calls: list[Call] = [
        partial(outside.fill, 0)
        for outside in (target[:, :, :start], target[:, :, stop:])
        if outside.size
    ]
    if start < stop:
        rows = source[:, :, first + OUTPUTS * start : first + OUTPUTS * (stop - 1) + 1 : OUTPUTS]
        calls += bind_padding(rows, target[:, :, start:stop], 0, left)
    return calls


def bind_input_tiles(
    geometry: ConvGeometry,
    x: np.ndarray,
    tiles: slice,
    buffers: tuple[np.ndarray, np.ndarray],
) -> tuple[list[Call], np.ndarray]:
    """Transformed tile rows (u, n, c, t, w) of some images' channels: the calls and the array."""
    width = geometry.out_width + TAPS - 1
    shape = (POINTS, *x.shape[:2], tiles.stop - tiles.start, width)
    rows, transformed = (buffer[: int(np.prod(shape))].reshape(shape) for buffer in buffers)
    first = OUTPUTS * tiles.start - geometry.padding[0][0]
    calls: list[Call] = []
    for j in range(POINTS):
        calls += bind_tile_rows(x, rows[j], first + j, -geometry.padding[1][0])
    calls += input_transform(
        [row.reshape(-1) for row in rows], [point.reshape(-1) for point in transformed]
    )
    return calls, transformed


def bind_tile_columns(point: np.ndarray, width: int, buffer: np.ndarray) -> tuple[Call, np.ndarray]:
    """Columns ((s, c), (n, t, j)) of one point's transformed rows (n, c, t, w)."""
    images, channels, tiles, _ = point.shape
    image_stride, channel_stride, tile_stride, stride = point.strides
    windows = as_strided(
        point,
        (TAPS, channels, images, tiles, width),
        (stride, channel_stride, image_stride, tile_stride, stride),
        writeable=False,
    )
    target = buffer[: windows.size]
    call = partial(np.copyto, target.reshape(windows.shape), windows)
    return call, target.reshape(TAPS * channels, -1)
