"""Which labels there may be: one rule and one wording for data sets, augmentations and scores.

- A label is a class, 0 to ``classes - 1``, or void: nobody says what is there.
- Void is 255 unless another number is given (``void_label=``), or None: there is no void. It is
  never one of the classes.
- Void counts in no loss and no gradient, in no score and no class weight; augmentations give it to
  pixels outside of a picture; pictures for people show it as a grey hatch.
- Any other label is an error that names the image and, in masks, row and column.

The loss (`minigraph.ops.loss`) keeps the same rule at run time, inside the compiled graph.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Array = np.ndarray

VOID_LABEL = 255
MOST_CLASSES = 256  # labels are bytes
BLOCK = 2**20  # labels looked at in one go, so that a check takes no memory to speak of


def check_classes(class_names: Sequence[str], void_label: int | None, where: str) -> None:
    """Raise ValueError unless the names differ, labels can tell them apart, and void is none."""
    different = len(set(class_names))
    if len(class_names) > MOST_CLASSES or different < len(class_names):
        raise ValueError(
            f"Expected up to {MOST_CLASSES} classes of different names, got {len(class_names)} "
            f"({different} different) in {where}"
        )
    check_void(void_label, len(class_names), where)


def check_void(void_label: int | None, classes: int, where: str) -> None:
    """Raise ValueError if void is one of the classes 0 to ``classes - 1``."""
    if void_label is not None and 0 <= void_label < classes:
        raise ValueError(
            f"Expected void_label outside of the classes 0..{classes - 1}, got {void_label} in "
            f"{where}: void is not a class, do not count it as one"
        )


def find_illegal(labels: Array, classes: int, void_label: int | None) -> tuple[int, ...] | None:
    """The place of the first label that is neither a class nor void; None if all are right."""
    flat = labels.reshape(-1)
    for first in range(0, flat.size, BLOCK):
        block = flat[first : first + BLOCK]
        illegal = (block < 0) | (block >= classes)
        if void_label is not None:
            illegal &= block != void_label
        if illegal.any():
            place = np.unravel_index(first + int(illegal.argmax()), labels.shape)
            return tuple(int(index) for index in place)
    return None


def legal_text(classes: int, void_label: int | None) -> str:
    """The labels that there may be, as errors say it."""
    void = "no void label" if void_label is None else f"void {void_label}"
    return f"0..{classes - 1} ({void})"


def place_text(place: Sequence[int]) -> str:
    """``(image,)`` or ``(image, row, column)``, as errors say it; other places by their indices."""
    if len(place) not in (1, 3):
        return str(tuple(place))
    named = zip(("image", "row", "column"), place, strict=False)
    return ", ".join(f"{name} {index}" for name, index in named)
