"""Single files: a picture as bytes, a mask as indices, and errors of one line that name the file.

A file's header (size, kind of pixels) is looked at before its pixels are decoded, so that a file
that claims to be huge costs nothing. Pictures change size by bilinear interpolation (with Pillow's
antialiasing when they shrink), masks by taking the nearest index: no new index is ever made.

A picture is turned as its EXIF orientation says, which is how viewers show it, and its header's
size is that of the turned one. Of a PNG only EXIF ahead of the pixels counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import ExifTags, Image, ImageFile, ImageOps, TiffImagePlugin, UnidentifiedImageError

from minigraph.data.labels import find_illegal, legal_text

Array = np.ndarray
Size = tuple[int, int]  # height and width in pixels

LOSSY_SUFFIXES = frozenset({".jpg", ".jpeg"})
IMAGE_SUFFIXES = LOSSY_SUFFIXES | {".png", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"}
# Others are never tried: for EPS Pillow starts another program. JPEG's opener takes MPO as well.
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "GIF", "PPM")
GREY_MODES = frozenset({"1", "L", "LA"})
IMAGE_MODES = GREY_MODES | {"P", "RGB", "RGBA"}
MASK_MODES = frozenset({"P", "L", "1"})
CHANNEL_MODES: Mapping[int, str] = MappingProxyType({1: "L", 3: "RGB"})
MOST_PIXELS = 2**26  # of one file: 8192x8192
UPRIGHT = 1  # the EXIF orientation of pixels that are stored as they are to be seen
QUARTER_TURNS = frozenset({5, 6, 7, 8})  # the orientations that change height for width
# Pillow spreads grey values of 2 and 4 bits over 0..255; dividing gives the stored index back.
SPREAD: Mapping[str, int] = MappingProxyType({"L;2": 85, "L;4": 17})


@dataclass(frozen=True)
class Header:
    """What a file says of its pixels before they are decoded.

    Attributes:
        size: (height, width) in pixels, once turned upright.
        mode: Pillow's name for the kind of pixels, such as `RGB`.
        raw_mode: how the file stores them, such as `L;4` for grey of 4 bits.
        file_format: such as `PNG`, told by content.
        orientation: that of EXIF, 1 to 8: how the stored pixels have to be turned or mirrored.
    """

    size: Size
    mode: str
    raw_mode: str
    file_format: str
    orientation: int = UPRIGHT

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colours (palettes among them)."""
        return 1 if self.mode in GREY_MODES else 3


def check_channels(channels: int) -> None:
    """Raise ValueError unless pictures can be read with that many channels."""
    if channels not in CHANNEL_MODES:
        raise ValueError(f"Expected channels 1 (grey) or 3 (RGB), got {channels}")


def check_size(size: Size | None, what: str = "size") -> None:
    """Raise ValueError unless pictures can be given that size; None leaves them as they are."""
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise ValueError(f"Expected {what} as (height, width) of 1 or more, got {size}")


