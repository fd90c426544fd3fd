"""State variables in host memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from minigraph.backend import ALIGNMENT, aligned
from minigraph.backends.numpy.interrupts import interrupts_delayed
from minigraph.ir.spec import TensorSpec


def aligned_empty(nbytes: int) -> np.ndarray:
    """``nbytes`` uninitialised bytes that start at a cache line; takes ALIGNMENT more."""
    raw = np.empty(nbytes + ALIGNMENT, np.uint8)
    skip = -raw.ctypes.data % ALIGNMENT
    return raw[skip : skip + nbytes]


class SharedLock:
    """Many readers or one writer: predictions may overlap, a training step runs alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._readers = 0
        self._writing = False

    @contextmanager
    def reading(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._writing)
            self._readers += 1
        try:
            yield
        finally:
            with self._changed:
                self._readers -= 1
                self._changed.notify_all()

    @contextmanager
    def writing(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._writing and not self._readers)
            self._writing = True
        try:
            yield
        finally:
            with self._changed:
                self._writing = False
                self._changed.notify_all()


class NumpyStore:
    """Named arrays that executables update in place. Reads copy; writes bump the version."""

    def __init__(self) -> None:
        self.version = 0
        self.lock = SharedLock()
        self._arrays: dict[str, np.ndarray] = {}
        self._specs: dict[str, TensorSpec] = {}

    def allocate(self, name: str, spec: TensorSpec) -> None:
        """Make a variable; its content is undefined until it is written."""
        memory = aligned_empty(aligned(spec.nbytes))[: spec.nbytes]
        self._arrays[name] = memory.view(spec.dtype.numpy).reshape(spec.shape)
        self._specs[name] = spec

    def specs(self) -> Mapping[str, TensorSpec]:
        return self._specs

    def read(self, name: str) -> np.ndarray:
        with interrupts_delayed(), self.lock.reading():
            return self._arrays[name].copy()

    def write(self, name: str, array: np.ndarray) -> None:
        with interrupts_delayed(), self.lock.writing():
            np.copyto(self._arrays[name], array)
            self.version += 1

    def buffer(self, name: str) -> np.ndarray:
        """The variable itself, for the runners of this backend."""
        return self._arrays[name]
