"""1 x 1 convolution with stride 1 and no padding: the images are the columns.

    y[n]  = w @ x[n]          x[n] as (c, pixels), y[n] as (k, pixels)
    gx[n] = w^T @ gy[n]
    gw    = sum over n of gy[n] @ x[n]^T

The general algorithms do this as well; these copy nothing.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from minigraph.backends.numpy.convolution.algorithm import Call, ConvAlgorithm, Epilogue
from minigraph.backends.numpy.convolution.columns import slices
from minigraph.backends.numpy.convolution.cost import (
    CALL_SECONDS,
    DISPATCH_SECONDS,
    product_seconds,
)
from minigraph.backends.numpy.convolution.errors import direct_error
from minigraph.backends.numpy.convolution.tasks import bind_task, run_tasks
from minigraph.backends.numpy.convolution.tiling import MIN_COLUMNS, MIN_TASKS, evenly
from minigraph.backends.numpy.workers import Workers
from minigraph.ops.geometry import ConvGeometry


def supports(geometry: ConvGeometry) -> bool:
    """1 x 1, stride 1, no padding, one group, and images large enough for a product each."""
    return (
        geometry.kernel == (1, 1)
        and geometry.stride == (1, 1)
        and geometry.padding == ((0, 0), (0, 0))
        and geometry.groups == 1
        and geometry.height * geometry.width >= MIN_COLUMNS
    )


def strips(geometry: ConvGeometry) -> list[slice]:
    """Rows of a task: several to an image where the batch is small."""
    wanted = -(-MIN_TASKS // geometry.batch)
    fitting = max(geometry.height * geometry.width // MIN_COLUMNS, 1)
    return slices(
        geometry.height, evenly(geometry.height, -(-geometry.height // min(wanted, fitting)))
    )


def bind_images(
    geometry: ConvGeometry,
    matrix: np.ndarray,
    source: np.ndarray,
    target: np.ndarray,
    workers: Workers,
    epilogue: Epilogue | None,
) -> Call:
    """target[n] = matrix @ source[n]."""
    tasks, width = [], geometry.width
    for n in range(geometry.batch):
        for rows in strips(geometry):
            pixels = slice(rows.start * width, rows.stop * width)
            image = source[n].reshape(source.shape[1], -1)[:, pixels]
            result = target[n].reshape(target.shape[1], -1)[:, pixels]
            calls: list[Call] = [partial(np.matmul, matrix, image, out=result)]
            if len(image) == 1:  # NumPy leaves products with one inner element to a plain loop
                calls = [
                    partial(np.multiply, image[0], factor, out=row)
                    for factor, row in zip(matrix[:, 0:1], result, strict=True)
                ]
            if epilogue:
                calls.append(epilogue((slice(n, n + 1), slice(0, target.shape[1]), rows)))
            tasks.append(bind_task([calls] * workers.threads))
    return run_tasks(workers, tasks)


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
    return bind_images(geometry, right[:, :, 0, 0], left, output, workers, epilogue)


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
    return bind_images(geometry, right[:, :, 0, 0].T, left, output, workers, epilogue)


def seconds(geometry: ConvGeometry, itemsize: int, threads: int) -> float:
    """The products."""
    tasks = geometry.batch * len(strips(geometry))
    pixels = geometry.height * geometry.width // len(strips(geometry))
    product = product_seconds(geometry.out_channels, geometry.in_channels, pixels, itemsize)
    return tasks * (product + CALL_SECONDS) / min(threads, tasks) + DISPATCH_SECONDS


POINTWISE = ConvAlgorithm(
    name="pointwise",
    supports=supports,
    workspace_bytes=lambda geometry, itemsize, threads: 0,
    seconds=seconds,
    relative_error=direct_error,
    bind=bind_forward,
)

POINTWISE_INPUT_GRADIENT = ConvAlgorithm(
    name="pointwise",
    supports=supports,
    workspace_bytes=lambda geometry, itemsize, threads: 0,
    seconds=seconds,
    relative_error=direct_error,
    bind=bind_input_gradient,
)
