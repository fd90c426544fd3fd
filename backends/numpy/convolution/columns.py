"""Columns: the windows of a convolution laid out as a matrix, `im2col`.

For a block of images n and output rows i the column matrix holds, in row (c, r, s) and column
(n, i, j), the input value that kernel position (r, s) meets at output (i, j):

    columns[c, r, s, n, i, j] = x[n, c, i * stride + r * dilation - pad, j * stride + ...]

and zero outside the image. The input rows of the block are first copied into a small zero-padded
buffer; then one strided copy makes all the columns, with no borders to think of.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minigraph.backends.numpy.convolution.algorithm import Call
from minigraph.ops.geometry import ConvGeometry, effective_kernel


@dataclass(frozen=True, slots=True)
class Span:
    """Images and output rows `[start, stop)` of a block."""

    images: slice
    rows: slice

    @property
    def image_count(self) -> int:
        return self.images.stop - self.images.start

    @property
    def row_count(self) -> int:
        return self.rows.stop - self.rows.start


def slices(size: int, step: int) -> list[slice]:
    """`range(size)` cut into slices of `step`, the last one possibly shorter."""
    return [slice(start, min(start + step, size)) for start in range(0, size, step)]


def spans(geometry: ConvGeometry, images: int, rows: int) -> list[Span]:
    """All of the output cut into blocks of so many images and rows, image by image."""
    return [
        Span(image_slice, row_slice)
        for image_slice in slices(geometry.batch, images)
        for row_slice in slices(geometry.out_height, rows)
    ]


def touched_rows(geometry: ConvGeometry, rows: int) -> int:
    """Input rows, padding included, under the windows of that many output rows."""
    return (rows - 1) * geometry.stride[0] + effective_kernel(
        geometry.kernel[0], geometry.dilation[0]
    )


def touched_width(geometry: ConvGeometry) -> int:
    """Input columns, padding included, under the windows of an output row."""
    return (geometry.out_width - 1) * geometry.stride[1] + effective_kernel(
        geometry.kernel[1], geometry.dilation[1]
    )


def padded_shape(geometry: ConvGeometry, images: int, rows: int, channels: int) -> tuple[int, ...]:
    """Shape of the padded buffer for a block; empty where the convolution has no padding."""
    if geometry.padding == ((0, 0), (0, 0)):
        return (0,)
    return (images, channels, touched_rows(geometry, rows), touched_width(geometry))


def bind_padding(source: np.ndarray, target: np.ndarray, top: int, left: int) -> list[Call]:
    """Copies `source` with its corner at (-top, -left) of itself into `target`, zeros around it.

    Both are (n, c, height, width); target (i, j) is source (i + top, j + left), where that exists.
    """
    rows = slice(max(-top, 0), max(min(target.shape[2], source.shape[2] - top), 0))
    columns = slice(max(-left, 0), max(min(target.shape[3], source.shape[3] - left), 0))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return [partial(target.fill, 0)]
    inside = source[
        :, :, rows.start + top : rows.stop + top, columns.start + left : columns.stop + left
    ]
    borders = (
        target[:, :, : rows.start],
        target[:, :, rows.stop :],
        target[:, :, rows, : columns.start],
        target[:, :, rows, columns.stop :],
    )
    calls: list[Call] = [partial(border.fill, 0) for border in borders if border.size]
    return [*calls, partial(np.copyto, target[:, :, rows, columns], inside)]


def bind_columns(
    geometry: ConvGeometry,
    x: np.ndarray,
    span: Span,
    padded: np.ndarray,
    columns: np.ndarray,
) -> tuple[list[Call], np.ndarray]:
    """Calls that make the columns of a block, and their matrix (channels * R * S, n * i * j).

    `x` may be a slice of the channels. `padded` and `columns` are flat buffers, large enough.
    """
    images, channels = span.image_count, x.shape[1]
    top = span.rows.start * geometry.stride[0] - geometry.padding[0][0]
    left = -geometry.padding[1][0]
    height, width = touched_rows(geometry, span.row_count), touched_width(geometry)
    calls: list[Call] = []
    if top >= 0 and left >= 0 and top + height <= x.shape[2] and left + width <= x.shape[3]:
        touched = x[span.images, :, top : top + height, left : left + width]
    else:
        touched = padded.reshape(-1)[: images * channels * height * width].reshape(
            images, channels, height, width
        )
        calls += bind_padding(x[span.images], touched, top, left)
    kernel_rows, kernel_columns = geometry.kernel
    windows_shape = (
        channels, kernel_rows, kernel_columns, images, span.row_count, geometry.out_width,
    )  # fmt: skip
    image_stride, channel_stride, row_stride, column_stride = touched.strides
    windows = as_strided(
        touched,
        windows_shape,
        (
            channel_stride,
            row_stride * geometry.dilation[0],
            column_stride * geometry.dilation[1],
            image_stride,
            row_stride * geometry.stride[0],
            column_stride * geometry.stride[1],
        ),
        writeable=False,
    )
    target = columns.reshape(-1)[: windows.size]
    calls.append(partial(np.copyto, target.reshape(windows_shape), windows))
    return calls, target.reshape(channels * kernel_rows * kernel_columns, -1)
