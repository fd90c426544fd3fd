"""Input gradient of a convolution with stride 1 as a forward convolution with flipped weights."""

from __future__ import annotations

from functools import partial

import numpy as np

from minigraph.backends.numpy.convolution import im2col
from minigraph.backends.numpy.convolution.algorithm import Call, ConvAlgorithm, Epilogue
from minigraph.backends.numpy.convolution.columns import slices
from minigraph.backends.numpy.convolution.cost import DISPATCH_SECONDS, copy_seconds
from minigraph.backends.numpy.convolution.errors import direct_error
from minigraph.backends.numpy.convolution.tasks import bind_task
from minigraph.backends.numpy.convolution.transposed import has_transposed, transposed_geometry
from minigraph.backends.numpy.convolution.workspace import aligned_bytes
from minigraph.backends.numpy.workers import Task, Workers
from minigraph.ops.geometry import ConvGeometry

WEIGHT_CHUNK = 32  # output channels of a copy, so that its source stays in cache


def workspace_bytes(geometry: ConvGeometry, itemsize: int, threads: int) -> int:
    """The flipped weights, and what the forward convolution needs."""
    forward = transposed_geometry(geometry)
    weights = aligned_bytes(forward.weight_shape, itemsize)
    return weights + im2col.IM2COL.workspace_bytes(forward, itemsize, threads)


def bind_flip(weight: np.ndarray, flipped: np.ndarray, groups: int, threads: int) -> list[Task]:
    """Tasks that make flipped (g c, k, r, s) of weight (g k, c, r, s)."""
    source = weight.reshape(groups, -1, *weight.shape[1:])[..., ::-1, ::-1].swapaxes(1, 2)
    target = flipped.reshape(source.shape)
    return [
        bind_task([[partial(np.copyto, target[:, :, chunk], source[:, :, chunk])]] * threads)
        for chunk in slices(source.shape[2], WEIGHT_CHUNK)
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
    """Input gradient of gy and w."""
    forward = transposed_geometry(geometry)
    size = aligned_bytes(forward.weight_shape, right.itemsize)
    flipped = workspace[: right.nbytes].view(right.dtype).reshape(forward.weight_shape)
    flip = bind_flip(right, flipped, geometry.groups, workers.threads)
    convolve = im2col.bind(forward, left, flipped, output, workspace[size:], workers, epilogue)

    def kernel() -> None:
        workers.run(flip)
        convolve()

    return kernel


def seconds(geometry: ConvGeometry, itemsize: int, threads: int) -> float:
    """The forward convolution, and the flip: each weight a cache line of its own."""
    weights = geometry.out_channels * geometry.in_channels // geometry.groups
    weights *= geometry.kernel[0] * geometry.kernel[1]
    flip = 2 * copy_seconds(weights, geometry.kernel[1], itemsize, strided=True)
    forward = im2col.seconds(transposed_geometry(geometry), itemsize, threads)
    return forward + flip / threads + DISPATCH_SECONDS


IM2COL_FLIPPED = ConvAlgorithm(
    name="im2col-flipped",
    supports=has_transposed,
    workspace_bytes=workspace_bytes,
    seconds=seconds,
    relative_error=direct_error,
    bind=bind,
)
