"""Classification sets in folders: a folder for each class, its pictures inside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from minigraph.data.dataset import ArrayDataset
from minigraph.data.files import FileDataset, Sample, open_files
from minigraph.data.framing import Resized
from minigraph.data.labels import check_classes
from minigraph.data.pictures import Size, check_channels, check_size, list_pictures

WAY_OUT = "Pass size=(height, width) to resize all of them"


def open_class_folders(
    root: str | Path,
    class_names: Sequence[str] | None = None,
    *,
    channels: int = 3,
    size: Size | None = None,
    name: str | None = None,
) -> FileDataset:
    """All pictures of `<root>/<class>/<picture>`, class by class, in order of their names.

    Hidden files, and files that are no pictures by their ending, are passed over. The headers of
    all pictures are looked at here, their pixels when they are fetched. Pictures are turned as
    their EXIF orientation says.

    Args:
        root: the folder of the folders.
        class_names: the classes in the order of their labels, each a folder's name; by default the
            folders in order of their names. Give a validation set its training set's: labels then
            mean the same, and a class without a folder is one without pictures.
        channels: 3 for RGB (grey is copied to all three), 1 for grey (colours become luminance).
        size: (height, width) to which every picture is resized, bilinearly and without regard to
            its proportions; None if all are of one size already.
        name: what reports call the set; by default the name of `root`.

    Returns:
        A data set of images uint8 ``(N, channels, H, W)`` and labels uint8 ``(N,)``.

    Raises:
        FileNotFoundError: `root`, every class folder or every picture is missing, or a class that
            `class_names` does not ask for by name has no pictures.
        ValueError: naming the file or folder: a folder is no class, sizes differ, or a picture
            cannot be read.
    """
    check_channels(channels)
    check_size(size)
    root = Path(root)
    names, samples = list_classes(root, class_names)
    (dataset,) = open_files(
        [(name or root.name, samples)],
        names,
        channels=channels,
        framing=None if size is None else Resized(size),
        way_out=WAY_OUT,
    )
    return dataset


def load_class_folders(
    root: str | Path,
    class_names: Sequence[str] | None = None,
    *,
    channels: int = 3,
    size: Size | None = None,
    name: str | None = None,
) -> ArrayDataset:
    """`open_class_folders`, read into memory."""
    opened = open_class_folders(root, class_names, channels=channels, size=size, name=name)
    return opened.in_memory()


def list_classes(
    root: Path, class_names: Sequence[str] | None
) -> tuple[tuple[str, ...], list[Sample]]:
    """(names of the classes, every picture with its label, class by class)."""
    folders = class_folders(root)
    names = tuple(folders if class_names is None else class_names)
    check_classes(names, None, str(root))
    for folder in folders:
        if folder not in names:
            raise ValueError(
                f"Expected folders named by class ({', '.join(names)}), got another: "
                f"{root / folder}"
            )
    samples: list[Sample] = []
    for label, name in enumerate(names):
        pictures = list_pictures(root / name) if name in folders else []
        if not pictures and class_names is None:
            raise FileNotFoundError(f"Expected pictures, got an empty folder: {root / name}")
        samples += [Sample(path, label) for path in pictures]
    if not samples:
        raise FileNotFoundError(f"Expected pictures in folders named by class, got none: {root}")
    return names, samples


def class_folders(root: Path) -> list[str]:
    """The names of the folders in `root`, hidden ones left out, in order."""
    if not root.is_dir():
        raise FileNotFoundError(f"Expected a folder of class folders, got no folder: {root}")
    folders = sorted(
        path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
    if not folders:
        raise FileNotFoundError(f"Expected a folder for each class, got none: {root}")
    return folders
