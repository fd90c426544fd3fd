"""Which classes the masks of a folder have: told, listed in `classes.txt`, or found in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from minigraph.data.files import WORKERS, Report, in_threads
from minigraph.data.labels import VOID_LABEL
from minigraph.data.pictures import read_mask

CLASS_LIST = "classes.txt"
Array = np.ndarray


def read_class_list(root: Path) -> tuple[str, ...] | None:
    """The lines of `classes.txt` in a folder, empty ones left out; None if there is no such file.

    Raises ValueError for a file without names, with a name twice, or that is no text.
    """
    path = root / CLASS_LIST
    if not path.is_file():
        return None
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"Expected names of classes in UTF-8, got '{error}': {path}") from error
    names = tuple(line.strip() for line in lines if line.strip())
    if not names or len(set(names)) < len(names):
        raise ValueError(
            f"Expected a different name in each line, got {len(names)} names "
            f"({len(set(names))} different): {path}"
        )
    return names


def choose_classes(
    masks: Sequence[Path],
    names: tuple[str, ...] | None,
    void_label: int | None,
    root: Path,
    report: Report,
) -> tuple[tuple[str, ...], int | None]:
    """Names of the classes and the void label, as far as they are given; the rest from the masks.

    Unless both are given all masks are read. Void is then 255 if that occurs, and the classes
    go up to the largest other label.

    Raises ValueError where the labels found look like something else than class indices.
    """
    if names is not None and void_label is not None:
        return names, void_label
    found = _find_labels(masks, report)
    if void_label is None and found[VOID_LABEL] and (names is None or len(names) <= VOID_LABEL):
        void_label = VOID_LABEL
        if found[1:VOID_LABEL].sum() == 0:
            raise ValueError(
                f"Expected class indices 0, 1, ... in the masks, got none but 0 and 255: {root}. "
                f"Write 1 for 255 if it is a class, or pass void_label=255 if nobody labelled it"
            )
    if names is not None:
        return names, void_label
    if void_label is not None and 0 <= void_label <= VOID_LABEL:
        found[void_label] = False
    labels = np.flatnonzero(found)
    if not labels.size:
        raise ValueError(f"Expected labels of some class, got void alone in all masks: {root}")
    classes = int(labels[-1]) + 1
    if 2 * labels.size < classes:
        raise ValueError(
            f"Expected class indices 0, 1, ... in the masks, got {_some(labels)}: {root}. Renumber "
            f"them, or give the names of all {classes} classes (class_names, or {CLASS_LIST})"
        )
    return tuple(f"class {label}" for label in range(classes)), void_label


def _find_labels(masks: Sequence[Path], report: Report) -> Array:
    """bool ``(256,)``: which labels occur in any mask. Masks that cannot be read are reported."""

    def find(path: Path) -> Array | Exception:
        try:
            return np.bincount(read_mask(path, 256, None).reshape(-1), minlength=256) > 0
        except (OSError, ValueError) as problem:
            return problem

    found = np.zeros(256, bool)
    for result in in_threads(find, masks, WORKERS):
        if isinstance(result, Exception):
            report(result)
        else:
            found |= result
    return found


def _some(labels: Array) -> str:
    shown = ", ".join(map(str, labels[:6].tolist()))
    return f"{shown}, ..." if labels.size > 6 else shown
