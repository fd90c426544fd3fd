"""Predictions as files: masks that viewers show in colours, and images with the classes on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from minigraph.report.palette import class_colours

Array = np.ndarray

GAP, LINE, SWATCH, FONT_SIZE = 8, 22, 14, 14  # pixels
INK, PAPER = (45, 45, 50), (255, 255, 255)
LEAST_WIDTH = 160  # of an overlay: the legend has to fit


def mask_picture(labels: Array, classes: int) -> Image.Image:
    """Labels uint8 (H,W) as a palette picture: each pixel stores its class.

    Viewers show the colours of `minigraph.report.palette`.
    """
    picture = Image.fromarray(np.ascontiguousarray(labels))
    picture.putpalette(class_colours(classes).tobytes())
    return picture


def overlay_picture(
    image: Array, labels: Array, class_names: Sequence[str], *, opacity: float = 0.5
) -> Image.Image:
    """The grey image under the colours of its classes; below it those that occur, with shares.

    Args:
        image: uint8 (1 or 3, H, W).
        labels: classes, uint8 (H, W).
        class_names: one name per class, 256 at the most.
        opacity: of the colours, between 0 and 1.

    Raises:
        ValueError: more classes than 256.
    """
    colours = class_colours(len(class_names))
    rgb = np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0)
    classes = mask_picture(labels, len(class_names)).convert("RGB")
    grey = Image.fromarray(np.ascontiguousarray(rgb)).convert("L").convert("RGB")
    blended = Image.blend(grey, classes, opacity)
    counts = np.bincount(labels.ravel(), minlength=len(class_names))
    shown = [int(c) for c in np.argsort(-counts, kind="stable") if counts[c]]
    texts = [f"{class_names[c]} {percent(counts[c] / labels.size)}" for c in shown]

    height, width = labels.shape
    sheet_width = max(width, LEAST_WIDTH)
    places = _flow(texts, sheet_width)
    sheet = Image.new("RGB", (sheet_width, height + places[-1][1] + LINE + 2 * GAP), PAPER)
    sheet.paste(blended, (0, 0))
    draw = ImageDraw.Draw(sheet)
    for (left, down), class_index, text in zip(places, shown, texts, strict=True):
        top = height + GAP + down
        box = (left, top + 3, left + SWATCH, top + 3 + SWATCH)
        draw.rectangle(box, fill=tuple(colours[class_index].tolist()))
        draw.text((left + SWATCH + 6, top + 3 + SWATCH // 2), text, INK, _font(), anchor="lm")
    return sheet


def percent(share: float) -> str:
    """A share for people: "43%", "0.2%"; what is there never reads as nothing."""
    if share >= 0.1:
        return f"{share:.0%}"
    return f"{share:.1%}" if share >= 0.001 else "<0.1%"


def _flow(texts: Sequence[str], width: int) -> list[tuple[int, int]]:
    """(left, top) of every entry of a legend, in as many lines as the width asks for."""
    places, left, top = [], GAP, 0
    for text in texts:
        entry = SWATCH + 6 + int(_font().getlength(text)) + 2 * GAP
        if left + entry > width and left > GAP:
            left, top = GAP, top + LINE
        places.append((left, top))
        left += entry
    return places


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(FONT_SIZE)
