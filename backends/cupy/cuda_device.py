"""An NVIDIA GPU through CuPy. CuPy is imported when the first device is made."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import Any

import numpy as np

from minigraph.backend import Refused, Supported
from minigraph.backends.cupy.device import DeviceInfo, Launch
from minigraph.device_array import UNKNOWN_STREAM
from minigraph.ir.errors import MemoryLimitError

_LOG = logging.getLogger("minigraph")
_OPTIONS = ("--std=c++17",)  # CuPy adds -ftz=true: subnormal floats are zero, doubles are not
_INSTALL = 'pip install "minigraph[cuda12]", or cuda13 for drivers of CUDA 13'
_PLAIN_SHARED_BYTES = 48 << 10  # a kernel that wants more dynamic shared memory has to say so
_OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation: CuPy has no name for it
_AHEAD_SECONDS = 100e-6  # that the host may need to queue one launch
_MOST_AHEAD_SECONDS = 0.05
DELAY = """
// Does nothing for so many nanoseconds.
extern "C" __global__ void delay(long long nanoseconds)
{
    long long start, now;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(start));
    do asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
    while (now - start < nanoseconds);
}
"""


def available() -> Supported | Refused:
    """Whether there is a GPU that CuPy can use. Never raises."""
    try:
        import cupy
    except Exception as error:  # a broken installation too
        return Refused(f"CuPy cannot be imported ({error}): {_INSTALL}")
    runtime = cupy.cuda.runtime
    try:
        driver, wanted = runtime.driverGetVersion(), runtime.runtimeGetVersion()
        if driver == 0:
            return Refused("no NVIDIA driver is installed")
        if driver // 1000 < wanted // 1000:
            return Refused(
                f"the NVIDIA driver is for CUDA {cuda_version(driver)}, this CuPy for "
                f"{cuda_version(wanted)}: update the driver, or install the other CuPy ({_INSTALL})"
            )
        if runtime.getDeviceCount() == 0:
            return Refused("no GPU is visible (CUDA_VISIBLE_DEVICES may hide them)")
    except Exception as error:  # whatever the driver finds wrong
        return Refused(f"CUDA does not start: {error}")
    try:
        cupy.cuda.nvrtc.getVersion()
    except Exception as error:  # not found, or found and broken
        reason = " ".join(str(error).split())[:200]
        return Refused(f"CUDA's run-time compiler cannot be loaded ({reason}): {_INSTALL}")
    return Supported()


def cuda_version(number: int) -> str:
    """CUDA's version numbers in writing: 12090 is 12.9."""
    return f"{number // 1000}.{number % 1000 // 10}"


class CudaMemory:
    """Bytes of ``cudaMalloc``; CuPy frees them with this object."""

    def __init__(self, memory: Any, nbytes: int) -> None:
        self._memory = memory
        self.address = int(memory.ptr)
        self.nbytes = nbytes


