"""Find out what a folder holds, and read it."""

from __future__ import annotations

from pathlib import Path

from minigraph.data.batches import ArrayDataset
from minigraph.data.folder import load_segmentation_split
from minigraph.data.idx import FASHION_MNIST_CLASSES, MNIST_CLASSES, load_idx_classification
from minigraph.data.shapes import generate_shapes

SHAPES = "shapes"


def open_dataset(
    name: str, *, crop: tuple[int, int] | None = None, seed: int = 0
) -> tuple[ArrayDataset, ArrayDataset]:
    """The training and the held-out part of a data set.

    ``name`` is ``shapes`` (generated, needs no files), or a folder: the four IDX files of MNIST or
    Fashion-MNIST, or ``train``, ``trainannot``, ``val``, ``valannot`` as CamVid has them. ``crop``
    keeps that many rows and columns of each picture. Raises ValueError or FileNotFoundError with
    what was looked for.
    """
    if name == SHAPES and crop is not None:
        raise ValueError("Expected no crop for the generated shapes, which are 48x48: leave it out")
    if name == SHAPES:
        return generate_shapes(1000, (48, 48), seed=2 * seed), generate_shapes(
            200, (48, 48), seed=2 * seed + 1
        )
    folder = Path(name)
    if not folder.is_dir():
        raise FileNotFoundError(f"Expected '{SHAPES}' or a folder as the data set, got {name!r}")
    if any(folder.glob("train-images-idx3-ubyte*")):
        if crop is not None:
            raise ValueError(f"Expected no crop for the IDX files in {folder}: leave it out")
        names = FASHION_MNIST_CLASSES if "fashion" in folder.name else MNIST_CLASSES
        train, test = (load_idx_classification(folder, split, names) for split in ("train", "test"))
        return train, test
    if (folder / "train").is_dir() and (folder / "trainannot").is_dir():
        train, validation = (
            load_segmentation_split(folder, split, crop=crop) for split in ("train", "val")
        )
        return train, validation
    raise FileNotFoundError(
        f"Expected IDX files (train-images-idx3-ubyte.gz ...) or the folders train, trainannot, "
        f"val, valannot in {folder}, got neither"
    )
