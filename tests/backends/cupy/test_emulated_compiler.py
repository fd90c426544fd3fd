"""Kernels of the emulator are compiled once for all who share a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import emulated_compiler
import pytest
from cupy_cases import needs_compiler
from emulated_compiler import COMPILER, FOLDER_VARIABLE, CompileError, Compiler, Function

pytestmark = needs_compiler

WRONG = 'extern "C" __global__ void wrong() { ? }'


def kernel(name: str, value: int = 1) -> str:
    return f'extern "C" __global__ void {name}(int* y) {{ *y = {value}; }}'


def function(prelude: str, name: str, source: str) -> Function:
    return Compiler().compile(prelude, {name: source})[name]


def is_compiled(prelude: str, name: str, source: str) -> bool:
    """Does a compiler that is new find this without running g++?"""

    def refuse(*arguments: object) -> None:
        raise CompileError("g++ would run")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(emulated_compiler, "_run", refuse)
        try:
            Compiler().module(function(prelude, name, source))
        except CompileError:
            return False
    return True


def test_what_lies_in_the_folder_is_not_compiled_again(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    sources = {"one": kernel("one"), "two": kernel("two")}
    compiler = Compiler()
    compiler.module(compiler.compile("", sources)["one"])  # "two" waits, and is compiled with it
    assert is_compiled("", "one", sources["one"]) and is_compiled("", "two", sources["two"])
    assert not is_compiled("", "one", kernel("one", 2))
    assert not is_compiled("// another", "one", sources["one"])


def test_a_kernel_that_is_wrong_leaves_nothing_in_the_folder(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    compiler = Compiler()
    found = compiler.compile("", {"wrong": WRONG, "right": kernel("right")})
    compiler.module(found["right"])
    for asked in (compiler, Compiler()):
        with pytest.raises(CompileError, match="expected"):
            asked.module(found["wrong"])


def test_processes_that_start_at_once_compile_a_kernel_once(tmp_path) -> None:
    wrapper, log = tmp_path / "bin" / "g++", tmp_path / "log"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\necho "$*" >> "{log}"\nexec "{COMPILER}" "$@"\n')
    wrapper.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{wrapper.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(Path(emulated_compiler.__file__).parent),
        FOLDER_VARIABLE: str(tmp_path / "kernels"),
    }
    program = (
        "import emulated_compiler; compiler = emulated_compiler.Compiler(); "
        f"compiler.module(compiler.compile('', {{'one': {kernel('one')!r}}})['one'])"
    )
    command = [sys.executable, "-c", program]
    processes = [subprocess.Popen(command, env=environment) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    runs = [line for line in log.read_text().splitlines() if line != "-v"]
    assert sorted("-shared" in run for run in runs) == [False, True], runs
