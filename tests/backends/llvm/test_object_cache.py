"""Object code on disk: found again, checked, bounded, private."""

from __future__ import annotations

import os
import stat
import time

import pytest

pytest.importorskip("llvmlite")

import numpy as np

import minigraph as mg
from minigraph.backends.llvm import LlvmBackend
from minigraph.backends.llvm.library import Library
from minigraph.backends.llvm.object_cache import ObjectCache
from minigraph.backends.llvm.target import host
from minigraph.cache_folder import CACHE_VARIABLE


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    return tmp_path / "llvm"


def result(backend):
    exe = mg.compile(lambda x: {"y": mg.exp(x) + 1.0}, {"x": "float32[3]"}, backend=backend)
    return exe(x=np.zeros(3, np.float32))["y"].tolist()


def test_a_second_process_would_compile_nothing(folder):
    first, second = LlvmBackend(1), LlvmBackend(1)
    assert result(first) == result(second) == [2.0, 2.0, 2.0]
    assert first.library.compiled > 0 and second.library.compiled == 0


def test_an_interrupt_begins_no_further_kernel(folder, monkeypatch):
    begun = []

    def compile_slowly(text, target):
        begun.append(text)
        if len(begun) == 1:
            raise KeyboardInterrupt
        time.sleep(0.05)

    monkeypatch.setattr("minigraph.backends.llvm.library.assembly", lambda code, target: code)
    monkeypatch.setattr("minigraph.backends.llvm.library.compile_assembly", compile_slowly)
    library = Library(host(), ObjectCache(folder))
    with pytest.raises(KeyboardInterrupt):
        library._compile([f"kernel{number}" for number in range(200)])
    assert len(begun) < 200


def test_another_target_has_code_of_its_own(folder):
    result(LlvmBackend(1))
    other = LlvmBackend(1, "sse4")
    assert result(other) == [2.0, 2.0, 2.0] and other.library.compiled > 0


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "huge"])
def test_damaged_files_are_made_again(folder, damage):
    result(LlvmBackend(1))
    for path in folder.iterdir():
        data = bytearray(path.read_bytes())
        if damage == "cut":
            data = data[: len(data) // 2]
        elif damage == "flip":
            data[len(data) // 2] ^= 1
        elif damage == "empty":
            data = bytearray()
        else:
            os.truncate(path, 1 << 30)
            continue
        path.write_bytes(data)
    backend = LlvmBackend(1)
    assert result(backend) == [2.0, 2.0, 2.0] and backend.library.compiled > 0
    assert LlvmBackend(1).library is not None and result(LlvmBackend(1)) == [2.0, 2.0, 2.0]


def test_the_least_recently_used_files_go_first(tmp_path):
    tmp_path.chmod(0o700)
    cache = ObjectCache(tmp_path, max_bytes=3 * 132)
    for number in range(4):
        cache.write(f"key{number}", bytes(100))
        os.utime(tmp_path / f"key{number}.o", (number, number))
    assert cache.read("key0") == bytes(100)  # used just now
    cache.prune()
    assert cache.read("key1") is None
    assert all(cache.read(f"key{n}") is not None for n in (0, 2, 3))


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs POSIX modes")
def test_a_folder_that_others_may_write_to_is_not_used(tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o777)
    cache = ObjectCache(folder)
    cache.write("key", b"code")
    assert cache.read("key") is None and not list(folder.iterdir())
    private = tmp_path / "private"
    ObjectCache(private).write("key", b"code")
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert ObjectCache(private).read("key") == b"code"


def test_without_a_folder_nothing_fails(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file"))
    assert result(LlvmBackend(1)) == [2.0, 2.0, 2.0]
