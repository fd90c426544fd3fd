"""Arrays carved out of a kernel's workspace: some shared by all workers, some private to each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minigraph.backend import aligned

Shape = tuple[int, ...]


def aligned_bytes(shape: Shape, itemsize: int) -> int:
    """Bytes that an array of this shape takes up in a workspace."""
    return aligned(math.prod(shape) * itemsize)


@dataclass(frozen=True, slots=True)
class WorkspaceLayout:
    """Shapes of a kernel's temporary arrays."""

    shared: Sequence[Shape] = ()
    private: Sequence[Shape] = ()  # one set of these for each worker

    def bytes(self, itemsize: int, threads: int) -> int:
        """Size of the workspace that `carve` needs."""
        shared = sum(aligned_bytes(shape, itemsize) for shape in self.shared)
        private = sum(aligned_bytes(shape, itemsize) for shape in self.private)
        return shared + threads * private

    def carve(
        self, workspace: np.ndarray, dtype: np.dtype, threads: int
    ) -> tuple[list[np.ndarray], list[list[np.ndarray]]]:
        """The shared arrays, and for each worker its private ones."""
        needed = self.bytes(dtype.itemsize, threads)
        if workspace.nbytes < needed:
            raise ValueError(
                f"Expected a workspace of {needed} bytes for a convolution, got {workspace.nbytes}"
            )
        offset = 0

        def take(shape: Shape) -> np.ndarray:
            nonlocal offset
            size = math.prod(shape) * dtype.itemsize
            array = workspace[offset : offset + size].view(dtype).reshape(shape)
            offset += aligned_bytes(shape, dtype.itemsize)
            return array

        shared = [take(shape) for shape in self.shared]
        return shared, [[take(shape) for shape in self.private] for _ in range(threads)]
