"""Input gradient (and transposed convolution) as matrix products scattered to the input.

The gradient of every column is a matrix product, and each input pixel sums those of its columns:

    columns[(c, r, s), (n, i, j)] = sum over k of w[k, (c, r, s)] * gy[k, (n, i, j)]
    gx[n, c, i * stride + r * dilation - pad, j * stride + ...] += columns[c, r, s, n, i, j]

A task owns all rows of its images and channels of gx, so that no two tasks add to the same
element, and adds block by block, position by position: the order of summation is fixed. Where
windows do not overlap (stride >= kernel) the values are copied into gx. Where they do, the sum is
kept as (height, n, c, width), so that the rows which one position of a block adds to are one
contiguous run: NumPy is several times slower at adding strided arrays than at copying them into
place and adding contiguous ones. Handles every geometry.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from minigraph.backends.numpy.convolution.algorithm import ConvAlgorithm, Epilogue, Kernel
from minigraph.backends.numpy.convolution.columns import Span, slices
from minigraph.backends.numpy.convolution.cost import (
    CALL_SECONDS,
    DISPATCH_SECONDS,
    copy_seconds,
    element_seconds,
    product_seconds,
)
from minigraph.backends.numpy.convolution.errors import direct_error
from minigraph.backends.numpy.convolution.tasks import bind_task, run_tasks
from minigraph.backends.numpy.convolution.tiling import (
    MIN_CHANNELS,
    MIN_COLUMNS,
    block_size,
    channel_slices,
    evenly,
)
from minigraph.backends.numpy.convolution.workspace import WorkspaceLayout
from minigraph.backends.numpy.workers import Workers
from minigraph.ops.geometry import ConvGeometry, Pair


@dataclass(frozen=True, slots=True)
class Tiling:
    """Images of a task, input channels of a task, and output rows of each of its products."""

    images: list[slice]
    channels: list[slice]
    rows: list[slice]

    @property
    def largest(self) -> tuple[int, int, int]:
        """Images, channels and rows of the largest product."""
        return self.images[0].stop, self.channels[0].stop, self.rows[0].stop


def tiling(geometry: ConvGeometry, itemsize: int) -> Tiling:
    """With groups a task takes all channels: the product has a leading axis g."""
    positions = geometry.kernel[0] * geometry.kernel[1]
    images = max(MIN_COLUMNS // (geometry.out_height * geometry.out_width), 1)
    image_slices = slices(geometry.batch, evenly(geometry.batch, images))
    granule = max(MIN_CHANNELS // positions, 1)
    channels = [slice(0, geometry.in_channels)]
    if geometry.groups == 1:
        channels = channel_slices(geometry.in_channels, len(image_slices), granule)
    _, rows = block_size(geometry, channels[0].stop * positions * itemsize)
    return Tiling(image_slices, channels, slices(geometry.out_height, rows))


def layout(geometry: ConvGeometry, itemsize: int) -> WorkspaceLayout:
    """Private: columns; gy of several images as (k, n, i, j); where windows overlap, sum, addend."""
    images, channels, rows = tiling(geometry, itemsize).largest
    pixels = images * rows * geometry.out_width
    per_row = 0 if windows_are_apart(geometry) else images * channels * geometry.width
    touched = min(geometry.height, (rows - 1) * geometry.stride[0] + 1)
    return WorkspaceLayout(
        private=(
            (channels * geometry.kernel[0] * geometry.kernel[1] * pixels,),
            (geometry.out_channels * pixels if images > 1 else 0,),
            (geometry.height * per_row,),
            (touched * per_row,),
        )
    )


def targets_of_position(
    size: int, outputs: slice, stride: int, offset: int
) -> tuple[slice, slice]:
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


def bind_scatter(
    geometry: ConvGeometry,
    columns: np.ndarray,
    rows: slice,
    total: np.ndarray,
    addend: np.ndarray | None,
) -> list[Kernel]:
    """Copies, or given a buffer for an addend adds, columns to the total.

    `columns` is (c, r, s, n, i, j), `total` (height, n, c, width), `addend` flat.
    """
    calls: list[Kernel] = []
    for r in range(geometry.kernel[0]):
        for s in range(geometry.kernel[1]):
            i, target_rows = targets_of_position(
                geometry.height,
                rows,
                geometry.stride[0],
                r * geometry.dilation[0] - geometry.padding[0][0],
            )
            j, target_columns = targets_of_position(
                geometry.width,
                slice(0, geometry.out_width),
                geometry.stride[1],
                s * geometry.dilation[1] - geometry.padding[1][0],
            )
            values = columns[:, r, s, :, i, j].transpose(2, 1, 0, 3)
            if not values.size:
                continue
            if addend is None:
                target = total[target_rows, :, :, target_columns]
                calls.append(partial(np.copyto, target, values))
                continue
            run = total[target_rows.start : target_rows.stop]
            spread = addend[: run.size].reshape(run.shape)
            target = spread[:: target_rows.step, :, :, target_columns]
            if target.size < spread.size:
                calls.append(partial(spread.fill, 0))
            calls.append(partial(np.copyto, target, values))
            calls.append(partial(np.add, run, spread, out=run))
    return calls


def windows_are_apart(geometry: ConvGeometry) -> bool:
    """Whether no input element is in two windows, or in one window twice."""
    pairs: zip[tuple[int, int, int]] = zip(
        geometry.kernel, geometry.stride, geometry.dilation, strict=True
    )
    return all(kernel == 1 or stride >= kernel * dilation for kernel, stride, dilation in pairs)


def windows_cover(geometry: ConvGeometry) -> bool:
    """Whether windows that are apart leave no input element out."""

    def covers(size: int, kernel: int, stride: int, padding: Pair, outputs: int) -> bool:
        return stride == kernel and outputs * stride - padding[0] >= size

    return all(
        covers(*axis)
        for axis in zip(
            (geometry.height, geometry.width),
            geometry.kernel,
            geometry.stride,
            geometry.padding,
            (geometry.out_height, geometry.out_width),
            strict=True,
        )
    ) and geometry.dilation == (1, 1)


def bind_products(
    geometry: ConvGeometry,
    gy: np.ndarray,
    weight: np.ndarray,
    span: Span,
    columns: np.ndarray,
    gathered: np.ndarray,
) -> list[Kernel]:
    """columns = w^T @ gy of a block, for the columns of weight (k, (c, r, s)) that are given."""
    groups, width = geometry.groups, geometry.out_width
    calls: list[Kernel] = []
    if span.image_count == 1:
        block = gy[span.images.start].reshape(geometry.out_channels, -1)
        block = block[:, span.rows.start * width : span.rows.stop * width]
    else:
        source = gy[span.images, :, span.rows].transpose(1, 0, 2, 3)
        block = gathered[: source.size].reshape(source.shape)
        calls = [partial(np.copyto, block, source)]
        block = block.reshape(geometry.out_channels, -1)
    if groups == 1:
        return [*calls, partial(np.matmul, weight.T, block, out=columns)]
    by_group = weight.reshape(groups, -1, weight.shape[1]).transpose(0, 2, 1)
    block = block.reshape(groups, -1, block.shape[1])
    target = columns.reshape(groups, -1, columns.shape[1])
    return [*calls, partial(np.matmul, by_group, block, out=target)]


def bind(
    geometry: ConvGeometry,
    left: np.ndarray,
    right: np.ndarray,
    output: np.ndarray,
    workspace: np.ndarray,
    workers: Workers,
    epilogue: Epilogue | None = None,
) -> Kernel:
    """Input gradient of gy and w."""
    plan = tiling(geometry, right.itemsize)
    _, private = layout(geometry, right.itemsize).carve(workspace, right.dtype, workers.threads)
    weight = right.reshape(geometry.out_channels, -1)
    positions = geometry.kernel[0] * geometry.kernel[1]
    apart = windows_are_apart(geometry)

    def calls(images: slice, channels: slice, worker: int) -> list[Kernel]:
        column_buffer, gathered, sum_buffer, addend = private[worker]
        target = output[images, channels].transpose(2, 0, 1, 3)
        total = target if apart else sum_buffer[: target.size].reshape(target.shape)
        calls: list[Kernel] = []
        if not (apart and windows_cover(geometry)):
            calls.append(partial(total.fill, 0))
        chunk = weight
        if geometry.groups == 1:
            chunk = weight[:, channels.start * positions : channels.stop * positions]
        for rows in plan.rows:
            span = Span(images, rows)
            shape = (
                target.shape[2], *geometry.kernel, span.image_count, span.row_count,
                geometry.out_width,
            )  # fmt: skip
            size = math.prod(shape)
            columns = column_buffer[:size].reshape(target.shape[2] * positions, -1)
            calls += bind_products(geometry, left, chunk, span, columns, gathered)
            calls += bind_scatter(
                geometry, columns.reshape(shape), rows, total, None if apart else addend
            )
        if not apart:
            calls.append(partial(np.copyto, target, total))
        if epilogue:
            calls.append(epilogue((images, channels, slice(0, geometry.height))))
        return calls

    return run_tasks(
        workers,
        [
            bind_task([calls(images, channels, worker) for worker in range(workers.threads)])
            for images in plan.images
            for channels in plan.channels
        ],
    )


def seconds(geometry: ConvGeometry, itemsize: int, threads: int) -> float:
    """Products, and adding each of their elements to gx."""
    plan = tiling(geometry, itemsize)
    images, channels, rows = plan.largest
    positions = geometry.kernel[0] * geometry.kernel[1]
    tasks = len(plan.images) * len(plan.channels)
    blocks = tasks * len(plan.rows)
    product = product_seconds(
        channels // geometry.groups * positions,
        geometry.out_channels // geometry.groups,
        images * rows * geometry.out_width,
        itemsize,
    )
    elements = geometry.in_channels * positions * geometry.batch * geometry.out_height
    elements *= geometry.out_width
    strided = geometry.stride[1] > 1
    scatter = copy_seconds(elements, geometry.out_width, itemsize, strided)
    if not windows_are_apart(geometry):  # zeros and sums of all rows and columns in between
        spread = elements * geometry.stride[0] * geometry.stride[1]
        scatter += element_seconds(2 * spread if strided else spread, itemsize)
    work = blocks * (geometry.groups * product + (1 + positions) * CALL_SECONDS) + scatter
    return work / min(threads, tasks) + DISPATCH_SECONDS


COL2IM = ConvAlgorithm(
    name="col2im",
    supports=lambda geometry: True,
    workspace_bytes=lambda geometry, itemsize, threads: layout(geometry, itemsize).bytes(
        itemsize, threads
    ),
    seconds=seconds,
    relative_error=direct_error,
    bind=bind,
)
