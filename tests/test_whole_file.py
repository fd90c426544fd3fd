"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

import minigraph as mg
from minigraph.whole_file import remove_unfinished, write_whole


def fail(number: int):
    def raising(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return raising


def test_it_makes_the_folder_and_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.json"
    for data in (b"first", b"second"):
        write_whole(path, data)
        assert path.read_bytes() == data
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "a.json"
    write_whole(path, b"first")
    owner = os if step == "fsync" else Path
    monkeypatch.setattr(owner, step, fail(errno.ENOSPC))
    with pytest.raises(mg.WriteError, match=r"write 6 bytes, got 'No space left.*unchanged"):
        write_whole(path, b"second")
    assert path.read_bytes() == b"first" and list(tmp_path.iterdir()) == [path]


def test_a_read_only_folder_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("open", "unlink"):
        monkeypatch.setattr(Path, name, fail(errno.EROFS))
    with pytest.raises(mg.WriteError, match="'Read-only file system'"):
        write_whole(tmp_path / "a.json", b"first")


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(mg.WriteError, match="a/b"):
        write_whole(tmp_path / "a" / "b", b"first")


def test_ctrl_c_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "a.json", b"first")
    assert not list(tmp_path.iterdir())


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 251 + ".bin")  # 255 bytes, the most that file systems take
    write_whole(path, b"data")
    assert path.read_bytes() == b"data" and list(tmp_path.iterdir()) == [path]


KILLED = """
import os, sys
from pathlib import Path
from minigraph.whole_file import write_whole
os.fsync = lambda _: os._exit(9)
write_whole(Path(sys.argv[1]), b"data")
"""


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        write_whole(tmp_path / name, b"first")
        killed = [sys.executable, "-c", KILLED, str(tmp_path / name)]
        assert subprocess.run(killed, check=False).returncode == 9
        assert (tmp_path / name).read_bytes() == b"first"
    assert len(list(tmp_path.iterdir())) == 4
    (tmp_path / ".a.json.old").write_text("")
    remove_unfinished(tmp_path, ("a.json",))
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left[0] == ".a.json.old" and left[2:] == ["a.json", "b.json"]
    remove_unfinished(tmp_path, ("b.json",))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.json.old", "a.json", "b.json"]


def test_what_a_living_process_writes_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = []
    monkeypatch.setattr(os, "getpid", os.getppid)  # as if the parent process were writing
    with monkeypatch.context() as writing:
        writing.setattr(Path, "replace", lambda path, _: left.append(path))
        write_whole(tmp_path / "a.json", b"first")
    monkeypatch.undo()
    remove_unfinished(tmp_path, ("a.json",))
    assert left[0].exists()
    monkeypatch.setattr(os, "getpid", os.getppid)  # its own it may remove
    remove_unfinished(tmp_path, ("a.json",))
    assert not left[0].exists()
