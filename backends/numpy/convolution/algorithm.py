"""What every convolution kernel of the NumPy backend has to offer: one `ConvAlgorithm` each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from minigraph.backends.numpy.workers import Workers
from minigraph.ops.geometry import ConvGeometry

Call = Callable[[], object]
"""A bound kernel: every view is made already; calling it runs prepared NumPy calls."""

Block = tuple[slice, slice, slice]
"""Images, channels and rows of an output: `output[block]` is a view of (n, c, rows, width)."""

Epilogue = Callable[[Block], Call]
"""Binds what is to be done to one block of the output as soon as it is complete.

Called at bind time once or more for every block; the blocks of a kernel tile the output. The
kernel it returns runs right after the block's last value is written, on the same thread.
"""


class Bind(Protocol):
    """Binds a kernel to its arrays.

    The operands in order are (x, w) for the forward convolution, (gy, w) for the input gradient
    and (x, gy) for the weight gradient; all are C-contiguous and of one dtype, float32 or float64.
    `workspace` is a 1-D uint8 array, aligned to 64 bytes, of `workspace_bytes` bytes; nothing in
    it outlives a call. The kernel writes all of `output` in each call and allocates no array.
    The weight gradient takes no epilogue: its blocks are not blocks of an image.
    """

    def __call__(
        self,
        geometry: ConvGeometry,
        left: np.ndarray,
        right: np.ndarray,
        output: np.ndarray,
        workspace: np.ndarray,
        workers: Workers,
        epilogue: Epilogue | None = None,
    ) -> Call: ...


@dataclass(frozen=True, slots=True)
class ConvAlgorithm:
    """One way to compute one direction of a convolution."""

    name: str
    #: Whether the algorithm can compute this convolution at all.
    supports: Callable[[ConvGeometry], bool]
    #: (geometry, itemsize, threads) -> size of the workspace to bind with.
    workspace_bytes: Callable[[ConvGeometry, int, int], int]
    #: (geometry, itemsize, threads) -> estimated time of a call, to choose an algorithm by.
    seconds: Callable[[ConvGeometry, int, int], float]
    #: (geometry, dtype) -> bound on max|error| / max|result| for normally distributed operands.
    relative_error: Callable[[ConvGeometry, np.dtype], float]
    bind: Bind
