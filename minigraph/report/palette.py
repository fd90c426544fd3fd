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
"""Colours of the classes 0 to 31, as RRGGBB; those of more classes are generated."""

MOST_CLASSES = 256
LEAST_CHROMA = 0.05  # of a generated colour, in Oklab: greys are for void
LEVELS = np.arange(0, 256, 17)  # of red, green and blue, from which colours are generated

VOID_LIGHT, VOID_DARK = (244, 244, 244), (205, 205, 205)
VOID_HATCH_PERIOD = 6  # pixels from one diagonal line to the next


def class_colours(classes: int) -> Array:
    """The colours of the first `classes` classes, uint8 ``(classes, 3)``.

    Those after the first 32 are generated, always the same ones. All differ, but of so many only
    neighbours in a picture can be told apart.

    Raises:
        ValueError: more classes than 256.
    """
    if not 1 <= classes <= MOST_CLASSES:
        raise ValueError(f"Expected 1 to {MOST_CLASSES} classes, got {classes}")
    chosen = np.array([tuple(bytes.fromhex(colour)) for colour in PALETTE], np.uint8)
    if classes > len(chosen):
        chosen = np.concatenate([chosen, _generated(chosen, classes - len(chosen))])
    return chosen[:classes]


def _generated(chosen: Array, count: int) -> Array:
    """Each next colour as far as it can be, in Oklab, from all before it and from greys."""
    candidates = np.stack(np.meshgrid(LEVELS, LEVELS, LEVELS, indexing="ij"), -1).reshape(-1, 3)
    places = _oklab(candidates)
    coloured = np.hypot(places[:, 1], places[:, 2]) >= LEAST_CHROMA
    candidates, places = candidates[coloured], places[coloured]
    greys = np.array([(0,) * 3, (128,) * 3, VOID_DARK, VOID_LIGHT, (255,) * 3])
    taken = _oklab(np.concatenate([chosen, greys]))
    distance = ((places[:, None] - taken) ** 2).sum(axis=-1).min(axis=1)
    found = []
    for _ in range(count):
        farthest = int(distance.argmax())
        found.append(candidates[farthest])
        distance = np.minimum(distance, ((places - places[farthest]) ** 2).sum(axis=-1))
    return np.array(found, np.uint8)


def _oklab(rgb: Array) -> Array:
    """sRGB 0..255 ``(..., 3)`` in Oklab (Ottosson, 2020), where distances are as seen."""
    part = rgb / 255
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    cones = linear @ np.transpose([
        (0.4122214708, 0.5363325363, 0.0514459929),
        (0.2119034982, 0.6806995451, 0.1073969566),
        (0.0883024619, 0.2817188376, 0.6299787005),
    ])  # fmt: skip
    return np.cbrt(cones) @ np.transpose([
        (0.2104542553, 0.7936177850, -0.0040720468),
        (1.9779984951, -2.4285922050, 0.4505937099),
        (0.0259040371, 0.7827717662, -0.8086757660),
    ])  # fmt: skip


def colour_labels(labels: Array, classes: int, void_label: int | None, scale: int = 1) -> Array:
    """A label map in the colours of its classes, void as a grey hatch.

    Args:
        labels: class indices or void, any integer dtype, ``(H, W)``.
        classes: number of classes, 256 at the most.
        void_label: the label drawn as a hatch; None if there is none.
        scale: how many pixels high and wide each label is drawn.

    Returns:
        RGB uint8 ``(H * scale, W * scale, 3)``.

    Raises:
        ValueError: a label that is neither a class nor void, or too many classes.
    """
    colours = class_colours(classes)
    check_labels(labels, classes, void_label)
    labels = np.repeat(np.repeat(labels.astype(np.int64), scale, axis=0), scale, axis=1)
    void = _is_void(labels, void_label)
    picture = colours[np.where(void, 0, labels)]
    picture[void] = void_hatch(*labels.shape)[void]
    return picture


def check_labels(labels: Array, classes: int, void_label: int | None) -> None:
    """Raise ValueError for a label ``(H, W)`` that is neither a class nor void, with its place."""
    outside = ~_is_void(labels, void_label) & ((labels < 0) | (labels >= classes))
    if outside.any():
        row, column = (int(index) for index in np.argwhere(outside)[0])
        raise ValueError(
            f"Expected labels 0..{classes - 1} (void {void_label}), got {labels[row, column]} at "
            f"row {row}, column {column}"
        )


def _is_void(labels: Array, void_label: int | None) -> Array:
    return np.zeros(labels.shape, bool) if void_label is None else labels == void_label


def void_hatch(height: int, width: int) -> Array:
    """Diagonal lines, grey on light grey: RGB uint8 ``(height, width, 3)``."""
    diagonal = (np.arange(height)[:, None] + np.arange(width)[None, :]) % VOID_HATCH_PERIOD < 2
    return np.where(diagonal[..., None], VOID_DARK, VOID_LIGHT).astype(np.uint8)