def is_picture(path: Path) -> bool:
    """True for names with a picture's ending that are not hidden."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def list_pictures(folder: Path) -> list[Path]:
    """The files of a folder that are pictures by their ending, in order of their names."""
    if not folder.is_dir():
        raise FileNotFoundError(f"Expected a folder of pictures, got no folder: {folder}")
    return [path for path in sorted(folder.iterdir()) if is_picture(path)]


def read_header(path: Path) -> Header:
    """The header of a picture; its pixels are not decoded."""
    with _open(path) as image:
        return _header(image)


def check_image_header(header: Header, path: Path) -> None:
    """Raise ValueError unless it is of a grey or coloured picture of 8 bits a channel."""
    if header.mode not in IMAGE_MODES:
        raise ValueError(
            f"Expected a grey or RGB picture of 8 bits, got Pillow mode '{header.mode}': {path}"
        )
    if ";16" in header.raw_mode:
        raise ValueError(f"Expected a picture of 8 bits a channel, got 16: {path}")


def check_mask_header(header: Header, path: Path) -> None:
    """Raise ValueError unless it is of a picture whose values can be class indices."""
    if header.file_format in ("JPEG", "MPO") or path.suffix.lower() in LOSSY_SUFFIXES:
        raise ValueError(
            f"Expected a mask stored without loss, got JPEG, which changes indices: {path}. "
            f"Write masks as PNG"
        )
    if header.mode not in MASK_MODES:
        raise ValueError(
            f"Expected a mask of class indices (a palette or grey picture of 8 bits), got Pillow "
            f"mode '{header.mode}': {path}. Turn colours into class indices first"
        )
    check_upright(header, path)


def check_upright(header: Header, path: Path) -> None:
    """Raise ValueError for an EXIF orientation: does the mask lie as stored, or as shown?"""
    if header.orientation != UPRIGHT:
        raise ValueError(
            f"Expected pictures with masks to be stored upright, got EXIF orientation "
            f"{header.orientation}: {path}. Save it turned as its mask lies, without EXIF"
        )


def open_image(path: Path) -> Image.Image:
    """The decoded picture, grey or coloured of 8 bits a channel, turned upright."""
    with _open(path) as image:
        header = _header(image)
        check_image_header(header, path)
        decoded = _decode(image, path)
        return decoded if header.orientation == UPRIGHT else _turn(decoded, path)


def read_image(path: Path, channels: int) -> Array:
    """uint8 ``(channels, H, W)``."""
    pixels = np.asarray(open_image(path).convert(CHANNEL_MODES[channels]))
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def read_mask(path: Path, classes: int, void_label: int | None) -> Array:
    """uint8 ``(H, W)``: the stored indices."""
    with _open(path) as image:
        header = _header(image)
        check_mask_header(header, path)
        pixels = np.asarray(_decode(image, path))
    mask = pixels.astype(np.uint8) // np.uint8(SPREAD.get(header.raw_mode, 1))
    place = find_illegal(mask, classes, void_label)
    if place is not None:
        raise ValueError(
            f"Expected class indices {legal_text(classes, void_label)}, got {mask[place]} at row "
            f"{place[0]}, column {place[1]}: {path}"
        )
    return mask


def _open(path: Path) -> ImageFile.ImageFile:
    """The picture with its header read and its pixels not."""
    try:
        image = Image.open(path, formats=FORMATS)
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        raise _unreadable(path, error) from error
    if image.width * image.height > MOST_PIXELS:
        image.close()
        raise ValueError(
            f"Expected a picture of up to {MOST_PIXELS:,} pixels, got a header that says "
            f"{image.height}x{image.width}: {path}. Cut it into smaller ones"
        )
    return image


def _decode(image: ImageFile.ImageFile, path: Path) -> Image.Image:
    try:
        image.load()
    except Exception as error:  # as in _open
        raise _unreadable(path, error) from error
    return image


def _turn(image: Image.Image, path: Path) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception as error:  # as in _open
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ValueError:
    reason = " ".join(str(error).split()) or type(error).__name__
    unknown = isinstance(error, UnidentifiedImageError)
    way_out = f". What can be read is {', '.join(FORMATS)}" if unknown else ""
    return ValueError(f"Expected a picture, got '{reason}': {path}{way_out}")


def _header(image: ImageFile.ImageFile) -> Header:
    # Pillow forgets the raw mode once it has decoded the file.
    arguments = image.tile[0][3] if image.tile else ""
    raw_mode = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    orientation = _orientation(image)
    height, width = image.height, image.width
    if isinstance(image, TiffImagePlugin.TiffImageFile):  # turned already by some Pillows
        sides = (TiffImagePlugin.IMAGELENGTH, TiffImagePlugin.IMAGEWIDTH)
        height, width = (int(image.tag_v2[side]) for side in sides)
    return Header(
        (width, height) if orientation in QUARTER_TURNS else (height, width),
        image.mode,
        raw_mode if isinstance(raw_mode, str) else "",
        image.format or "",
        orientation,
    )


def _orientation(image: ImageFile.ImageFile) -> int:
    """That of EXIF; upright where EXIF is damaged, as viewers do."""
    try:
        # Not image.getexif(), which decodes a PNG to look for EXIF behind its pixels.
        orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation)
    except Exception:  # as in _open
        return UPRIGHT
    return orientation if isinstance(orientation, int) and 1 < orientation < 9 else UPRIGHT


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


def size_text(size: Size) -> str:
    """Height and width, as errors write them."""
    return f"{size[0]}x{size[1]}"
