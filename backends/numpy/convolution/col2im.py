"""Input gradient (and transposed convolution) as matrix products scattered to the input.

The gradient of every column is a matrix product, and each input pixel sums those of its columns:

    columns[(c, r, s), (n, i, j)] = sum over k of w[k, (c, r, s)] * gy[k, (n, i, j)]
    gx[n, c, i * stride + r * dilation - pad, j * stride + ...] += columns[c, r, s, n, i, j]

A task owns all rows of its images and channels of gx, so that no two tasks add to the same
element, and adds (`scatter.py`) block by block, position by position: the order of summation is
fixed. Handles every geometry.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from minigraph.backends.numpy.convolution.algorithm import Call, ConvAlgorithm, Epilogue
from minigraph.backends.numpy.convolution.columns import Span, slices
from minigraph.backends.numpy.convolution.cost import (
    CALL_SECONDS,
    DISPATCH_SECONDS,
    copy_seconds,
    element_seconds,
    product_seconds,
)
from minigraph.backends.numpy.convolution.errors import direct_error
from minigraph.backends.numpy.convolution.scatter import (
    axis_groups,
    bind_copies,
    bind_crop,
    bind_sums,
    padded_size,
    windows_are_apart,
    windows_cover,
)
from minigraph.backends.numpy.convolution.tasks import bind_task, run_tasks
from minigraph.backends.numpy.convolution.tiling import (
    MIN_CHANNELS,
    block_size,
    channel_slices,
    images_per_block,
)
from minigraph.backends.numpy.convolution.workspace import WorkspaceLayout
from minigraph.backends.numpy.workers import Workers
from minigraph.ops.geometry import ConvGeometry

MIN_COLUMNS = 256  # of a product, whose many rows are the weights: each is packed once for them


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
    per_column = geometry.in_channels * positions * itemsize
    images = images_per_block(geometry, per_column, MIN_COLUMNS)
    image_slices = slices(geometry.batch, images)
    granule = max(MIN_CHANNELS // positions, 1)
    channels = [slice(0, geometry.in_channels)]
    if geometry.groups == 1:
        channels = channel_slices(geometry.in_channels, len(image_slices), granule)
    _, rows = block_size(geometry, channels[0].stop * positions * itemsize, MIN_COLUMNS)
    return Tiling(image_slices, channels, slices(geometry.out_height, rows))


def layout(geometry: ConvGeometry, itemsize: int) -> WorkspaceLayout:
    """Private: columns; gy of several images as (k, n, i, j); a sum and an addend, if needed."""
    images, channels, rows = tiling(geometry, itemsize).largest
    pixels = images * rows * geometry.out_width
    height, width = (0, 0) if windows_are_apart(geometry) else padded_size(geometry)
    return WorkspaceLayout(
        private=(
            (channels * geometry.kernel[0] * geometry.kernel[1] * pixels,),
            (geometry.out_channels * pixels if images > 1 else 0,),
            (height * images * channels * width,),
            (rows * geometry.stride[0] * images * channels * width,),
        )
    )


def bind_products(
    geometry: ConvGeometry,
    gy: np.ndarray,
    weight: np.ndarray,
    span: Span,
    columns: np.ndarray,
    gathered: np.ndarray,
) -> list[Call]:
    """columns = w^T @ gy of a block, for the columns of weight (k, (c, r, s)) that are given."""
    groups, width = geometry.groups, geometry.out_width
    calls: list[Call] = []
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
) -> Call:
    """Input gradient of gy and w."""
    plan = tiling(geometry, right.itemsize)
    _, private = layout(geometry, right.itemsize).carve(workspace, right.dtype, workers.threads)
    weight = right.reshape(geometry.out_channels, -1)
    positions = geometry.kernel[0] * geometry.kernel[1]
    apart, (height, width) = windows_are_apart(geometry), padded_size(geometry)

    def calls(images: slice, channels: slice, worker: int) -> list[Call]:
        column_buffer, gathered, sum_buffer, addend = private[worker]
        gx = output[images, channels]
        shape = (height, *gx.shape[:2], width)
        total = gx if apart else sum_buffer[: math.prod(shape)].reshape(shape)
        calls: list[Call] = []
        if not (apart and windows_cover(geometry)):
            calls.append(partial(total.fill, 0))
        chunk = weight
        if geometry.groups == 1:
            chunk = weight[:, channels.start * positions : channels.stop * positions]
        for rows in plan.rows:
            span = Span(images, rows)
            windows = (
                gx.shape[1], *geometry.kernel, gx.shape[0], span.row_count, geometry.out_width,
            )  # fmt: skip
            columns = column_buffer[: math.prod(windows)].reshape(gx.shape[1] * positions, -1)
            calls += bind_products(geometry, left, chunk, span, columns, gathered)
            if apart:
                calls += bind_copies(geometry, columns.reshape(windows), rows, gx)
            else:
                calls += bind_sums(geometry, columns.reshape(windows), rows, total, addend)
        if not apart:
            calls.append(bind_crop(geometry, total, gx))
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
    calls = positions
    if not windows_are_apart(geometry):
        row_groups, column_groups = axis_groups(geometry)
        groups = len(row_groups) * len(column_groups)
        per_group = math.prod(padded_size(geometry)) * geometry.batch * geometry.in_channels
        scatter += element_seconds(2 * groups * per_group, itemsize)
        calls = 2 * groups + (groups if strided else positions)
    work = blocks * (geometry.groups * product + (1 + calls) * CALL_SECONDS) + scatter
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
