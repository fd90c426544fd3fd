"""What a model is asked about: a file, a Pillow image or an array, as the channels it wants."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from minigraph.data.pictures import CHANNEL_MODES, IMAGE_MODES, open_image

Array = np.ndarray
Picture = str | Path | Image.Image | Array


def read_picture(picture: Picture, channels: int) -> Array:
    """A picture as uint8 ``(channels, H, W)``: grey is copied to RGB, colours become luminance.

    A file or Pillow image is turned as its EXIF orientation says, which is how viewers show it; its
    transparency is dropped. An array is uint8 (1 or 3, H, W), as in data sets. Raises ValueError,
    with the file's name, for anything else.
    """
    if isinstance(picture, np.ndarray):
        return _as_array(_from_array(picture), channels)
    image = picture if isinstance(picture, Image.Image) else open_image(Path(picture))
    where = "" if isinstance(picture, Image.Image) else f": {picture}"
    if image.mode not in IMAGE_MODES:
        raise ValueError(
            f"Expected a grey or RGB picture of 8 bits, got Pillow mode '{image.mode}'{where}"
        )
    return _as_array(_upright(image), channels)


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except SyntaxError:  # what Pillow says of EXIF that is none: as viewers do, show it as it is
        return image


def _from_array(array: Array) -> Image.Image:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[0] not in (1, 3):
        raise ValueError(
            f"Expected a picture as uint8 (1 or 3, H, W), got {array.dtype} {array.shape}: for "
            "(H, W, 3) use array.transpose(2, 0, 1)"
        )
    if not array.size:
        raise ValueError(f"Expected a picture with pixels, got shape {array.shape}")
    pixels = array[0] if len(array) == 1 else array.transpose(1, 2, 0)
    return Image.fromarray(np.ascontiguousarray(pixels))


def _as_array(image: Image.Image, channels: int) -> Array:
    pixels = np.asarray(image.convert(CHANNEL_MODES[channels]))
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)
