"""Column gradients scattered to the input: the `col2im` of `col2im.py`.

Windows that do not overlap are copied to their places. Overlapping ones are summed, and NumPy is
several times slower at adding strided arrays than at copying them into place and adding contiguous
ones. So the sum is kept as (padded height, n, c, padded width), where the rows that a block of
output rows adds to are one contiguous run, and the kernel positions are taken in groups. With a
stride of t, position r = m t + a of output row i adds to padded row (i + m) t + a: all offsets a
for one m hit different rows, so that they make one addend together.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from minigraph.backends.numpy.convolution.algorithm import Call
from minigraph.ops.geometry import ConvGeometry, Pair

LONG_STRIDE = 8  # from here on a copy runs along the positions of a row, not along its outputs


def windows_are_apart(geometry: ConvGeometry) -> bool:
    """Whether no input element is in two windows, or in one window twice."""
    axes = zip(geometry.kernel, geometry.stride, geometry.dilation, strict=True)
    return all(kernel == 1 or stride >= kernel * dilation for kernel, stride, dilation in axes)


def windows_cover(geometry: ConvGeometry) -> bool:
    """Whether windows that are apart leave no input element out."""

    def covers(size: int, kernel: int, stride: int, padding: Pair, outputs: int) -> bool:
        return stride == kernel and outputs * stride - padding[0] >= size

    axes = zip(
        (geometry.height, geometry.width),
        geometry.kernel,
        geometry.stride,
        geometry.padding,
        (geometry.out_height, geometry.out_width),
        strict=True,
    )
    return geometry.dilation == (1, 1) and all(covers(*axis) for axis in axes)


def targets_of_position(size: int, outputs: slice, stride: int, offset: int) -> tuple[slice, slice]:
    """Along one axis, the outputs o in a range whose target o * stride + offset is inside.

    Returns them counted from the start of the range, and their targets.
    """
    first = max(outputs.start, -(offset // stride))
    stop = min(outputs.stop, (size - 1 - offset) // stride + 1)
    if first >= stop:
        return slice(0, 0), slice(0, 0, stride)
    return (
        slice(first - outputs.start, stop - outputs.start),
        slice(first * stride + offset, (stop - 1) * stride + offset + 1, stride),
    )


def bind_copies(
    geometry: ConvGeometry, columns: np.ndarray, rows: slice, gx: np.ndarray
) -> list[Call]:
    """Copies columns (c, r, s, n, i, j) of windows that are apart to gx (n, c, height, width)."""
    calls: list[Call] = []
    for r in range(geometry.kernel[0]):
        offset = r * geometry.dilation[0] - geometry.padding[0][0]
        i, to_rows = targets_of_position(geometry.height, rows, geometry.stride[0], offset)
        for s in range(geometry.kernel[1]):
            offset = s * geometry.dilation[1] - geometry.padding[1][0]
            j, to_columns = targets_of_position(
                geometry.width, slice(0, geometry.out_width), geometry.stride[1], offset
            )
            values = columns[:, r, s, :, i, j].transpose(1, 0, 2, 3)
            if values.size:
                calls.append(partial(np.copyto, gx[:, :, to_rows, to_columns], values))
    return calls


@dataclass(frozen=True, slots=True)
class PositionGroup:
    """Call positions of one axis that are shifted by as many whole strides."""

    shift: int
    positions: slice
    offsets: slice  # of the positions within a stride


def position_groups(kernel: int, stride: int, dilation: int) -> list[PositionGroup]:
    """All positions of an axis; a dilated kernel's each by itself."""
    if dilation > 1:
        places = [divmod(position * dilation, stride) for position in range(kernel)]
        return [
            PositionGroup(shift, slice(position, position + 1), slice(offset, offset + 1))
            for position, (shift, offset) in enumerate(places)
        ]
    return [
        PositionGroup(shift, slice(shift * stride, shift * stride + size), slice(0, size))
        for shift in range(-(-kernel // stride))
        for size in [min(stride, kernel - shift * stride)]
    ]


def axis_groups(geometry: ConvGeometry) -> tuple[list[PositionGroup], list[PositionGroup]]:
    """The groups along the height and along the width."""
    rows, columns = zip(geometry.kernel, geometry.stride, geometry.dilation, strict=True)
    return position_groups(*rows), position_groups(*columns)


def padded_size(geometry: ConvGeometry) -> tuple[int, int]:
    """Height and width of the sum: all windows in whole strides, and all of the input."""
    row_groups, column_groups = axis_groups(geometry)
    height = (geometry.out_height + row_groups[-1].shift) * geometry.stride[0]
    width = (geometry.out_width + column_groups[-1].shift) * geometry.stride[1]
    return (
        max(height, geometry.padding[0][0] + geometry.height),
        max(width, geometry.padding[1][0] + geometry.width),
    )


def bind_sums(
    geometry: ConvGeometry,
    columns: np.ndarray,
    rows: slice,
    total: np.ndarray,
    addend_buffer: np.ndarray,
) -> list[Call]:
    """Adds columns (c, r, s, n, i, j) to the total (padded height, n, c, padded width)."""
    calls: list[Call] = []
    row_stride, column_stride = geometry.stride
    row_groups, column_groups = axis_groups(geometry)
    for across in row_groups:
        start, stop = (row_stride * (row + across.shift) for row in (rows.start, rows.stop))
        run = total[start:stop]
        addend = addend_buffer[: run.size].reshape(run.shape)
        for along in column_groups:
            left = column_stride * along.shift
            windows = addend[..., left : left + column_stride * geometry.out_width].reshape(
                -1, row_stride, *run.shape[1:3], geometry.out_width, column_stride
            )[:, across.offsets, ..., along.offsets]
            values = columns[:, across.positions, along.positions].transpose(4, 1, 3, 0, 5, 2)
            if windows.size < addend.size:
                calls.append(partial(addend.fill, 0))
            if column_stride >= LONG_STRIDE:
                calls.append(partial(np.copyto, windows, values))
            else:
                calls += [
                    partial(np.copyto, windows[..., s], values[..., s])
                    for s in range(values.shape[-1])
                ]
            calls.append(partial(np.add, run, addend, out=run))
    return calls


def bind_crop(geometry: ConvGeometry, total: np.ndarray, gx: np.ndarray) -> Call:
    """gx (n, c, height, width) = the total without its padding."""
    top, left = geometry.padding[0][0], geometry.padding[1][0]
    inside = total[top : top + geometry.height, :, :, left : left + geometry.width]
    return partial(np.copyto, gx, inside.transpose(1, 2, 0, 3))
