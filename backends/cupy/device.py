"""What the backend asks of a device: memory, compiled kernels, launches, recordings, times.

``CudaDevice`` is one, through CuPy; tests bring another that runs the same CUDA C on the CPU.
Addresses are plain numbers. All work but uploads ahead of time goes to one
stream, in the order in which it was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

Dimensions = tuple[int, int, int]
"""Numbers of blocks of a grid, or of threads of a block: x, y, z."""


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """What kernels may be chosen by: it never changes, and is the same for equal devices."""

    name: str
    capability: tuple[int, int]  # compute capability: (9, 0) for an H200
    multiprocessors: int
    total_bytes: int


class Memory(Protocol):
    """Bytes on the device, given back when the last reference to them goes."""

    address: int  # a multiple of 256
    nbytes: int


@dataclass(frozen=True, eq=False, slots=True)
class Launch:
    """One launch of a compiled kernel, with all it is given: addresses, then sizes."""

    function: Any  # of ``Device.compile``
    grid: Dimensions
    block: Dimensions
    shared_bytes: int  # of dynamic shared memory
    arguments: tuple[np.generic, ...]  # uint64 for pointers; int32 or int64 as the kernel declares


class Device(Protocol):
    """One device. No method is called by two threads at once: see ``lock`` of the backend."""

    @property
    def info(self) -> DeviceInfo: ...

    @property
    def runs_libraries(self) -> bool:
        """Whether NVIDIA's libraries can queue work on ``stream``."""

    def current(self) -> AbstractContextManager[None]:
        """Within, it is the device of the calling thread, which is what libraries take."""

    def free_bytes(self) -> int:
        """How much memory could be allocated now."""

    def allocate(self, nbytes: int) -> Memory:
        """Uninitialised bytes. Raises MemoryLimitError where there are not so many."""

    def host_array(self, nbytes: int) -> np.ndarray:
        """Bytes of the host's memory that copies to and from the device are quick with.

        Ordinary memory where there is no more of it.
        """

    def compile(self, prelude: str, kernels: Mapping[str, str]) -> Mapping[str, Any]:
        """Functions by name of CUDA C kernels by name, each compiled after the prelude."""

    # ---- queued on the stream

    def upload(self, target: int, source: np.ndarray) -> None:
        """Copy a contiguous array of the host, which must stay as it is until ``synchronise``."""

    def upload_ahead(self, target: int, source: np.ndarray) -> None:
        """The same beside the stream: at once, whatever the stream is doing.

        Kernels may read what arrives after ``wait_for_uploads``; the array must stay as it is until
        the ``synchronise`` after that.
        """

    def wait_for_uploads(self) -> None:
        """Let all that is queued from now on wait for what was uploaded ahead."""

    def download(self, target: np.ndarray, source: int) -> None:
        """Fill a contiguous array of the host; it is there after ``synchronise``."""

    def copy(self, target: int, source: int, nbytes: int) -> None:
        """Copy within the device's memory."""

    def wait_for(self, stream: int) -> None:
        """What is queued from here on runs after all that another stream has been given.

        After all that the whole device has been given, for ``device_array.UNKNOWN_STREAM``.
        """

    def launch(self, launch: Launch) -> None:
        """Run a kernel."""

    def replay(self, recording: Any) -> None:
        """Do again what was recorded."""

    # ---- around the stream

    def record(self, work: Callable[[], None]) -> Any:
        """Record what ``work`` queues, without running it, for ``replay``.

        Within, only ``copy`` and ``launch`` and what libraries queue on ``stream`` are allowed.
        Where the device cannot record it, a warning says so, and ``replay`` queues it as before.
        """

    @property
    def stream(self) -> int:
        """The stream's handle, for libraries."""

    def synchronise(self) -> None:
        """Wait until all that was queued is done."""

    def time(self, parts: Sequence[Callable[[], None]]) -> list[float]:
        """Queue these one after the other; the seconds that the device took for each."""