class CudaDevice:
    """The methods of ``device.Device`` on the first visible GPU and a stream of its own.

    The stream does not wait for the default stream. Memory is taken from the driver and not from
    CuPy's pool: an arena is taken once, and must not grow unseen while a stream is captured.
    """

    def __init__(self) -> None:
        import cupy

        self._cupy = cupy
        self._runtime = cupy.cuda.runtime
        self._device = cupy.cuda.Device(0)
        with self._device:
            self._stream = cupy.cuda.Stream(non_blocking=True)
            self._upload_stream = cupy.cuda.Stream(non_blocking=True)
            self._uploaded = cupy.cuda.Event(disable_timing=True)
            properties = self._runtime.getDeviceProperties(self._device.id)
        self.info = DeviceInfo(
            name=properties["name"].decode(),
            capability=(properties["major"], properties["minor"]),
            multiprocessors=properties["multiProcessorCount"],
            total_bytes=properties["totalGlobalMem"],
        )

    runs_libraries = True

    @contextmanager
    def current(self) -> Iterator[None]:
        with self._device:
            self._runtime.setDevice(self._device.id)  # gives a thread that has none a context
            yield

    # ---- memory and code

    def free_bytes(self) -> int:
        with self._device:
            return int(self._runtime.memGetInfo()[0])

    def allocate(self, nbytes: int) -> CudaMemory:
        with self._device:
            try:
                return CudaMemory(self._cupy.cuda.Memory(max(nbytes, 1)), nbytes)
            except self._runtime.CUDARuntimeError as error:
                if error.status != _OUT_OF_MEMORY:
                    raise
        raise MemoryLimitError(
            f"Expected {nbytes:,} bytes of memory on {self.info.name}, got {self.free_bytes():,} "
            f"free: a smaller batch, or memory_limit=, takes less"
        )

    def host_array(self, nbytes: int) -> np.ndarray:
        if nbytes == 0:
            return np.empty(0, np.uint8)
        try:
            pinned = self._cupy.cuda.alloc_pinned_memory(nbytes)
        except self._runtime.CUDARuntimeError as error:
            if error.status != _OUT_OF_MEMORY:
                raise
            _LOG.warning("%s bytes cannot be pinned: copies from and to them are slower", nbytes)
            return np.empty(nbytes, np.uint8)
        return np.frombuffer(pinned, np.uint8, nbytes)

    def compile(self, prelude: str, kernels: Mapping[str, str]) -> Mapping[str, Any]:
        if not kernels:
            return {}
        code = "\n".join([prelude, *kernels.values()])
        with self._device:
            module = self._cupy.RawModule(code=code, options=_OPTIONS, backend="nvrtc")
            return {name: module.get_function(name) for name in kernels}

    # ---- queued on the stream

    @property
    def stream(self) -> int:
        return int(self._stream.ptr)

    def upload(self, target: int, source: np.ndarray) -> None:
        kind = self._runtime.memcpyHostToDevice
        self._copy(target, source.ctypes.data, source.nbytes, kind)

    def upload_ahead(self, target: int, source: np.ndarray) -> None:
        kind, stream = self._runtime.memcpyHostToDevice, int(self._upload_stream.ptr)
        if source.nbytes:
            with self._device:
                address = source.ctypes.data
                self._runtime.memcpyAsync(target, address, source.nbytes, kind, stream)

    def wait_for_uploads(self) -> None:
        with self._device:
            self._uploaded.record(self._upload_stream)
            self._stream.wait_event(self._uploaded)

    def download(self, target: np.ndarray, source: int) -> None:
        kind = self._runtime.memcpyDeviceToHost
        self._copy(target.ctypes.data, source, target.nbytes, kind)

    def copy(self, target: int, source: int, nbytes: int) -> None:
        self._copy(target, source, nbytes, self._runtime.memcpyDeviceToDevice)

    def _copy(self, target: int, source: int, nbytes: int, kind: int) -> None:
        if nbytes:
            with self._device:
                self._runtime.memcpyAsync(target, source, nbytes, kind, self.stream)

    def wait_for(self, stream: int) -> None:
        with self._device:
            if stream == UNKNOWN_STREAM:
                self._runtime.deviceSynchronize()
                return
            event = self._cupy.cuda.Event(disable_timing=True)
            self._runtime.eventRecord(event.ptr, stream)
            self._stream.wait_event(event)

    def launch(self, launch: Launch) -> None:
        kernel = launch.function
        with self._device, self._stream:
            if launch.shared_bytes > _PLAIN_SHARED_BYTES:
                kernel.max_dynamic_shared_size_bytes = launch.shared_bytes
            kernel(launch.grid, launch.block, launch.arguments, shared_mem=launch.shared_bytes)

    def replay(self, recording: Any) -> None:
        with self._device:
            if callable(recording):
                recording()
            else:
                recording.launch(self._stream)

    # ---- around the stream

    def record(self, work: Callable[[], None]) -> Any:
        """A CUDA graph; ``work`` itself where CUDA, or a library, refuses that."""
        try:
            with self._device:
                graph = self._captured(work)
                graph.upload(self._stream)
                return graph
        except RuntimeError as error:  # CUDA's too
            _LOG.warning("every call launches its kernels one by one, more slowly: %s", str(error))
            return work

    def _captured(self, work: Callable[[], None]) -> Any:
        self._stream.begin_capture()
        try:
            work()
        except BaseException:
            with suppress(RuntimeError):  # what the error has spoilt already
                self._stream.end_capture()
            raise
        return self._stream.end_capture()

    def synchronise(self) -> None:
        with self._device:
            self._stream.synchronize()

    def time(self, parts: Sequence[Callable[[], None]]) -> list[float]:
        """A delay comes first, so that the host is ahead: else its time would be measured."""
        cuda = self._cupy.cuda
        seconds = min(_AHEAD_SECONDS * len(parts), _MOST_AHEAD_SECONDS)
        with self._device:
            delay = self.compile("", {"delay": DELAY})["delay"]
            events = [cuda.Event() for _ in range(len(parts) + 1)]
            self.launch(Launch(delay, (1, 1, 1), (1, 1, 1), 0, (np.int64(seconds * 1e9),)))
            events[0].record(self._stream)
            for part, event in zip(parts, events[1:], strict=True):
                part()
                event.record(self._stream)
            events[-1].synchronize()
            return [cuda.get_elapsed_time(a, b) / 1e3 for a, b in pairwise(events)]
