"""3 x 3 convolution by Winograd's F(4, 3) along the rows: half the multiplications.

Along the height four output rows come from six input rows (`winograd_transforms.py`); along the
width the convolution stays direct. For each of the six points u:

    U[u][k, (s, c)] = sum over r of G[u, r] * w[k, c, r, s]
    T[u][n, t, c]   = sum over j of B^T[u, j] * x[n, c, 4 t + j - pad]                  (whole rows)
    M[u][k, (n, t, j)] = U[u] @ columns of T[u]
    y[n, k, 4 t + i] = sum over u of A^T[i, u] * M[u][k, (n, t)]                        (whole rows)

The two-dimensional F(4 x 4, 3 x 3) saves three quarters, but its second transform works on every
fourth element of a row, where NumPy's strided loops eat up most of what the products save (by
estimate; it was not built). Transforms of whole rows run at the speed of the cache, and are more
accurate: one interpolation, not two.
"""

from __future__ import annotations

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
from minigraph.backends.numpy.convolution.products import bind_product
from minigraph.backends.numpy.convolution.tasks import bind_task, run_tasks
from minigraph.backends.numpy.convolution.tiling import channel_slices, evenly
from minigraph.backends.numpy.convolution.transposed import has_transposed, transposed_geometry
from minigraph.backends.numpy.convolution.winograd_tiles import (
    bind_input_tiles,
    bind_tile_columns,
    supports_tiles,
    tile_rows,
)
from minigraph.backends.numpy.convolution.winograd_transforms import (
    OUTPUTS,
    POINTS,
    TAPS,
    output_transform,
    weight_transform,
)
from minigraph.backends.numpy.convolution.workspace import WorkspaceLayout
from minigraph.backends.numpy.workers import Task, Workers
from minigraph.ops.geometry import ConvGeometry

BLOCK_BYTES = 2 << 20  # of all temporaries of a block
MIN_COLUMNS = 64  # of each of the six products
WEIGHT_CHUNK = 32  # output channels of a task of the weight transform


@dataclass(frozen=True, slots=True)
class Tiling:
    """Images, tile rows and output channels of the tasks."""

    images: list[slice]
    tiles: list[slice]
    channels: list[slice]


