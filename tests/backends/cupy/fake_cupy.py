"""What minigraph calls of CuPy 14, on the CPU: to run ``CudaDevice`` itself where there is no GPU.

Streams are queues. Nothing that is queued happens before somebody waits for it, so memory that is
given back or written again too early shows. Signatures are CuPy's, and so is what it refuses.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from emulated_device import EmulatedMemory, shared_compiler

from minigraph.backends.cupy.code import prelude

TOTAL = 1 << 30
TO_DEVICE, TO_HOST, WITHIN = 1, 2, 3
LEGACY = 1

Work = Callable[[], object]


class CUDARuntimeError(RuntimeError):
    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"status {status}")


class Queue:
    """A stream of the device."""

    def __init__(self) -> None:
        self.waiting: list[Work] = []
        self.captured: list[Work] | None = None

    def put(self, work: Work) -> None:
        (self.waiting if self.captured is None else self.captured).append(work)

    def drain(self, count: int | None = None) -> None:
        assert self.captured is None, "synchronisation while a stream is captured"
        for _ in range(len(self.waiting) if count is None else count):
            self.waiting.pop(0)()


class FakeCupy:
    """The module ``cupy``. Its parts are this object too: their names differ."""

    CUDARuntimeError = CUDARuntimeError
    memcpyHostToDevice, memcpyDeviceToHost, memcpyDeviceToDevice = TO_DEVICE, TO_HOST, WITHIN

    def __init__(self, pinned_bytes: int = TOTAL, records: bool = True) -> None:
        self.cuda = self.runtime = self.nvrtc = self
        self.queues: dict[int, Queue] = {LEGACY: Queue()}  # by stream
        self.events: dict[int, tuple[Queue, list[bool]]] = {}  # where recorded, whether passed
        self.current: list[int] = []  # streams
        self.pinned: list[np.ndarray] = []
        self.used = 0
        self.launched = 0
        self._pinned_left, self._records = pinned_bytes, records
        for kind in (Device, Memory, Stream, Event, RawModule):
            setattr(self, kind.__name__, _bound(kind, self))

    # ---- the runtime

    def driverGetVersion(self) -> int:
        return 12080

    def runtimeGetVersion(self) -> int:
        return 12090

    def getVersion(self) -> tuple[int, int]:
        return 12, 9

    def getDeviceCount(self) -> int:
        return 1

    def getDeviceProperties(self, device: int) -> dict[str, Any]:
        return {"name": b"fake", "major": 9, "minor": 0, "multiProcessorCount": 4,
                "totalGlobalMem": TOTAL}  # fmt: skip

    def memGetInfo(self) -> tuple[int, int]:
        return TOTAL - self.used, TOTAL

    def deviceSynchronize(self) -> None:
        for queue in self.queues.values():
            queue.drain()

    def memcpyAsync(self, dst: int, src: int, size: int, kind: int, stream: int) -> None:
        queue, work = self.queues[stream], lambda: ctypes.memmove(dst, src, size)
        host = {TO_DEVICE: src, TO_HOST: dst}.get(kind)
        if kind != WITHIN and queue.captured is not None:
            raise CUDARuntimeError(900)
        if host is not None and not self._is_pinned(host):  # through CUDA's own memory
            if kind == TO_HOST:
                queue.put(work)
                queue.drain()
                return
            held = ctypes.string_at(src, size)
            queue.put(lambda: ctypes.memmove(dst, held, size))
            return
        queue.put(work)

    def eventRecord(self, event: int, stream: int) -> None:
        queue = self.queues[stream]
        assert queue.captured is None
        passed = [False]
        queue.put(lambda: passed.__setitem__(0, True))
        self.events[event] = queue, passed

    def wait_for_event(self, event: int) -> None:
        queue, passed = self.events[event]
        while not passed[0]:
            queue.drain(1)

    def _is_pinned(self, address: int) -> bool:
        return any(0 <= address - a.ctypes.data < max(a.nbytes, 1) for a in self.pinned)

    # ---- cupy.cuda

    def alloc_pinned_memory(self, size: int) -> np.ndarray:
        if size > self._pinned_left:
            raise CUDARuntimeError(2)
        self.pinned.append(np.full(-(-size // 512) * 512, 0xFF, np.uint8))
        return self.pinned[-1]

    def get_elapsed_time(self, start_event: Any, end_event: Any) -> float:
        return 0.5

    def refuse_to_record(self) -> None:
        if not self._records:
            raise CUDARuntimeError(900)


def _bound(kind: type, cupy: FakeCupy) -> Callable[..., Any]:
    return lambda *args, **kwargs: kind(cupy, *args, **kwargs)


class Device:
    def __init__(self, cupy: FakeCupy, device: int) -> None:
        self.id = device

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *args: object) -> None: ...


class Memory:
    def __init__(self, cupy: FakeCupy, size: int) -> None:
        if size > TOTAL - cupy.used:
            raise CUDARuntimeError(2)
        self._cupy, self._memory = cupy, EmulatedMemory(size)
        self.ptr, self.size = self._memory.address, size
        cupy.used += size

    def __del__(self) -> None:
        if hasattr(self, "size"):
            self._cupy.used -= self.size
            assert self._memory.is_intact, "a kernel wrote outside of its memory"


class Stream:
    def __init__(self, cupy: FakeCupy, null: bool = False, non_blocking: bool = False) -> None:
        assert non_blocking
        self._cupy, self.ptr = cupy, 0x1000 * (1 + len(cupy.queues))
        self.queue = cupy.queues[self.ptr] = Queue()

    def __enter__(self) -> Stream:
        self._cupy.current.append(self.ptr)
        return self

    def __exit__(self, *args: object) -> None:
        self._cupy.current.pop()

    def synchronize(self) -> None:
        self.queue.drain()

    def wait_event(self, event: Event) -> None:
        assert self.queue.captured is None
        self.queue.put(lambda: self._cupy.wait_for_event(event.ptr))

    def begin_capture(self, mode: int | None = None) -> None:
        assert self.queue.captured is None
        self.queue.captured = []

    def end_capture(self) -> Graph:
        works, self.queue.captured = self.queue.captured, None
        assert works is not None
        self._cupy.refuse_to_record()
        return Graph(works)


class Graph:
    def __init__(self, works: list[Work]) -> None:
        self._works = works

    def upload(self, stream: Stream | None = None) -> None:
        assert stream is not None

    def launch(self, stream: Stream | None = None) -> None:
        assert stream is not None
        for work in self._works:
            stream.queue.put(work)


class Event:
    def __init__(self, cupy: FakeCupy, block: bool = False, disable_timing: bool = False) -> None:
        self._cupy, self.ptr = cupy, id(self)

    def record(self, stream: Stream | None = None) -> None:
        assert stream is not None
        self._cupy.eventRecord(self.ptr, stream.ptr)

    def synchronize(self) -> None:
        self._cupy.wait_for_event(self.ptr)


class RawModule:
    def __init__(
        self, cupy: FakeCupy, *, code: str, options: tuple[str, ...] = (), backend: str = "nvrtc"
    ) -> None:
        assert isinstance(options, tuple) and backend == "nvrtc"
        self._cupy, self._kernels, text = cupy, {}, ""
        for piece in re.split(r"(?<=\n}\n)\n", code.removeprefix(prelude())):
            text += piece
            if found := re.search(r'extern "C" __global__.*?\b(\w+)\((?!\d)', piece, re.DOTALL):
                self._kernels[found[1]], text = text, ""

    def get_function(self, name: str) -> RawKernel:
        source = self._kernels[name]
        if "asm" in source:
            return RawKernel(self._cupy, lambda *arguments: 0)
        return RawKernel(self._cupy, shared_compiler().compile(prelude(), {name: source})[name])


class RawKernel:
    def __init__(self, cupy: FakeCupy, function: Callable[[int, int, int], int]) -> None:
        self._cupy, self._function = cupy, function

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...], *,
        shared_mem: int = 0,
    ) -> None:  # fmt: skip
        assert isinstance(grid, tuple) and isinstance(block, tuple)
        assert all(type(a) in (np.uint64, np.int64, np.int32) for a in args)
        dimensions = np.array([*grid, *block], np.uint32)
        words = np.array([int(a) % 2**64 for a in args], np.uint64)
        self._cupy.launched += 1
        self._cupy.queues[self._cupy.current[-1]].put(
            lambda: self._function(dimensions.ctypes.data, words.ctypes.data, 0)
        )
