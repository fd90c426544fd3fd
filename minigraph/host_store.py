"""State variables in host memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from minigraph.backend import ALIGNMENT, AxisOrder, Strides, aligned, dense_strides
from minigraph.interrupts import interrupts_delayed
from minigraph.ir.spec import TensorSpec


def aligned_empty(nbytes: int) -> np.ndarray:
    """``nbytes`` uninitialised bytes that start at a cache line; takes ALIGNMENT more."""
    raw = np.empty(nbytes + ALIGNMENT, np.uint8)
    skip = -raw.ctypes.data % ALIGNMENT
    return raw[skip : skip + nbytes]


def as_strided_array(memory: np.ndarray, spec: TensorSpec, strides: Strides) -> np.ndarray:
    """Bytes as an array of this spec whose elements lie ``strides`` elements apart."""
    dtype = spec.dtype.numpy
    steps = tuple(step * dtype.itemsize for step in strides)
    return np.ndarray(spec.shape, dtype, memory, strides=steps)


class SharedLock:
    """Many readers or one writer: predictions may overlap, a training step runs alone.

    First come, first served: readers without a pause keep no writer out, nor a writer readers. A
    thread that has it must not ask for it again.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._readers = 0
        self._writing = False
        self._tickets = 0  # given
        self._served = 0

    def _wait_for_turn(self, is_free: Callable[[], bool]) -> None:
        ticket, self._tickets = self._tickets, self._tickets + 1
        self._changed.wait_for(lambda: self._served == ticket and is_free())
        self._served += 1
        self._changed.notify_all()

    @contextmanager
    def reading(self) -> Iterator[None]:
        with self._changed:
            self._wait_for_turn(lambda: not self._writing)
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
            self._wait_for_turn(lambda: not self._writing and not self._readers)
            self._writing = True
        try:
            yield
        finally:
            with self._changed:
                self._writing = False
                self._changed.notify_all()


class HostStore:
    """Named arrays that executables update in place. Reads copy; writes bump the version.

    ``axis_order`` gives a variable's memory order; what is read and written are plain arrays.
    """

    def __init__(self, axis_order: AxisOrder) -> None:
        self._axis_order = axis_order
        self.version = 0
        self.lock = SharedLock()
        self._arrays: dict[str, np.ndarray] = {}
        self._specs: dict[str, TensorSpec] = {}

    def create(self, name: str, spec: TensorSpec, start: np.ndarray) -> None:
        """Make a variable, whole or not at all."""
        memory = aligned_empty(aligned(spec.nbytes))[: spec.nbytes]
        strides = dense_strides(spec, self._axis_order(spec))
        array = as_strided_array(memory, spec, strides)
        np.copyto(array, start)
        with interrupts_delayed(), self.lock.writing():
            self._arrays[name], self._specs[name] = array, spec
            self.version += 1

    def specs(self) -> Mapping[str, TensorSpec]:
        return self._specs

    def read(self, names: Iterable[str]) -> dict[str, np.ndarray]:
        with interrupts_delayed(), self.lock.reading():
            return {name: self._arrays[name].copy(order="C") for name in names}

    def write(self, arrays: Mapping[str, np.ndarray]) -> None:
        with interrupts_delayed(), self.lock.writing():
            self.version += 1
            for name, array in arrays.items():
                np.copyto(self._arrays[name], array)

    def buffer(self, name: str) -> np.ndarray:
        """The variable itself, for the runners of this backend."""
        return self._arrays[name]
