"""One colour per class, and pictures of label maps."""

from __future__ import annotations

import numpy as np

Array = np.ndarray

# Thirteen muted colours chosen by eye, then each next one as far as it can be, in the perceptual
# space Oklab, from all before it and from white, grey and black.
PALETTE = (
    "4e79a7", "f28e2b", "e15759", "59a14f", "edc948", "b07aa1", "76b7b2", "9c755f",
    "ff9da7", "2f4b7c", "8cd17d", "7a2e3b", "499894", "104c10", "7e249c", "9274f6",
    "f688f6", "42104c", "10f6f6", "a6b0f6", "381092", "b02474", "3856ce", "10a6f6",
    "422e10", "6a6a10", "cef656", "ba56c4", "c4b088", "ec60a6", "b01010", "a69210",
)  # fmt: skip
"""Colours of the classes 0 to 31, as RRGGBB."""

VOID_LIGHT, VOID_DARK = (244, 244, 244), (205, 205, 205)
VOID_HATCH_PERIOD = 6  # pixels from one diagonal line to the next


def class_colours(classes: int) -> Array:
    """The colours of the first `classes` classes, uint8 ``(classes, 3)``.

    Raises:
        ValueError: more classes than there are colours that can be told apart (32).
    """
    if not 1 <= classes <= len(PALETTE):
        raise ValueError(
            f"Expected 1 to {len(PALETTE)} classes, as many as there are colours that can be told "
            f"apart, got {classes}"
        )
    return np.array([tuple(bytes.fromhex(colour)) for colour in PALETTE[:classes]], np.uint8)


def colour_labels(labels: Array, classes: int, void_label: int | None, scale: int = 1) -> Array:
    """A label map in the colours of its classes, void as a grey hatch.

    Args:
        labels: class indices or void, any integer dtype, ``(H, W)``.
        classes: number of classes, 32 at the most.
        void_label: the label drawn as a hatch; None if there is none.
        scale: how many pixels high and wide each label is drawn.

    Returns:
        RGB uint8 ``(H * scale, W * scale, 3)``.

    Raises:
        ValueError: a label that is neither a class nor void, or too many classes.
    """
    colours = class_colours(classes)
    labels = np.repeat(np.repeat(labels.astype(np.int64), scale, axis=0), scale, axis=1)
    void = np.zeros(labels.shape, bool) if void_label is None else labels == void_label
    outside = ~void & ((labels < 0) | (labels >= classes))
    if outside.any():
        row, column = (int(index) for index in np.argwhere(outside)[0])
        raise ValueError(
            f"Expected labels 0..{classes - 1} (void {void_label}), got {labels[row, column]} at "
            f"row {row // scale}, column {column // scale}"
        )
    picture = colours[np.where(void, 0, labels)]
    picture[void] = void_hatch(*labels.shape)[void]
    return picture


def void_hatch(height: int, width: int) -> Array:
    """Diagonal lines, grey on light grey: RGB uint8 ``(height, width, 3)``."""
    diagonal = (np.arange(height)[:, None] + np.arange(width)[None, :]) % VOID_HATCH_PERIOD < 2
    return np.where(diagonal[..., None], VOID_DARK, VOID_LIGHT).astype(np.uint8)
