"""Weight gradient of a 3 x 3 convolution by Winograd's F(4, 3) along the rows.

The transpose of `winograd.py` in w. For each of the six points u, over tile rows t:

    Z[u][k, (n, t)]  = sum over i of A[u, i] * gy[n, k, 4 t + i]                        (whole rows)
    D[u][k, (s, c)]  = sum over n, t, j of Z[u][k, (n, t, j)] * columns of T[u][(s, c), (n, t, j)]
    gw[k, c, r, s]   = sum over u of G[u, r] * D[u][k, (s, c)]

As in `im2col_weight.py` a small D has several accumulators, each with its share of the blocks; a
large one is cut along its input channels. Z, which those chunks share, is then made beforehand.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from minigraph.backends.numpy.convolution.algorithm import Call, ConvAlgorithm, Epilogue
from minigraph.backends.numpy.convolution.columns import slices
from minigraph.backends.numpy.convolution.cost import (
    CALL_SECONDS,
    DISPATCH_SECONDS,
    copy_seconds,
    element_seconds,
    product_seconds,
)
from minigraph.backends.numpy.convolution.errors import winograd_error
from minigraph.backends.numpy.convolution.products import NARROW
from minigraph.backends.numpy.convolution.tasks import bind_task, run_tasks
from minigraph.backends.numpy.convolution.tiling import MIN_TASKS, channel_slices, evenly
from minigraph.backends.numpy.convolution.winograd_tiles import (
    bind_input_tiles,
    bind_tile_columns,
    bind_tile_rows,
    supports_tiles,
    tile_rows,
)
from minigraph.backends.numpy.convolution.winograd_transforms import (
    OUTPUTS,
    POINTS,
    TAPS,
    output_gradient_transform,
    weight_gradient_transform,
)
from minigraph.backends.numpy.convolution.workspace import WorkspaceLayout
from minigraph.backends.numpy.workers import Task, Workers
from minigraph.ops.geometry import ConvGeometry

SMALL_BYTES = 1 << 20  # of D: up to here several accumulators
BLOCK_BYTES = 2 << 20  # of all temporaries of a block
MIN_COLUMNS = 256  # of each of the six products, so that adding them up costs little
GRADIENT_ARRAYS = 2 * OUTPUTS  # rows of gy and the arrays of its transform

TileBlock = tuple[slice, slice]
"""Images and tile rows."""


@dataclass(frozen=True, slots=True)
class Tiling:
    """Input channels of the tasks, and the blocks of each accumulator."""

    channels: list[slice]
    shares: list[list[TileBlock]]

    @property
    def blocks(self) -> list[TileBlock]:
        """The blocks of all shares, in order."""
        return list(itertools.chain.from_iterable(self.shares))

    @property
    def lines(self) -> int:
        """Tile rows of the largest block."""
        images, tiles = self.shares[0][0]
        return images.stop * tiles.stop


def tiling(geometry: ConvGeometry, itemsize: int) -> Tiling:
    """Cuts a small D along pixels, a large one along its input channels."""
    width, per_image = geometry.out_width, tile_rows(geometry)
    channels, accumulators = [slice(0, geometry.in_channels)], MIN_TASKS
    weights = POINTS * TAPS * geometry.in_channels * geometry.out_channels
    if weights * itemsize > SMALL_BYTES:
        channels, accumulators = channel_slices(geometry.in_channels, 1), 1
    values_per_column = (2 * POINTS + TAPS) * channels[0].stop
    values_per_column += GRADIENT_ARRAYS * geometry.out_channels
    columns = max(BLOCK_BYTES // (values_per_column * itemsize), MIN_COLUMNS)
    tiles = evenly(per_image, min(max(columns // width, 1), per_image))
    images = 1
    if tiles == per_image:
        images = evenly(geometry.batch, max(MIN_COLUMNS // (per_image * width), 1))
    blocks = list(itertools.product(slices(geometry.batch, images), slices(per_image, tiles)))
    share = evenly(len(blocks), -(-len(blocks) // accumulators))
    return Tiling(channels, [blocks[part] for part in slices(len(blocks), share)])


def layout(geometry: ConvGeometry, itemsize: int) -> WorkspaceLayout:
    """Shared: accumulators; Z of all blocks. Private: Z; rows and T; columns; a product; D."""
    plan, k = tiling(geometry, itemsize), geometry.out_channels
    several_chunks = len(plan.channels) > 1
    channels = plan.channels[0].stop
    pixels = plan.lines * geometry.out_width
    rows = POINTS * plan.lines * channels * (geometry.out_width + TAPS - 1)
    gradients = GRADIENT_ARRAYS * k * pixels
    accumulator = (POINTS, k * TAPS * channels)
    return WorkspaceLayout(
        shared=(
            (0 if several_chunks else len(plan.shares), *accumulator),
            (len(plan.blocks) if several_chunks else 0, gradients),
        ),
        private=(
            (0 if several_chunks else gradients,),
            (rows,),
            (rows,),
            (TAPS * channels * pixels,),
            (accumulator[1],),
            accumulator if several_chunks else (0, 0),
        ),
    )


def bind_output_gradient(
    gy: np.ndarray, block: TileBlock, buffer: np.ndarray
) -> tuple[list[Call], list[np.ndarray]]:
    """Z of a block: six matrices (k, (n, t, j))."""
    images, tiles = block
    source = gy[images]
    shape = (gy.shape[1], source.shape[0], tiles.stop - tiles.start, gy.shape[3])
    size = math.prod(shape)
    arrays = buffer[: GRADIENT_ARRAYS * size].reshape(GRADIENT_ARRAYS, size)
    calls: list[Call] = []
    for i in range(OUTPUTS):
        rows = arrays[i].reshape(shape).transpose(1, 0, 2, 3)
        calls += bind_tile_rows(source, rows, OUTPUTS * tiles.start + i, 0)
    transform, results = output_gradient_transform(arrays[:OUTPUTS], arrays[OUTPUTS:])
    return calls + transform, [result.reshape(gy.shape[1], -1) for result in results]


def bind_products(
    gradients: list[np.ndarray],
    transformed: np.ndarray,
    width: int,
    column_buffer: np.ndarray,
    total: np.ndarray,
    scratch: np.ndarray,
    first: bool,
) -> list[Call]:
    """D (u, ...) = or += Z @ columns^T for the six points of a block."""
    calls: list[Call] = []
    for u in range(POINTS):
        copy, columns = bind_tile_columns(transformed[u], width, column_buffer)
        target = total[u] if first else scratch[: total[u].size]
        if columns_first(gradients[u].shape[0]):
            operands, matrix = (columns, gradients[u].T), target.reshape(columns.shape[0], -1)
        else:
            operands, matrix = (gradients[u], columns.T), target.reshape(-1, columns.shape[0])
        calls += [copy, partial(np.matmul, *operands, out=matrix)]
        if not first:
            calls.append(partial(np.add, total[u], target, out=total[u]))
    return calls


def columns_first(out_channels: int) -> bool:
    """Whether D is made as columns @ Z^T, in the order (s, c, k), which has the more rows."""
    return out_channels <= NARROW


def bind_weights(total: np.ndarray, gw: np.ndarray) -> list[Call]:
    """gw (k, c, r, s) = G^T D, with D (u, flat) in the order (k, s, c) or (s, c, k)."""
    calls, taps = weight_gradient_transform(total)
    k, c = gw.shape[:2]
    for r, tap in enumerate(taps):
        if columns_first(k):
            values = tap.reshape(TAPS, c, k).transpose(2, 1, 0)
        else:
            values = tap.reshape(k, TAPS, c).transpose(0, 2, 1)
        calls.append(partial(np.copyto, gw[:, :, r], values))
    return calls


def bind_sums(accumulators: np.ndarray, threads: int) -> list[Task]:
    """Tasks that add the other accumulators (a, u, flat) to the first, in order."""
    return [
        bind_task(
            [[partial(np.add, accumulators[0, u], a[u], out=accumulators[0, u])
              for a in accumulators[1:]]] * threads
        )
        for u in range(POINTS)
    ]  # fmt: skip


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
    plan, width, threads = tiling(geometry, left.itemsize), geometry.out_width, workers.threads
    (accumulators, shared_gradients), private = layout(geometry, left.itemsize).carve(
        workspace, left.dtype, threads
    )
    several_chunks = len(plan.channels) > 1
    beforehand = {
        id(block): bind_output_gradient(right, block, buffer)
        for block, buffer in zip(plan.blocks, shared_gradients, strict=False)
    }

    def calls(share: int, channels: slice, worker: int) -> list[Call]:
        gradient_buffer, rows, points, column_buffer, scratch, own_total = private[worker]
        target = output[:, channels]
        total = (
            accumulators[share]
            if not several_chunks
            else own_total.reshape(-1)[: POINTS * TAPS * target.shape[0] * target.shape[1]].reshape(
                POINTS, -1
            )
        )
        calls: list[Call] = []
        for index, block in enumerate(plan.shares[share]):
            if several_chunks:
                gradients = beforehand[id(block)][1]
            else:
                gradient_calls, gradients = bind_output_gradient(right, block, gradient_buffer)
                calls += gradient_calls
            tile_calls, transformed = bind_input_tiles(
                geometry, left[block[0], channels], block[1], (rows, points)
            )
            calls += tile_calls
            calls += bind_products(
                gradients, transformed, width, column_buffer, total, scratch, first=index == 0
            )
        return calls + (bind_weights(total, target) if several_chunks else [])

    tasks = [
        bind_task([calls(share, channels, worker) for worker in range(threads)])
        for share in range(len(plan.shares))
        for channels in plan.channels
    ]
    if several_chunks:
        first = [bind_task([gradient_calls] * threads) for gradient_calls, _ in beforehand.values()]
        return run_tasks(workers, first, tasks)
    finish = bind_task([bind_weights(accumulators[0], output)] * threads)
    return run_tasks(workers, tasks, bind_sums(accumulators, threads), [finish])


def seconds(geometry: ConvGeometry, itemsize: int, threads: int) -> float:
    """Transforms, columns, products and sums."""
    plan, width = tiling(geometry, itemsize), geometry.out_width
    chunks, blocks = len(plan.channels), len(plan.blocks)
    product = product_seconds(
        geometry.out_channels,
        plan.lines * width,
        TAPS * plan.channels[0].stop,
        itemsize,
    )
    row = tile_rows(geometry) * geometry.batch * width
    inputs, outputs = row * geometry.in_channels, row * geometry.out_channels
    copies = copy_seconds(POINTS * (1 + TAPS) * inputs + OUTPUTS * outputs, width, itemsize)
    weights = TAPS * geometry.in_channels * geometry.out_channels
    elements = 17 * inputs + 11 * outputs + (POINTS * blocks + 17) * weights
    work = copies + element_seconds(elements, itemsize)
    work += copy_seconds(TAPS * weights, width, itemsize, strided=True)
    work += chunks * blocks * (POINTS * product + 70 * CALL_SECONDS)
    return work / min(threads, chunks * len(plan.shares)) + 2 * DISPATCH_SECONDS


WINOGRAD_WEIGHT = ConvAlgorithm(
    name="winograd-rows-f4",
    supports=supports_tiles,
    workspace_bytes=lambda geometry, itemsize, threads: layout(geometry, itemsize).bytes(
        itemsize, threads
    ),
    seconds=seconds,
    relative_error=winograd_error,
    bind=bind,
)
