"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
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


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    names = [".a.json.12-34", ".a.json.old", ".b.json.1-2", "a.json", "a.json.1-2"]
    for name in names:
        (tmp_path / name).write_text("")
    remove_unfinished(tmp_path, ("a.json",))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[1:])
