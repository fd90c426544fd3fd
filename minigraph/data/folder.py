"""Segmentation sets in folders: pictures in one, masks of the same file names in another.

A mask says by the *value* of each pixel which class is there. Palette images are therefore read as
the indices that they store, never through their colours, and masks are never resized: between road
and sky (classes 3 and 0) there is no class 1.5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image

from minigraph.data.batches import ArrayDataset

Array = np.ndarray

CAMVID_CLASSES = (
    "sky", "building", "pole", "road", "pavement", "tree",
    "sign", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip
CAMVID_VOID_LABEL = 11

LOSSY_SUFFIXES = frozenset({".jpg", ".jpeg"})
IMAGE_SUFFIXES = LOSSY_SUFFIXES | {".png", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"}
IMAGE_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA"})
CHANNEL_MODES: Mapping[int, str] = MappingProxyType({1: "L", 3: "RGB"})
# Pillow spreads grey values of 2 and 4 bits over 0..255; dividing gives the stored index back.
SPREAD: Mapping[str, int] = MappingProxyType({"L;2": 85, "L;4": 17})


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
    if channels not in CHANNEL_MODES:
        raise ValueError(f"Expected channels 1 (grey) or 3 (RGB), got {channels}")
    image_folder, mask_folder = Path(image_folder), Path(mask_folder)
    pairs = _pair_files(image_folder, mask_folder)
    images: Array | None = None
    for index, (image_path, mask_path) in enumerate(pairs):
        image = _read_image(image_path, channels)
        mask = _read_mask(mask_path, len(class_names), void_label)
        if image.shape[1:] != mask.shape:
            raise ValueError(
                f"Expected a mask of {_size(image)} pixels like its picture {image_path}, got "
                f"{_size(mask)}: {mask_path}"
            )
        if crop is not None:
            image, mask = _crop(image, crop, image_path), _crop(mask, crop, mask_path)
        if images is None:
            images = np.empty((len(pairs), *image.shape), np.uint8)
            labels = np.empty((len(pairs), *mask.shape), np.uint8)
        if image.shape != images.shape[1:]:
            raise ValueError(
                f"Expected {_size(images)} pixels like {pairs[0][0].name}, got {_size(image)}: "
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
    images, masks = _list_by_stem(image_folder), _list_by_stem(mask_folder)
    if not images:
        raise FileNotFoundError(f"Expected pictures, got an empty folder: {image_folder}")
    for stem in sorted(images.keys() ^ masks.keys()):
        lonely, other = (images, mask_folder) if stem in images else (masks, image_folder)
        raise FileNotFoundError(
            f"Expected a partner of {lonely[stem]} named {stem}.* in {other}, got none"
        )
    return [(images[stem], masks[stem]) for stem in sorted(images)]


def _list_by_stem(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"Expected a folder of pictures, got no folder: {folder}")
    paths: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith("."):
            continue
        if path.stem in paths:
            raise ValueError(
                f"Expected one picture named {path.stem}, got {paths[path.stem].name} and "
                f"{path.name}: {folder}"
            )
        paths[path.stem] = path
    return paths


def _open(path: Path) -> Image.Image:
    """The decoded picture; what Pillow says of a damaged file becomes one line with its name."""
    try:
        image = Image.open(path)
        image.load()
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"Expected a picture, got '{error}': {path}") from error
    return image


def _read_image(path: Path, channels: int) -> Array:
    """uint8 ``(channels, H, W)``."""
    image = _open(path)
    if image.mode not in IMAGE_MODES:
        raise ValueError(
            f"Expected a grey or RGB picture of 8 bits, got Pillow mode '{image.mode}': {path}"
        )
    pixels = np.asarray(image.convert(CHANNEL_MODES[channels]))
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _read_mask(path: Path, classes: int, void_label: int | None) -> Array:
    """uint8 ``(H, W)``: the stored indices."""
    if path.suffix.lower() in LOSSY_SUFFIXES:
        raise ValueError(
            f"Expected a mask stored without loss, got JPEG, which changes indices: {path}. "
            f"Write masks as PNG"
        )
    # Pillow forgets the raw mode once it has decoded the file
    image, raw_mode = _open(path), _raw_mode(path)
    if image.mode not in ("P", "L", "1"):
        raise ValueError(
            f"Expected a mask of class indices (a palette or grey picture of 8 bits), got Pillow "
            f"mode '{image.mode}': {path}. Turn colours into class indices first"
        )
    mask = np.asarray(image).astype(np.uint8) // SPREAD.get(raw_mode, 1)
    wrong = (mask >= classes) if void_label is None else (mask >= classes) & (mask != void_label)
    if wrong.any():
        row, column = (int(i) for i in np.argwhere(wrong)[0])
        void = "no void label" if void_label is None else f"void {void_label}"
        raise ValueError(
            f"Expected class indices 0..{classes - 1} ({void}), got {mask[row, column]} at row "
            f"{row}, column {column}: {path}"
        )
    return mask


def _raw_mode(path: Path) -> str:
    """How the file stores its values, such as `L;4` for grey of 4 bits."""
    with Image.open(path) as image:
        arguments = image.tile[0][3] if image.tile else ""
    raw_mode = arguments[0] if isinstance(arguments, tuple) else arguments
    return raw_mode if isinstance(raw_mode, str) else ""


def _crop(pixels: Array, crop: tuple[int, int], path: Path) -> Array:
    height, width = crop
    if not (0 < height <= pixels.shape[-2] and 0 < width <= pixels.shape[-1]):
        raise ValueError(
            f"Expected at least the crop of {height}x{width} pixels, got {_size(pixels)}: {path}"
        )
    return pixels[..., :height, :width]


def _size(pixels: Array) -> str:
    return f"{pixels.shape[-2]}x{pixels.shape[-1]}"
