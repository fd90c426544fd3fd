"""Find out what a folder holds, and read it."""

from __future__ import annotations

from pathlib import Path

from minigraph.data.batches import ArrayDataset
from minigraph.data.class_folders import load_class_folders
from minigraph.data.folder import load_segmentation_split
from minigraph.data.idx import FASHION_MNIST_CLASSES, MNIST_CLASSES, load_idx_classification
from minigraph.data.shapes import generate_shapes
from minigraph.data.voc import VOC_SIZE, load_voc_segmentation

SHAPES = "shapes"


def open_dataset(
    name: str,
    *,
    crop: tuple[int, int] | None = None,
    size: tuple[int, int] | None = None,
    seed: int = 0,
) -> tuple[ArrayDataset, ArrayDataset]:
    """The training and the held-out part of a data set.

    ``name`` is ``shapes`` (generated, needs no files), or a folder that holds one of:

    - the four IDX files of MNIST or Fashion-MNIST;
    - ``train``, ``trainannot``, ``val``, ``valannot`` as CamVid has them; ``crop`` keeps that many
      rows and columns of each picture;
    - ``ImageSets``, ``JPEGImages``, ``SegmentationClass`` as Pascal VOC 2012 has them; ``size`` is
      that of the frames (`load_voc_segmentation`);
    - ``train`` and ``val`` (or ``test``) with a folder for each class; ``size`` is what pictures
      are resized to (`load_class_folders`).

    Raises ValueError or FileNotFoundError with what was looked for.
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
    if (folder / "ImageSets" / "Segmentation").is_dir():
        _refuse_crop(crop, folder)
        train, validation = (
            load_voc_segmentation(folder, split, size=size or VOC_SIZE)
            for split in ("train", "val")
        )
        return train, validation
    held_out = "val" if (folder / "val").is_dir() else "test"
    if (folder / "train").is_dir() and (folder / held_out).is_dir():
        _refuse_crop(crop, folder)
        train = load_class_folders(folder / "train", size=size, name=f"{folder.name}/train")
        validation = load_class_folders(
            folder / held_out, train.class_names, size=size, name=f"{folder.name}/{held_out}"
        )
        if validation.image_shape != train.image_shape:
            raise ValueError(
                f"Expected pictures of {train.image_shape[1]}x{train.image_shape[2]} pixels as in "
                f"{folder / 'train'}, got {validation.image_shape[1]}x{validation.image_shape[2]}: "
                f"{folder / held_out}. Pass size=(height, width) to resize all of them"
            )
        return train, validation
    raise FileNotFoundError(
        f"Expected IDX files (train-images-idx3-ubyte.gz ...), the folders train, trainannot, "
        f"val, valannot, those of Pascal VOC 2012, or train and val with a folder for each class "
        f"in {folder}, got none of these"
    )


def _refuse_crop(crop: tuple[int, int] | None, folder: Path) -> None:
    if crop is not None:
        raise ValueError(
            f"Expected no crop for pictures of many sizes, got {crop[0]}x{crop[1]}: {folder}. "
            f"Give size instead"
        )
