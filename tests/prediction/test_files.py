"""Which images are meant, and what their results are called."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigraph.prediction.files import find_images, output_names


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.jpg", "b.PNG", "notes.txt", ".hidden.png", "inner/a.jpg", "inner/c.bmp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_files_folders_and_patterns_each_once(folder: Path, monkeypatch) -> None:
    def names(*arguments: object) -> list[str]:
        found = find_images([str(argument) for argument in arguments])
        return [str(path.resolve().relative_to(folder)) for path in found]

    assert names(folder) == ["a.jpg", "b.PNG"]
    assert names(folder / "b.PNG", folder) == ["b.PNG", "a.jpg"]
    assert names(folder / "*.jpg", folder / "inner") == ["a.jpg", "inner/a.jpg", "inner/c.bmp"]
    assert names(f"{folder}/**/*") == ["a.jpg", "b.PNG", "inner/a.jpg", "inner/c.bmp"]
    monkeypatch.chdir(folder)
    assert names("a.jpg", folder / "inner" / ".." / "a.jpg") == ["a.jpg"]
    assert names("notes.txt") == ["notes.txt"]  # named outright: its reader will say what it is


@pytest.mark.parametrize("argument", ["nowhere.png", "*.tiff", "empty"])
def test_nothing_meant(folder: Path, argument: str) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="Expected") as caught:
        find_images([str(folder / argument)])
    assert argument in str(caught.value)


def test_names_that_collide_are_kept_apart() -> None:
    files = ("x/a.jpg", "x/a.png", "y/a.png", "x/b.png", "x/B.jpg", "z/c.png")
    paths = [Path(file) for file in files]
    assert output_names(paths) == ["a-jpg", "x-a-png", "y-a-png", "b-png", "B-jpg", "c"]
    same = [Path(p) for p in ("1/x/a.png", "2/x/a.png", "a-png.png")]
    assert output_names(same) == ["x-a-png-1", "x-a-png-2", "a-png"]


NAMES = st.sampled_from(["a", "A", "b", "a-png", "x-a-png", "x-a-png-1", "a.b"])
PATHS = st.tuples(
    st.sampled_from(["x", "y", "1/x", "2/x"]), NAMES, st.sampled_from(["png", "PNG", "jpg"])
)


@given(st.lists(PATHS, unique=True, min_size=1, max_size=20))
def test_no_two_names_are_the_same(parts: list[tuple[str, str, str]]) -> None:
    paths = [Path(f"{folder}/{name}.{suffix}") for folder, name, suffix in parts]
    names = output_names(paths)
    assert len({name.lower() for name in names}) == len(paths)
    assert all("/" not in name for name in names)
