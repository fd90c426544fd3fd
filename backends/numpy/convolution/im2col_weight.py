"""Weight gradient as matrix products with the transposed columns of the input.

    gw[k, (c, r, s)] = sum over blocks of gy[k, (n, i, j)] @ columns[(c, r, s), (n, i, j)]^T

A small gw is summed in several accumulators, each over its own share of the blocks, that are added
up in order at the end; a large one is cut along its input channels instead, where tasks have
nothing to share. Either way the order of summation depends on the shape alone. Handles every
geometry.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from minigraph.backends.numpy.convolution.algorithm import Call, ConvAlgorithm, Epilogue
from minigraph.backends.numpy.convolution.columns import (
    Span,
    bind_columns,
    padded_shape,
    slices,
    spans,
)
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
    MIN_TASKS,
    block_size,
    channel_slices,
    evenly,
)
from minigraph.backends.numpy.convolution.workspace import WorkspaceLayout
from minigraph.backends.numpy.workers import Task, Workers
from minigraph.ops.geometry import ConvGeometry

SMALL_WEIGHT_BYTES = 1 << 19  # up to here several accumulators of its size stay in cache
MIN_COLUMNS = 512  # of a product, so that adding it to its accumulator costs little


@dataclass(frozen=True, slots=True)
class Tiling:
    """Input channels of the tasks, and the blocks of pixels of each accumulator."""

    channels: list[slice]
    images: int
    rows: int
    shares: list[list[Span]]


def tiling(geometry: ConvGeometry, itemsize: int) -> Tiling:
    """Cuts a small weight along pixels, a large one along its input channels."""
    positions = geometry.kernel[0] * geometry.kernel[1]
    weights = geometry.out_channels * geometry.in_channels // geometry.groups * positions
    channels = [slice(0, geometry.in_channels)]
    accumulators = MIN_TASKS
    if weights * itemsize > SMALL_WEIGHT_BYTES and geometry.groups == 1:
        channels = channel_slices(geometry.in_channels, 1, max(MIN_CHANNELS // positions, 1))
        accumulators = 1
    images, rows = block_size(geometry, channels[0].stop * positions * itemsize, MIN_COLUMNS)
    blocks = spans(geometry, images, rows)
    share = evenly(len(blocks), -(-len(blocks) // accumulators))
    return Tiling(channels, images, rows, [blocks[part] for part in slices(len(blocks), share)])


def accumulator_shape(geometry: ConvGeometry) -> tuple[int, int, int]:
    """Of a weight gradient as (g, k, (c, r, s))."""
    channels = geometry.in_channels // geometry.groups
    return (
        geometry.groups,
        geometry.out_channels // geometry.groups,
        channels * geometry.kernel[0] * geometry.kernel[1],
    )


def layout(geometry: ConvGeometry, itemsize: int) -> WorkspaceLayout:
    """Shared: further accumulators. Private: columns, padded input, gy of several images,
    a product, and the sum of the products of a chunk of channels."""
    plan = tiling(geometry, itemsize)
    pixels = plan.images * plan.rows * geometry.out_width
    channels = plan.channels[0].stop
    shape = accumulator_shape(geometry)
    part = math.prod(shape) * channels // geometry.in_channels
    several = max(len(share) for share in plan.shares) > 1
    return WorkspaceLayout(
        shared=((len(plan.shares) - 1, *shape),),
        private=(
            (channels * geometry.kernel[0] * geometry.kernel[1] * pixels,),
            padded_shape(geometry, plan.images, plan.rows, channels),
            (geometry.out_channels * pixels if plan.images > 1 else 0,),
            (part if several else 0,),
            (part if several and len(plan.channels) > 1 else 0,),
        ),
    )


def gather(
    gy: np.ndarray, span: Span, geometry: ConvGeometry, buffer: np.ndarray
) -> tuple[list[Call], np.ndarray]:
    """gy of a block as (g, k, (n, i, j)): a view for one image, a transposed copy for several."""
    width, groups = geometry.out_width, geometry.groups
    if span.image_count == 1:
        image = gy[span.images.start].reshape(groups, geometry.out_channels // groups, -1)
        return [], image[:, :, span.rows.start * width : span.rows.stop * width]
    source = gy[span.images, :, span.rows].transpose(1, 0, 2, 3)
    target = buffer[: source.size].reshape(source.shape)
    by_group = target.reshape(groups, geometry.out_channels // groups, -1)
    return [partial(np.copyto, target, source)], by_group


def bind_accumulation(
    left: np.ndarray, right: np.ndarray, target: np.ndarray, scratch: np.ndarray, first: bool
) -> list[Call]:
    """target = left @ right, or target += left @ right through a scratch array.

    The target is contiguous if it is added to: NumPy adds strided arrays through buffers.
    """
    if first:
        return [partial(np.matmul, left, right, out=target)]
    product = scratch[: target.size].reshape(target.shape)
    return [
        partial(np.matmul, left, right, out=product),
        partial(np.add, target, product, out=target),
    ]


def bind_reduction(total: np.ndarray, others: np.ndarray, threads: int) -> list[Task]:
    """Tasks that add the other accumulators, (a, ...), to the first, in order."""
    flat = total.reshape(-1)
    tasks = []
    for part in slices(flat.size, -(-flat.size // MIN_TASKS)):
        target = flat[part]
        calls = [partial(np.add, target, other.reshape(-1)[part], out=target) for other in others]
        tasks.append(bind_task([calls] * threads))
    return tasks


def bind(
    geometry: ConvGeometry,
    left: np.ndarray,
    right: np.ndarray,
    output: np.ndarray,
    workspace: np.ndarray,
    workers: Workers,
    epilogue: Epilogue | None = None,
) -> Call:
    """Weight gradient of x and gy."""
    plan = tiling(geometry, left.itemsize)
    (others,), private = layout(geometry, left.itemsize).carve(
        workspace, left.dtype, workers.threads
    )
    positions = geometry.kernel[0] * geometry.kernel[1]
    total = output.reshape(accumulator_shape(geometry))
    accumulators = [total, *others]

    def calls(share: int, channels: slice, worker: int) -> list[Call]:
        column_buffer, padded, gathered, scratch, part = private[worker]
        target = accumulators[share]
        if geometry.groups == 1:
            target = target[:, :, channels.start * positions : channels.stop * positions]
        total = part[: target.size].reshape(target.shape) if part.size else target
        calls: list[Call] = []
        for index, span in enumerate(plan.shares[share]):
            copies, columns = bind_columns(geometry, left[:, channels], span, padded, column_buffer)
            gathering, gradient = gather(right, span, geometry, gathered)
            transposed = columns.reshape(geometry.groups, -1, columns.shape[1]).transpose(0, 2, 1)
            calls += [*copies, *gathering]
            calls += bind_accumulation(gradient, transposed, total, scratch, first=index == 0)
        if total is not target:
            calls.append(partial(np.copyto, target, total))
        return calls

    tasks = [
        bind_task([calls(share, channels, worker) for worker in range(workers.threads)])
        for share in range(len(plan.shares))
        for channels in plan.channels
    ]
    if len(accumulators) == 1:
        return run_tasks(workers, tasks)
    return run_tasks(workers, tasks, bind_reduction(total, others, workers.threads))


def seconds(geometry: ConvGeometry, itemsize: int, threads: int) -> float:
    """Columns once, and the products."""
    plan = tiling(geometry, itemsize)
    _, rows, size = accumulator_shape(geometry)
    pixels = geometry.batch * geometry.out_height * geometry.out_width
    copies = copy_seconds(
        geometry.in_channels * geometry.kernel[0] * geometry.kernel[1] * pixels,
        geometry.out_width,
        itemsize,
        strided=geometry.stride[1] > 1,
    )
    product = product_seconds(
        rows, plan.images * plan.rows * geometry.out_width, size // len(plan.channels), itemsize
    )
    tasks = len(plan.channels) * len(plan.shares)
    blocks = len(plan.channels) * sum(len(share) for share in plan.shares)
    adding = element_seconds(blocks * geometry.groups * rows * size, itemsize)
    work = copies + blocks * (geometry.groups * product + 6 * CALL_SECONDS) + adding
    return work / min(threads, tasks) + DISPATCH_SECONDS


IM2COL_WEIGHT = ConvAlgorithm(
    name="im2col",
    supports=lambda geometry: True,
    workspace_bytes=lambda geometry, itemsize, threads: layout(geometry, itemsize).bytes(
        itemsize, threads
    ),
    seconds=seconds,
    relative_error=direct_error,
    bind=bind,
)
