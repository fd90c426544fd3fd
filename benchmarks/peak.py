"""What the machine can do at most: kernels that only multiply and add, and that only copy."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minigraph.backends.llvm.language.code import KernelCode
from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.types import FLOAT32
from minigraph.backends.llvm.language.value import Value
from minigraph.backends.llvm.library import Library
from minigraph.backends.llvm.object_cache import ObjectCache
from minigraph.backends.llvm.target import host
from minigraph.backends.llvm.workers import WORKERS
from minigraph.ir.spec import DType

_ACCUMULATORS = 12
"""Vectors in flight: at least latency times units (4 x 2 today), and they fit 16 registers."""
_ROUNDS = 500_000
"""About a millisecond: on a busy machine some run is then left alone."""
_COPIED = 1 << 27
"""Bytes: more than any cache."""
_LINE = 16  # floats of a cache line: each thread stores to its own


@dataclass(frozen=True)
class Peak:
    """Of all threads together."""

    flops_per_second: float
    bytes_per_second: float
    """Read and written together."""


@dataclass(frozen=True)
class MultiplyAdds(KernelCode):
    """``accumulator = accumulator * 0.5 + 1`` in registers, by each thread.

    Pointers: 0.5 and 1 (read, so that nothing is known when the code is made), the accumulators'
    starts, one result for each thread. Size: rounds.
    """

    accumulators: int

    @property
    def pointers(self) -> int:
        return 3

    @property
    def sizes(self) -> int:
        return 1

    def emit(self, k: Kernel) -> None:
        lanes = k.lanes(DType.FLOAT32)
        constants, starts, results = (k.view(p, DType.FLOAT32, 1) for p in k.pointers)
        half, one = (constants.splat(i, lanes=lanes) for i in range(2))

        def body(_: Value, values: list[Value]) -> list[Value]:
            return [k.fma(value, half, one) for value in values]

        initial = [starts.splat(i, lanes=lanes) for i in range(self.accumulators)]
        total = k.zero(FLOAT32.with_lanes(lanes))
        for value in k.carry(0, k.sizes[0], initial, body):
            total = total + value
        results.store(k.sum_lanes(total), k.thread * _LINE)


@dataclass(frozen=True)
class Copy(KernelCode):
    """Floats from the first pointer to the second, shared out to the threads. Size: how many."""

    @property
    def pointers(self) -> int:
        return 2

    @property
    def sizes(self) -> int:
        return 1

    def emit(self, k: Kernel) -> None:
        lanes = k.lanes(DType.FLOAT32)
        source, target = (k.view(p, DType.FLOAT32, 1) for p in k.pointers)
        start, stop = k.share(k.sizes[0])
        k.vectors(
            stop - start, lanes,
            lambda i, mask: target.store(
                source.load(start + i, lanes=lanes, mask=mask), start + i, mask=mask
            ),
        )  # fmt: skip


def measure_peak(threads: int, repeats: int = 20) -> Peak:
    """The best of some runs of each kernel on so many threads."""
    multiply, copy = MultiplyAdds(_ACCUMULATORS), Copy()
    library = Library(host(), ObjectCache(Path(os.devnull) / "none"))  # nothing is kept on disk
    library.load([multiply, copy])
    constants = np.array([0.5, 1.0], np.float32)
    starts = np.arange(_ACCUMULATORS, dtype=np.float32)
    results = np.zeros(threads * _LINE, np.float32)
    seconds = _best(
        library.address(multiply), [constants, starts, results], _ROUNDS, threads, repeats
    )
    expected = 2.0 * _ACCUMULATORS * (host().vector_bytes // 4)  # x = x / 2 + 1 goes to 2
    if not np.allclose(results[::_LINE], expected):
        raise RuntimeError(f"Expected {expected} of each thread, got {results[::_LINE]}")
    flops = 2 * _ACCUMULATORS * (host().vector_bytes // 4) * _ROUNDS * threads
    source = np.ones(_COPIED // 4, np.float32)
    target = np.zeros_like(source)
    copying = _best(library.address(copy), [source, target], source.size, threads, repeats)
    return Peak(flops / seconds, 2 * _COPIED / copying)


def _best(address: int, arrays: list[np.ndarray], size: int, threads: int, repeats: int) -> float:
    """Seconds of the quickest call."""
    refused = np.array([0, np.iinfo(np.int64).max])
    words = [refused.ctypes.data, refused.ctypes.data + 8]
    words += [array.ctypes.data for array in arrays]
    arguments = np.array([*words, size], np.int64)
    rows = np.array([[address, arguments.ctypes.data, 1]], np.int64)
    times = []
    for _ in range(repeats + 1):  # one more: the first wakes the workers and touches the memory
        start = time.perf_counter()
        WORKERS.run(rows, threads, refused.ctypes.data)
        times.append(time.perf_counter() - start)
    return min(times)
