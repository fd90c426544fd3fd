"""Run one kernel on NumPy arrays, on some threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minigraph.backends.llvm.language.code import KernelCode
from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.library import Library
from minigraph.backends.llvm.object_cache import ObjectCache
from minigraph.backends.llvm.target import named
from minigraph.backends.llvm.workers import WORKERS


@dataclass(frozen=True)
class Written(KernelCode):
    """A kernel whose body is a function: for tests, which keep nothing on disk."""

    body: Callable[[Kernel], None]
    arrays: int
    numbers: int

    @property
    def pointers(self) -> int:
        return self.arrays

    @property
    def sizes(self) -> int:
        return self.numbers

    def emit(self, k: Kernel) -> None:
        self.body(k)


def run_kernel(
    body: Callable[[Kernel], None],
    arrays: Sequence[np.ndarray],
    sizes: Sequence[int] = (),
    threads: int = 2,
    target: str = "host",
) -> tuple[int, int]:
    """Run a kernel once; its refusal flag and the refused position."""
    code = Written(body, len(arrays), len(sizes))
    library = Library(named(target), ObjectCache(Path("/dev/null/none")))
    library.load([code])
    return call(library, code, arrays, sizes, threads)


def call(
    library: Library,
    code: KernelCode,
    arrays: Sequence[np.ndarray],
    sizes: Sequence[int] = (),
    threads: int = 2,
) -> tuple[int, int]:
    """Run a kernel that is loaded; its refusal flag and the refused position."""
    refused = np.array([0, np.iinfo(np.int64).max])
    words = [refused.ctypes.data, refused.ctypes.data + 8]
    words += [array.ctypes.data for array in arrays]
    arguments = np.array([*words, *sizes], np.int64)
    rows = np.array([[library.address(code), arguments.ctypes.data, 1]], np.int64)
    WORKERS.run(rows, threads, refused.ctypes.data)
    return int(refused[0]), int(refused[1])
