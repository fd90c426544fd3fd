"""A device of the CuPy backend that runs its CUDA C on the CPU, compiled by g++."""

from __future__ import annotations

import ctypes
import re
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from emulated_compiler import Compiler, shared_compiler

from minigraph.backends.cupy.device import DeviceInfo, Launch

_GUARD = 256  # bytes before and after each allocation that no kernel may write
_FUNCTION = re.compile(r"^__device__ [^(]*?(\w+)\(", re.MULTILINE)
_PATTERN = 0xFF  # of memory that was never written: not a number, as a float


class EmulatedMemory:
    """Bytes of the host that are the device's, between two guards."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        raw = np.full(nbytes + 3 * _GUARD, _PATTERN, np.uint8)
        skip = _GUARD + -raw.ctypes.data % _GUARD
        self._guards = raw[:skip], raw[skip + nbytes :]
        self.address = raw.ctypes.data + skip

    @property
    def is_intact(self) -> bool:
        return all(bool((guard == _PATTERN).all()) for guard in self._guards)


class EmulatedDevice:
    """The methods of ``minigraph.backends.cupy.device.Device``.

    ``backward`` runs the threads of a block from the last to the first: where a barrier is missing,
    results differ. While something is recorded, all that a capture of CUDA would refuse is refused.
    What is uploaded ahead arrives as late as it may, when the stream waits for it. ``log`` has what
    was queued, by name.
    """

    runs_libraries = False

    def __init__(
        self,
        backward: bool = False,
        compiler: Compiler | None = None,
        total_bytes: int = 1 << 34,
    ) -> None:
        self.compiler = shared_compiler() if compiler is None else compiler
        self.info = DeviceInfo("emulated", (9, 0), 4, total_bytes)
        self.log: list[str] = []
        self._ahead: list[tuple[int, np.ndarray]] = []
        self.stream = 0
        self.launched = 0
        self.allocations = 0
        self.waited_for: list[int] = []  # streams
        self._backward = backward
        self._recording: list[Callable[[], None]] | None = None
        self._memory: weakref.WeakSet[EmulatedMemory] = weakref.WeakSet()

    # ---- memory and code

    def free_bytes(self) -> int:
        return self.info.total_bytes - sum(memory.nbytes for memory in self._memory)

    def allocate(self, nbytes: int) -> EmulatedMemory:
        self._refuse_in_a_recording("allocate")
        self.allocations += 1
        memory = EmulatedMemory(nbytes)
        self._memory.add(memory)
        return memory

    def host_array(self, nbytes: int) -> np.ndarray:
        self._refuse_in_a_recording("host_array")
        return np.full(nbytes, _PATTERN, np.uint8)

    def compile(self, prelude: str, kernels: Mapping[str, str]) -> Mapping[str, Any]:
        self._refuse_in_a_recording("compile")
        defined = _FUNCTION.findall("\n".join(kernels.values()))  # CUDA has them in one module
        assert len(defined) == len(set(defined)), f"defined twice: {defined}"
        return self.compiler.compile(prelude, kernels)

    # ---- the stream

    def upload(self, target: int, source: np.ndarray) -> None:
        self._refuse_in_a_recording("upload")
        assert source.flags.c_contiguous
        self.log.append("upload")
        ctypes.memmove(target, source.ctypes.data, source.nbytes)

    def upload_ahead(self, target: int, source: np.ndarray) -> None:
        self._refuse_in_a_recording("upload_ahead")
        assert source.flags.c_contiguous
        self.log.append("upload_ahead")
        self._ahead.append((target, source))

    def wait_for_uploads(self) -> None:
        self._refuse_in_a_recording("wait_for_uploads")
        self.log.append("wait_for_uploads")
        for target, source in self._ahead:
            ctypes.memmove(target, source.ctypes.data, source.nbytes)
        self._ahead.clear()

    def download(self, target: np.ndarray, source: int) -> None:
        self._refuse_in_a_recording("download")
        assert target.flags.c_contiguous and target.flags.writeable
        self.log.append("download")
        ctypes.memmove(target.ctypes.data, source, target.nbytes)

    def copy(self, target: int, source: int, nbytes: int) -> None:
        self._queue("copy", lambda: ctypes.memmove(target, source, nbytes))

    def wait_for(self, stream: int) -> None:
        self._refuse_in_a_recording("wait_for")
        self.waited_for.append(stream)

    def launch(self, launch: Launch) -> None:
        self._queue("launch", lambda: self._run(launch))

    def replay(self, recording: Any) -> None:
        self._refuse_in_a_recording("replay")
        self.log.append("replay")
        for work in recording:
            work()

    def record(self, work: Callable[[], None]) -> Any:
        self._refuse_in_a_recording("record")
        self._recording = []
        try:
            work()
            return tuple(self._recording)
        finally:
            self._recording = None

    def synchronise(self) -> None:
        self._refuse_in_a_recording("synchronise")
        self.log.append("synchronise")
        for memory in self._memory:
            assert memory.is_intact, "a kernel wrote outside of its memory"

    def time(self, parts: Sequence[Callable[[], None]]) -> list[float]:
        seconds = []
        for part in parts:
            start = time.perf_counter()
            part()
            seconds.append(time.perf_counter() - start)
        return seconds

    def _queue(self, name: str, work: Callable[[], Any]) -> None:
        if self._recording is None:
            self.log.append(name)
            work()
        else:
            self._recording.append(work)

    def _run(self, launch: Launch) -> None:
        self.launched += 1
        x, y, z = launch.grid
        threads = int(np.prod(launch.block))
        assert 0 < x < 2**31 and 0 < y < 2**16 and 0 < z < 2**16, launch.grid
        assert 0 < threads <= 1024 and launch.shared_bytes <= 227 << 10
        dimensions = np.array([*launch.grid, *launch.block], np.uint32)
        words = np.array([int(argument) % 2**64 for argument in launch.arguments], np.uint64)
        code = launch.function(dimensions.ctypes.data, words.ctypes.data, int(self._backward))
        assert code == 0, "threads of a warp wait for lanes that do not come"

    def _refuse_in_a_recording(self, what: str) -> None:
        assert self._recording is None, f"{what} is not allowed while a stream is captured"