def tiling(geometry: ConvGeometry, itemsize: int) -> Tiling:
    """Blocks of a few tile rows of an image, or of a few small images."""
    width, per_image = geometry.out_width, tile_rows(geometry)
    values_per_column = (2 * POINTS + TAPS) * geometry.in_channels
    values_per_column += (POINTS + 2) * geometry.out_channels
    columns = max(BLOCK_BYTES // (values_per_column * itemsize), MIN_COLUMNS)
    tiles = evenly(per_image, min(max(columns // width, 1), per_image))
    images = 1
    if tiles == per_image:
        images = evenly(geometry.batch, max(MIN_COLUMNS // (per_image * width), 1))
    image_slices, tile_slices = slices(geometry.batch, images), slices(per_image, tiles)
    blocks = len(image_slices) * len(tile_slices)
    return Tiling(image_slices, tile_slices, channel_slices(geometry.out_channels, blocks))


def layout(geometry: ConvGeometry, itemsize: int) -> WorkspaceLayout:
    """Shared: U. Private: rows and T; columns; M; two scratch arrays. Weights use M's space."""
    plan = tiling(geometry, itemsize)
    lines = plan.images[0].stop * plan.tiles[0].stop
    rows = POINTS * lines * geometry.in_channels * (geometry.out_width + TAPS - 1)
    pixels = lines * geometry.out_width
    weights = TAPS * TAPS * WEIGHT_CHUNK * geometry.in_channels
    return WorkspaceLayout(
        shared=((POINTS, geometry.out_channels, TAPS * geometry.in_channels),),
        private=(
            (rows,),
            (rows,),
            (TAPS * geometry.in_channels * pixels,),
            (max((POINTS + 2) * plan.channels[0].stop * pixels, weights),),
        ),
    )


def bind_weights(
    weight: np.ndarray, transformed: np.ndarray, buffers: list[np.ndarray]
) -> list[Task]:
    """Tasks that make U (u, k, (s, c)) of weights seen as (r, s, k, c)."""

    def calls(chunk: slice, buffer: np.ndarray) -> list[Call]:
        part = weight[:, :, chunk].transpose(0, 2, 1, 3)  # (r, k, s, c)
        taps = buffer[: part.size].reshape(part.shape)
        points = [point[chunk].reshape(-1) for point in transformed]
        copy = partial(np.copyto, taps, part)
        return [copy, *weight_transform(taps.reshape(TAPS, -1), points)]

    return [
        bind_task([calls(chunk, buffer) for buffer in buffers])
        for chunk in slices(weight.shape[2], WEIGHT_CHUNK)
    ]


def bind_output_rows(rows: np.ndarray, y: np.ndarray, first: int) -> list[Call]:
    """y[n, k, first + 4 t] = rows[k, n, t], as far as y goes."""
    target = y[:, :, first : first + OUTPUTS * rows.shape[2] : OUTPUTS]
    if not target.size:
        return []
    values = rows.transpose(1, 0, 2, 3)[:, :, : target.shape[2]]
    return [partial(np.copyto, target, values)]


def bind_blocks(
    geometry: ConvGeometry,
    x: np.ndarray,
    points: np.ndarray,
    y: np.ndarray,
    private: list[list[np.ndarray]],
    epilogue: Epilogue | None,
) -> list[Task]:
    """Tasks that make y of x and the transformed weights."""
    plan, width = tiling(geometry, x.itemsize), geometry.out_width

    def calls(images: slice, tiles: slice, channels: slice, worker: int) -> list[Call]:
        row_buffer, transformed_buffer, column_buffer, product_buffer = private[worker]
        calls, transformed = bind_input_tiles(
            geometry, x[images], tiles, (row_buffer, transformed_buffer)
        )
        target = y[images, channels]
        shape = (target.shape[1], target.shape[0], tiles.stop - tiles.start, width)
        size = math.prod(shape)
        products = product_buffer[: (POINTS + 2) * size].reshape(POINTS + 2, size)
        for u in range(POINTS):
            copy, columns = bind_tile_columns(transformed[u], width, column_buffer)
            product = products[u].reshape(shape[0], -1)
            calls += [copy, bind_product(points[u, channels], columns, product)]
        output_calls, results = output_transform(products[:POINTS], products[POINTS:])
        calls += output_calls
        for i in range(OUTPUTS):
            calls += bind_output_rows(results[i].reshape(shape), target, OUTPUTS * tiles.start + i)
        if epilogue:
            stop = min(OUTPUTS * tiles.stop, geometry.out_height)
            calls.append(epilogue((images, channels, slice(OUTPUTS * tiles.start, stop))))
        return calls

    return [
        bind_task([calls(images, tiles, channels, worker) for worker in range(len(private))])
        for images in plan.images
        for tiles in plan.tiles
        for channels in plan.channels
    ]


def bind_kernel(
    geometry: ConvGeometry,
    x: np.ndarray,
    weight: np.ndarray,
    y: np.ndarray,
    workspace: np.ndarray,
    workers: Workers,
    epilogue: Epilogue | None,
) -> Call:
    """The convolution of x with weights seen as (r, s, k, c)."""
    plan = layout(geometry, x.itemsize)
    (points,), private = plan.carve(workspace, x.dtype, workers.threads)
    return run_tasks(
        workers,
        bind_weights(weight, points, [buffers[-1] for buffers in private]),
        bind_blocks(geometry, x, points, y, private, epilogue),
    )


def bind_forward(
    geometry: ConvGeometry,
    left: np.ndarray,
    right: np.ndarray,
    output: np.ndarray,
    workspace: np.ndarray,
    workers: Workers,
    epilogue: Epilogue | None = None,
) -> Call:
    """Forward convolution of x and w."""
    weight = right.transpose(2, 3, 0, 1)
    return bind_kernel(geometry, left, weight, output, workspace, workers, epilogue)


def bind_input_gradient(
    geometry: ConvGeometry,
    left: np.ndarray,
    right: np.ndarray,
    output: np.ndarray,
    workspace: np.ndarray,
    workers: Workers,
    epilogue: Epilogue | None = None,
) -> Call:
    """Input gradient of gy and w."""
    weight = right[:, :, ::-1, ::-1].transpose(2, 3, 1, 0)
    return bind_kernel(
        transposed_geometry(geometry), left, weight, output, workspace, workers, epilogue
    )


def seconds(geometry: ConvGeometry, itemsize: int, threads: int) -> float:
    """Transforms, columns and products."""
    plan = tiling(geometry, itemsize)
    width, lines = geometry.out_width, tile_rows(geometry) * geometry.batch
    chunks, blocks = len(plan.channels), len(plan.images) * len(plan.tiles)
    product = product_seconds(
        geometry.out_channels // chunks,
        TAPS * geometry.in_channels,
        plan.images[0].stop * plan.tiles[0].stop * width,
        itemsize,
    )
    row = lines * width
    inputs, outputs = row * geometry.in_channels * chunks, row * geometry.out_channels
    copies = copy_seconds(POINTS * (1 + TAPS) * inputs + OUTPUTS * outputs, width, itemsize)
    transforms = element_seconds(17 * inputs + 13 * outputs, itemsize)
    weights = geometry.out_channels * geometry.in_channels * TAPS
    weight_seconds = copy_seconds(TAPS * weights, width, itemsize, strided=True)
    weight_seconds += element_seconds(13 * weights, itemsize)
    tasks = chunks * blocks
    work = copies + transforms + tasks * (POINTS * product + 65 * CALL_SECONDS)
    return (work + weight_seconds) / min(threads, tasks) + 2 * DISPATCH_SECONDS


WINOGRAD = ConvAlgorithm(
    name="winograd-rows-f4",
    supports=supports_tiles,
    workspace_bytes=lambda geometry, itemsize, threads: layout(geometry, itemsize).bytes(
        itemsize, threads
    ),
    seconds=seconds,
    relative_error=winograd_error,
    bind=bind_forward,
)

WINOGRAD_INPUT_GRADIENT = ConvAlgorithm(
    name="winograd-rows-f4",
    supports=lambda geometry: supports_tiles(geometry) and has_transposed(geometry),
    workspace_bytes=lambda geometry, itemsize, threads: layout(
        transposed_geometry(geometry), itemsize
    ).bytes(itemsize, threads),
    seconds=lambda geometry, itemsize, threads: seconds(
        transposed_geometry(geometry), itemsize, threads
    ),
    relative_error=winograd_error,
    bind=bind_input_gradient,
)
