"""A device of the CuPy backend that runs its CUDA C on the CPU, compiled by g++."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from minigraph.backends.cupy.device import DeviceInfo, Launch

HEADER = Path(__file__).with_name("cuda_on_cpu.h")
COMPILER = shutil.which("g++")

_GUARD = 256  # bytes before and after each allocation that no kernel may write
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


# ---- compiled kernels


class Function:
    """A kernel that is compiled, with all others that wait, when it is launched for the first time.

    g++ takes longer to start than for a kernel.
    """

    def __init__(self, compiler: Compiler, prelude: str, name: str, source: str) -> None:
        self._compiler = compiler
        self.prelude, self.name, self.source = prelude, name, source
        self.native: Any = None

    def __call__(self, *arguments: int) -> int:
        if self.native is None:
            self._compiler.build(self)
        return self.native(*arguments)


class Compiler:
    """Compiles CUDA C by g++. Equal kernels of all who share it are compiled once."""

    def __init__(self) -> None:
        self.functions: dict[tuple[str, str], Function] = {}  # by prelude and source
        self._waiting: list[Function] = []
        self._temporary = tempfile.TemporaryDirectory(prefix="minigraph-emulator-")
        self._folder = Path(self._temporary.name)
        self._headers: dict[str, Path] = {}  # by prelude
        self._numbers = count()

    def compile(self, prelude: str, kernels: Mapping[str, str]) -> Mapping[str, Function]:
        """Functions by name; nothing is compiled before one of them is launched."""
        found = {}
        for name, source in kernels.items():
            key = (prelude, source)
            if key not in self.functions:
                self.functions[key] = Function(self, prelude, name, source)
                self._waiting.append(self.functions[key])
            found[name] = self.functions[key]
        return found

    def build(self, function: Function) -> None:
        """Compile all that wait, on all processors; where that fails, this one alone."""
        waiting, self._waiting = self._waiting, []
        groups: dict[str, list[Function]] = {}
        for one in waiting:
            groups.setdefault(one.prelude, []).append(one)
        for prelude in groups:
            self._header(prelude)
        parts = [
            functions[start : start + _TOGETHER]
            for functions in groups.values()
            for start in range(0, len(functions), _TOGETHER)
        ]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for _ in pool.map(self._build_unless_wrong, parts):
                pass
        if function.native is None:
            self._build([function])

    def _build_unless_wrong(self, functions: Sequence[Function]) -> None:
        with suppress(CompileError):
            self._build(functions)

    def _build(self, functions: Sequence[Function]) -> None:
        base = self._folder / f"module{next(self._numbers)}"
        entries = (
            f'extern "C" int launch_{f.name}(const unsigned* d, const uint64_t* words, int back)\n'
            f"{{ return emulator::launch([] {{ emulator::call({f.name}); }}, d, words, back); }}\n"
            for f in functions
        )
        source, target = base.with_suffix(".cpp"), base.with_suffix(".so")
        start = f'#include "{self._headers[functions[0].prelude]}"\n'
        source.write_text(start + "\n".join([*(f.source for f in functions), *entries]))
        _compile("-shared", "-o", target, source)
        library = ctypes.CDLL(str(target))
        for function in functions:
            function.native = library[f"launch_{function.name}"]
            function.native.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)

    def _header(self, prelude: str) -> None:
        """The emulator and a prelude, compiled in advance."""
        if prelude not in self._headers:
            path = self._folder / f"prelude{len(self._headers)}.h"
            path.write_text(f'#include "{HEADER}"\n{prelude}')
            _compile("-x", "c++-header", "-o", f"{path}.gch", path)
            self._headers[prelude] = path


_TOGETHER = 64  # kernels that one run of g++ compiles


class CompileError(Exception):
    """What g++ has to say, and the source."""


def _compile(*arguments: object) -> None:
    if COMPILER is None:
        raise CompileError("g++ is not there")
    command = [COMPILER, "-std=c++17", *os.environ.get("OPT","-O1").split(), "-fwrapv", "-fPIC", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise CompileError(f"{done.stderr[:4000]}\n{Path(command[-1]).read_text()}")


@lru_cache(maxsize=1)
def shared_compiler() -> Compiler:
    """The session's compiler."""
    return Compiler()
