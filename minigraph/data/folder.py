"""Segmentation sets in folders: pictures in one, masks of the same file names in another.

A mask says by the *value* of each pixel which class is there. Palette images are therefore read as
the indices that they store, never through their colours, and masks are never resized: between road
and sky (classes 3 and 0) there is no class 1.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from minigraph.data.batches import ArrayDataset
from minigraph.data.pictures import check_channels, list_by_stem, read_image, read_mask, size_of

Array = np.ndarray

CAMVID_CLASSES = (
    "sky", "building", "pole", "road", "pavement", "tree",
    "sign", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip
CAMVID_VOID_LABEL = 11


def load_segmentation_folders(
    image_folder: str | Path,
    mask_folder: str | Path,
    class_names: Sequence[str],
    *,
    void_label: int | None = None,
    channels: int = 3,
    crop: tuple[int, int] | None = None,
    name: str | None = None,
) -> ArrayDataset:
    """All pictures of one folder, in order of their names, with their masks from another.

    A picture and its mask have the same file name up to the ending (`a.jpg` and `a.png` do match).

    Args:
        image_folder: grey or coloured pictures of 8 bits, all of one size.
        mask_folder: palette, grey or black-and-white pictures whose values are class indices.
        class_names: the name of every class.
        void_label: the value of pixels that nobody labelled, outside the classes; None if none.
        channels: 3 for RGB (grey is copied to all three), 1 for grey (colours become luminance).
        crop: (height, width) to keep, from the top left corner; None keeps everything.
        name: what reports call the set; by default the name of the folder of pictures.

    Returns:
        A data set of images uint8 ``(N, channels, H, W)`` and labels uint8 ``(N, H, W)``.

    Raises:
        FileNotFoundError: a folder or a partner file is missing, or there are no pictures.
        ValueError: naming the file: sizes differ, the mask is coloured or lossy, a value is
            neither a class nor void, or the file cannot be read.
    """
    check_channels(channels)
    image_folder, mask_folder = Path(image_folder), Path(mask_folder)
    pairs = _pair_files(image_folder, mask_folder)
    images: Array | None = None
    for index, (image_path, mask_path) in enumerate(pairs):
        image = read_image(image_path, channels)
        mask = read_mask(mask_path, len(class_names), void_label)
        if image.shape[1:] != mask.shape:
            raise ValueError(
                f"Expected a mask of {size_of(image)} pixels like its picture {image_path}, got "
                f"{size_of(mask)}: {mask_path}"
            )
        if crop is not None:
            image, mask = _crop(image, crop, image_path), _crop(mask, crop, mask_path)
        if images is None:
            images = np.empty((len(pairs), *image.shape), np.uint8)
            labels = np.empty((len(pairs), *mask.shape), np.uint8)
        if image.shape != images.shape[1:]:
            raise ValueError(
                f"Expected {size_of(images)} pixels like {pairs[0][0].name}, got {size_of(image)}: "
                f"{image_path}. Pass crop=(height, width) if a part of each picture is enough"
            )
        images[index], labels[index] = image, mask
    assert images is not None  # _pair_files returns at least one pair
    return ArrayDataset(images, labels, tuple(class_names), void_label, name or image_folder.name)


def load_segmentation_split(
    root: str | Path,
    split: str,
    class_names: Sequence[str] = CAMVID_CLASSES,
    *,
    void_label: int | None = CAMVID_VOID_LABEL,
    channels: int = 3,
    crop: tuple[int, int] | None = None,
) -> ArrayDataset:
    """One split of a set laid out like CamVid: `<root>/<split>` and `<root>/<split>annot`.

    The arguments are those of `load_segmentation_folders`; the defaults are CamVid's 11 classes.
    """
    root = Path(root)
    return load_segmentation_folders(
        root / split,
        root / f"{split}annot",
        class_names,
        void_label=void_label,
        channels=channels,
        crop=crop,
        name=f"{root.name}/{split}",
    )


def _pair_files(image_folder: Path, mask_folder: Path) -> list[tuple[Path, Path]]:
    images, masks = list_by_stem(image_folder), list_by_stem(mask_folder)
    if not images:
        raise FileNotFoundError(f"Expected pictures, got an empty folder: {image_folder}")
    for stem in sorted(images.keys() ^ masks.keys()):
        lonely, other = (images, mask_folder) if stem in images else (masks, image_folder)
        raise FileNotFoundError(
            f"Expected a partner of {lonely[stem]} named {stem}.* in {other}, got none"
        )
    return [(images[stem], masks[stem]) for stem in sorted(images)]


def _crop(pixels: Array, crop: tuple[int, int], path: Path) -> Array:
    height, width = crop
    if not (0 < height <= pixels.shape[-2] and 0 < width <= pixels.shape[-1]):
        raise ValueError(
            f"Expected at least the crop of {height}x{width} pixels, got {size_of(pixels)}: {path}"
        )
    return pixels[..., :height, :width]
