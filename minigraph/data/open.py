"""Open a data set by its name: the generated one, a folder, or one that was downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from minigraph.data.dataset import Dataset, pixel_bytes
from minigraph.data.download import DOWNLOADS, find_download
from minigraph.data.files import FileDataset
from minigraph.data.layouts import Options, Parts, open_folder
from minigraph.data.pictures import Size
from minigraph.data.shapes import generate_shapes

SHAPES = "shapes"
SHAPES_SIZE = (48, 48)
MEMORY_BUDGET = 2 * 2**30


def open_dataset(
    name: str | Path,
    *,
    crop: Size | None = None,
    size: Size | None = None,
    channels: int | None = None,
    class_names: Sequence[str] | None = None,
    void_label: int | None = None,
    held_out: float | None = None,
    seed: int = 0,
    memory_budget: int = MEMORY_BUDGET,
) -> Parts:
    """The training and the held-out part of a data set.

    Args:
        name: ``shapes`` (generated, needs no files); a folder in one of the layouts that
            `minigraph datasets` lists; or the name of a set that was downloaded, such as
            ``fashion-mnist``; a folder of that name comes first. A folder called ``shapes`` is
            asked for as ``./shapes`` or as a `Path`.
        crop: (height, width) to keep of each picture with a mask, from the top left corner.
        size: (height, width) of all pictures: those with one label are resized to it, those with
            masks lie at the top left of a frame, larger ones shrunk to fit, the rest void.
        channels: 1 or 3; None takes what the first picture has.
        class_names: names of the classes; None takes the lines of `classes.txt` in the folder, else
            the names of the class folders, else as many as the masks have labels.
        void_label: label of pixels that nobody labelled; None takes CamVid's 11 for the layout of
            CamVid, else 255 if that occurs.
        held_out: share held out of a folder without `val` or `test`; None is 0.2. It is the last
            block in order of file names (of each class, in class folders): the `name` of the parts
            says so.
        seed: chooses the generated pictures.
        memory_budget: bytes; both parts are read into memory if their pictures and labels take no
            more, else their files are read when they are fetched. IDX files and generated pictures
            are always in memory.

    Returns:
        Two data sets of one picture shape and the same classes.

    Raises:
        FileNotFoundError: there is no such folder, or nothing known in it.
        ValueError: naming the file: something in it is wrong; or an option that does not apply; or
            ``shapes`` where there is a folder of that name too.
    """
    names = None if class_names is None else tuple(class_names)
    options = Options(crop, size, channels, names, void_label, held_out)
    if _is_generated(name):
        return _generate(options, seed)
    train, held = open_folder(find_folder(name), options)
    if pixel_bytes(train) + pixel_bytes(held) <= memory_budget:
        return _in_memory(train), _in_memory(held)
    return train, held


def check_dataset(
    name: str | Path,
    *,
    crop: Size | None = None,
    size: Size | None = None,
    channels: int | None = None,
    class_names: Sequence[str] | None = None,
    void_label: int | None = None,
    held_out: float | None = None,
) -> list[str]:
    """A line for everything that is wrong with a data set in a folder: every file is read.

    The arguments are those of `open_dataset`, which stops at the first problem.
    """
    if _is_generated(name):
        return []
    names = None if class_names is None else tuple(class_names)
    options = Options(crop, size, channels, names, void_label, held_out)
    problems: list[Exception] = []
    lines: list[str] = []
    folder = find_folder(name)
    try:
        for part in open_folder(folder, options, problems.append):
            lines += part.problems() if isinstance(part, FileDataset) else []
    except (OSError, ValueError) as problem:
        problems.append(problem)
    return list(dict.fromkeys([*map(str, problems), *lines]))


def find_folder(name: str | Path) -> Path:
    """The folder of that name, or of the downloaded set. Raises FileNotFoundError otherwise."""
    folder = Path(name)
    if folder.is_dir():
        return folder if folder.name else folder.resolve()  # "." is called by its name
    if str(name) in DOWNLOADS:
        downloaded = find_download(str(name))
        if downloaded is not None:
            return downloaded
        raise FileNotFoundError(
            f"Expected a folder {name} here, or {name} among the downloaded sets, got neither: "
            f"minigraph datasets {name} --download"
        )
    known = ", ".join([SHAPES, *DOWNLOADS])
    raise FileNotFoundError(
        f"Expected a folder or one of {known} as the data set, got {str(name)!r}"
    )


def _is_generated(name: str | Path) -> bool:
    """Are the generated shapes meant? Raises ValueError where a folder could be as well."""
    if name != SHAPES:
        return False
    if Path(SHAPES).is_dir():
        raise ValueError(
            f"Expected one data set called {SHAPES}, got the generated one and a folder "
            f"{Path(SHAPES).resolve()}: write ./{SHAPES} for the folder, or rename it for the "
            f"generated one"
        )
    return True


def _generate(options: Options, seed: int) -> Parts:
    for option, value in options.given():
        if option != "size":
            raise ValueError(
                f"Expected no {option} for the generated shapes, got {option}={value}: leave it out"
            )
    size = options.size or SHAPES_SIZE
    return (
        generate_shapes(1000, size, seed=2 * seed),
        generate_shapes(200, size, seed=2 * seed + 1),
    )


def _in_memory(dataset: Dataset) -> Dataset:
    return dataset.in_memory() if isinstance(dataset, FileDataset) else dataset
