"""Single files: a picture as bytes, a mask as indices, and errors of one line that name the file.

Pictures change size by bilinear interpolation (with Pillow's antialiasing when they shrink), masks
by taking the nearest index: no new index is ever made.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image

from minigraph.data.labels import find_illegal, legal_text

Array = np.ndarray

LOSSY_SUFFIXES = frozenset({".jpg", ".jpeg"})
IMAGE_SUFFIXES = LOSSY_SUFFIXES | {".png", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"}
IMAGE_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA"})
CHANNEL_MODES: Mapping[int, str] = MappingProxyType({1: "L", 3: "RGB"})
# Pillow spreads grey values of 2 and 4 bits over 0..255; dividing gives the stored index back.
SPREAD: Mapping[str, int] = MappingProxyType({"L;2": 85, "L;4": 17})


def check_channels(channels: int) -> None:
    """Raise ValueError unless pictures can be read with that many channels."""
    if channels not in CHANNEL_MODES:
        raise ValueError(f"Expected channels 1 (grey) or 3 (RGB), got {channels}")


def check_size(size: tuple[int, int] | None) -> None:
    """Raise ValueError unless pictures can be given that size; None leaves them as they are."""
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise ValueError(f"Expected size as (height, width) of 1 or more, got {size}")


def list_pictures(folder: Path) -> list[Path]:
    """The files of a folder that are pictures by their ending, in order of their names."""
    if not folder.is_dir():
        raise FileNotFoundError(f"Expected a folder of pictures, got no folder: {folder}")
    return [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    ]


def list_by_stem(folder: Path) -> dict[str, Path]:
    """`list_pictures` by names up to the ending, which must differ."""
    paths: dict[str, Path] = {}
    for path in list_pictures(folder):
        if path.stem in paths:
            raise ValueError(
                f"Expected one picture named {path.stem}, got {paths[path.stem].name} and "
                f"{path.name}: {folder}"
            )
        paths[path.stem] = path
    return paths


def open_picture(path: Path) -> Image.Image:
    """The decoded picture; what Pillow says of a damaged file becomes one line with its name."""
    try:
        image = Image.open(path)
        image.load()
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"Expected a picture, got '{error}': {path}") from error
    return image


def read_image(path: Path, channels: int) -> Array:
    """uint8 ``(channels, H, W)``."""
    image = open_picture(path)
    if image.mode not in IMAGE_MODES:
        raise ValueError(
            f"Expected a grey or RGB picture of 8 bits, got Pillow mode '{image.mode}': {path}"
        )
    pixels = np.asarray(image.convert(CHANNEL_MODES[channels]))
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def read_mask(path: Path, classes: int, void_label: int | None) -> Array:
    """uint8 ``(H, W)``: the stored indices."""
    if path.suffix.lower() in LOSSY_SUFFIXES:
        raise ValueError(
            f"Expected a mask stored without loss, got JPEG, which changes indices: {path}. "
            f"Write masks as PNG"
        )
    # Pillow forgets the raw mode once it has decoded the file
    image, raw_mode = open_picture(path), _raw_mode(path)
    if image.mode not in ("P", "L", "1"):
        raise ValueError(
            f"Expected a mask of class indices (a palette or grey picture of 8 bits), got Pillow "
            f"mode '{image.mode}': {path}. Turn colours into class indices first"
        )
    mask = np.asarray(image).astype(np.uint8) // SPREAD.get(raw_mode, 1)
    place = find_illegal(mask, classes, void_label)
    if place is not None:
        raise ValueError(
            f"Expected class indices {legal_text(classes, void_label)}, got {mask[place]} at row "
            f"{place[0]}, column {place[1]}: {path}"
        )
    return mask


def _raw_mode(path: Path) -> str:
    """How the file stores its values, such as `L;4` for grey of 4 bits."""
    with Image.open(path) as image:
        arguments = image.tile[0][3] if image.tile else ""
    raw_mode = arguments[0] if isinstance(arguments, tuple) else arguments
    return raw_mode if isinstance(raw_mode, str) else ""


def resize_image(image: Array, height: int, width: int) -> Array:
    """A picture uint8 ``(C, H, W)`` in another size, each channel by itself."""
    if image.shape[1:] == (height, width):
        return image
    size, bilinear = (width, height), Image.Resampling.BILINEAR
    return np.stack([np.asarray(Image.fromarray(c).resize(size, bilinear)) for c in image])


def resize_mask(mask: Array, height: int, width: int) -> Array:
    """A mask uint8 ``(H, W)`` in another size: the nearest index, never one between two."""
    if mask.shape == (height, width):
        return mask
    return np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))


def size_of(pixels: Array) -> str:
    """Height and width, as errors write them."""
    return f"{pixels.shape[-2]}x{pixels.shape[-1]}"
