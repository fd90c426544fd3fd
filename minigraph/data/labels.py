"""Which labels there may be: the classes, and void. One rule and one wording for all data sets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Array = np.ndarray


def find_illegal(labels: Array, classes: int, void_label: int | None) -> tuple[int, ...] | None:
    """The place of the first label that is neither a class nor void; None if all are right."""
    illegal = (labels < 0) | (labels >= classes)
    if void_label is not None:
        illegal &= labels != void_label
    first = int(illegal.argmax()) if illegal.size else 0
    place = tuple(int(index) for index in np.unravel_index(first, labels.shape))
    return place if illegal.size and illegal[place] else None


def legal_text(classes: int, void_label: int | None) -> str:
    """The labels that there may be, as errors say it."""
    void = "no void label" if void_label is None else f"void {void_label}"
    return f"0..{classes - 1} ({void})"


def place_text(place: Sequence[int]) -> str:
    """``(image,)`` or ``(image, row, column)``, as errors say it."""
    named = zip(("image", "row", "column"), place, strict=False)
    return ", ".join(f"{name} {index}" for name, index in named)
