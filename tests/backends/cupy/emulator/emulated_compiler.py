"""Compiles CUDA C for the CPU by g++. Processes with the same folder compile each kernel once."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

HEADER = Path(__file__).with_name("cuda_on_cpu.h")
COMPILER = None if sys.platform == "win32" else shutil.which("g++")

FOLDER_VARIABLE = "MINIGRAPH_EMULATOR_FOLDER"
"""Of the environment: where compiled kernels are kept. Without it each process has a folder."""

_FLAGS = ("-std=c++17", "-O0", "-fwrapv", "-fPIC")  # kernels run for less time than -O1 takes
_FEWEST, _MOST = 16, 64  # kernels that one run of g++ compiles


class CompileError(Exception):
    """What g++ has to say, and the source."""


class Function:
    """A kernel that is compiled, with all others that wait, when it is launched for the first time.

    g++ takes longer to start than for a kernel.
    """

    def __init__(self, compiler: Compiler, prelude: str, name: str, source: str) -> None:
        self._compiler = compiler
        self.prelude, self.name, self.source = prelude, name, source
        self._native: Any = None

    def __call__(self, *arguments: int) -> int:
        if self._native is None:
            self._native = self._load()
        return self._native(*arguments)

    def _load(self) -> Any:
        native = _library(self._compiler.module(self))[f"launch_{self.name}"]
        native.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)
        return native


class Compiler:
    """Equal kernels of all who share a compiler, or a folder, are compiled once.

    Files are named by hashes of what they are made from. In a folder for each prelude there are
    the precompiled ``prelude.h``, modules of kernels, and for each kernel a file that names its
    module. Whoever compiles holds the folder's lock; others wait, and find what has been made.
    """

    def __init__(self) -> None:
        self.functions: dict[tuple[str, str], Function] = {}  # by prelude and source
        self._waiting: list[Function] = []
        given = os.environ.get(FOLDER_VARIABLE)
        if not given:
            self._temporary = tempfile.TemporaryDirectory(prefix="minigraph-emulator-")
        self._root = Path(given or self._temporary.name).absolute()

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

    def module(self, function: Function) -> Path:
        """The module with a function. Where there is none, all that wait are compiled.

        Raises CompileError where g++ refuses this function; others are not held up by it.
        """
        if (found := self._find(function)) is not None:
            return found
        with _locked(self._folder(function.prelude)):
            self._build_waiting(function.prelude)
            if (found := self._find(function)) is not None:
                return found
            return self._build([function])

    def _build_waiting(self, prelude: str) -> None:
        """On all processors."""
        chosen = [f for f in self._waiting if f.prelude == prelude]
        self._waiting = [f for f in self._waiting if f.prelude != prelude]
        missing = [f for f in chosen if self._find(f) is None]
        processors = os.cpu_count() or 1
        size = min(max(-(-len(missing) // processors), _FEWEST), _MOST)
        parts = [missing[i : i + size] for i in range(0, len(missing), size)]
        self._header(prelude)
        with ThreadPoolExecutor(processors) as pool:
            for _ in pool.map(self._build_unless_wrong, parts):
                pass

    def _build_unless_wrong(self, functions: Sequence[Function]) -> None:
        with suppress(CompileError):
            self._build(functions)

    def _build(self, functions: Sequence[Function]) -> Path:
        """One module, and then the files that name it."""
        entries = (
            f'extern "C" int launch_{f.name}(const unsigned* d, const uint64_t* words, int back)\n'
            f"{{ return emulator::launch([] {{ emulator::call({f.name}); }}, d, words, back); }}\n"
            for f in functions
        )
        header = self._header(functions[0].prelude)
        text = "\n".join([f'#include "{header}"', *(f.source for f in functions), *entries])
        source = header.with_name(f"module-{_hash(text)}.cpp")
        source.write_text(text)
        target = source.with_suffix(".so")
        _run("-shared", "-o", target, source)
        for function in functions:
            _write_at_once(self._entry(function), target.name)
        return target

    def _find(self, function: Function) -> Path | None:
        entry = self._entry(function)
        return entry.with_name(entry.read_text()) if entry.exists() else None

    def _entry(self, function: Function) -> Path:
        digest = _hash(function.name, function.source)
        return self._folder(function.prelude) / f"kernel-{digest}"

    def _folder(self, prelude: str) -> Path:
        return self._root / _hash(_identity(), prelude)

    def _header(self, prelude: str) -> Path:
        """The emulator and a prelude, compiled in advance."""
        path = self._folder(prelude) / "prelude.h"
        compiled = path.with_suffix(".h.gch")
        if not compiled.exists():
            path.write_text(f'#include "{HEADER}"\n{prelude}')
            unfinished = path.with_suffix(".unfinished")
            _run("-x", "c++-header", "-o", unfinished, path)
            unfinished.rename(compiled)
        return path


@lru_cache(maxsize=1)
def shared_compiler() -> Compiler:
    """The process's compiler."""
    return Compiler()


def _run(*arguments: object) -> None:
    command = [str(COMPILER), *_FLAGS, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise CompileError(f"{done.stderr[:4000]}\n{Path(command[-1]).read_text()}")


@cache
def _identity() -> str:
    """All that modules depend on besides their kernels: the compiler, its flags, the emulator."""
    if COMPILER is None:
        raise CompileError("g++ is not there")
    said = subprocess.run([COMPILER, "-v"], capture_output=True, text=True, check=True).stderr
    return _hash(COMPILER, said, *_FLAGS, str(HEADER), HEADER.read_text())


@cache
def _library(module: Path) -> ctypes.CDLL:
    return ctypes.CDLL(str(module))


def _hash(*texts: str) -> str:
    return hashlib.sha256(repr(texts).encode()).hexdigest()[:24]


def _write_at_once(path: Path, text: str) -> None:
    """No reader finds half of it."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(text)
    unfinished.rename(path)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time; the lock of a process that ends is free."""
    import fcntl  # not on Windows, where nothing is compiled

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
