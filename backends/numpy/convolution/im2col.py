"""Forward convolution as one matrix product per block of the output.

    y[n, k, i, j] = sum over (c, r, s) of w[k, (c, r, s)] * columns[(c, r, s), (n, i, j)]

The columns (`columns.py`) of a block stay in cache between the copy that makes them and the
product that uses them, and the product writes straight into y. With groups both operands have a
leading axis g. Handles every geometry.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from minigraph.backends.numpy.convolution.algorithm import Call, ConvAlgorithm, Epilogue
from minigraph.backends.numpy.convolution.columns import Span, bind_columns, padded_shape, spans
from minigraph.backends.numpy.convolution.cost import (
    CALL_SECONDS,
    DISPATCH_SECONDS,
    copy_seconds,
    product_seconds,
)
from minigraph.backends.numpy.convolution.errors import direct_error
from minigraph.backends.numpy.convolution.products import bind_product
from minigraph.backends.numpy.convolution.tasks import bind_task, run_tasks
from minigraph.backends.numpy.convolution.tiling import block_size, channel_slices
from minigraph.backends.numpy.convolution.workspace import WorkspaceLayout
from minigraph.backends.numpy.workers import Workers
from minigraph.ops.geometry import ConvGeometry


def window_size(geometry: ConvGeometry) -> int:
    """Input channels times kernel positions, over all groups: rows of the column matrix."""
    return geometry.in_channels * geometry.kernel[0] * geometry.kernel[1]


def chunks_and_blocks(geometry: ConvGeometry, itemsize: int) -> tuple[list[slice], list[Span]]:
    """Output channels and output pixels of the tasks."""
    blocks = spans(geometry, *block_size(geometry, window_size(geometry) * itemsize))
    if geometry.groups > 1:
        return [slice(0, geometry.out_channels)], blocks
    return channel_slices(geometry.out_channels, len(blocks)), blocks


def layout(geometry: ConvGeometry, itemsize: int) -> WorkspaceLayout:
    """Private: columns, padded input, and products of several images before their transposition."""
    images, rows = block_size(geometry, window_size(geometry) * itemsize)
    pixels = images * rows * geometry.out_width
    products = pixels * geometry.out_channels if images > 1 else 0
    return WorkspaceLayout(
        private=(
            (window_size(geometry) * pixels,),
            padded_shape(geometry, images, rows, geometry.in_channels),
            (products,),
        )
    )


def bind_block(
    geometry: ConvGeometry,
    weight: np.ndarray,
    columns: np.ndarray,
    y: np.ndarray,
    chunk: slice,
    span: Span,
    products: np.ndarray,
) -> list[Call]:
    """The product of a block; the products of several images are (k, n, i, j) and transposed."""
    groups, width = geometry.groups, geometry.out_width
    if span.image_count == 1:
        target = y[span.images.start].reshape(groups, geometry.out_channels // groups, -1)
        target = target[:, :, span.rows.start * width : span.rows.stop * width]
        calls: list[Call] = []
    else:
        target = products[: y[0, :, 0, 0].size * columns.shape[-1]]
        target = target.reshape(groups, -1, columns.shape[-1])
        by_image = target.reshape(y.shape[1], span.image_count, span.row_count, width)
        calls = [
            partial(
                np.copyto,
                y[span.images, chunk, span.rows],
                by_image[chunk].transpose(1, 0, 2, 3),
            )
        ]
    if groups == 1:
        return [bind_product(weight[chunk], columns, target[0, chunk]), *calls]
    by_group = columns.reshape(groups, -1, columns.shape[-1])
    return [
        partial(np.matmul, weight.reshape(groups, -1, weight.shape[1]), by_group, out=target),
        *calls,
    ]


def bind(
    geometry: ConvGeometry,
    left: np.ndarray,
    right: np.ndarray,
    output: np.ndarray,
    workspace: np.ndarray,
    workers: Workers,
    epilogue: Epilogue | None = None,
) -> Call:
    """Forward convolution of x and w."""
    weight = right.reshape(geometry.out_channels, -1)
    _, private = layout(geometry, right.itemsize).carve(workspace, right.dtype, workers.threads)
    chunks, blocks = chunks_and_blocks(geometry, right.itemsize)

    def calls(chunk: slice, span: Span, worker: int) -> list[Call]:
        column_buffer, padded, products = private[worker]
        copies, columns = bind_columns(geometry, left, span, padded, column_buffer)
        product = bind_block(geometry, weight, columns, output, chunk, span, products)
        finish = [epilogue((span.images, chunk, span.rows))] if epilogue else []
        return [*copies, *product, *finish]

    return run_tasks(
        workers,
        [
            bind_task([calls(chunk, span, worker) for worker in range(workers.threads)])
            for span in blocks
            for chunk in chunks
        ],
    )


def seconds(geometry: ConvGeometry, itemsize: int, threads: int) -> float:
    """Columns once for each chunk of output channels, and the products."""
    images, rows = block_size(geometry, window_size(geometry) * itemsize)
    chunks, blocks = chunks_and_blocks(geometry, itemsize)
    pixels = geometry.batch * geometry.out_height * geometry.out_width
    copies = copy_seconds(
        len(chunks) * window_size(geometry) * pixels,
        geometry.out_width,
        itemsize,
        strided=geometry.stride[1] > 1,
    )
    product = product_seconds(
        geometry.out_channels // geometry.groups // len(chunks),
        window_size(geometry) // geometry.groups,
        images * rows * geometry.out_width,
        itemsize,
    )
    tasks = len(chunks) * len(blocks)
    work = copies + tasks * (geometry.groups * product + 6 * CALL_SECONDS)
    return work / min(threads, tasks) + DISPATCH_SECONDS


IM2COL = ConvAlgorithm(
    name="im2col",
    supports=lambda geometry: True,
    workspace_bytes=lambda geometry, itemsize, threads: layout(geometry, itemsize).bytes(
        itemsize, threads
    ),
    seconds=seconds,
    relative_error=direct_error,
    bind=bind,
)
