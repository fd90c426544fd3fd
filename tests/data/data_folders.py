"""Small data sets on disk for the tests, told apart by what is in their pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, size: tuple[int, int] = (6, 8), channels: int = 3) -> np.ndarray:
    """uint8 ``(H, W, 3)`` or ``(H, W)`` of noise."""
    shape = (*size, 3) if channels == 3 else size
    return np.random.default_rng((1, seed)).integers(0, 256, shape, dtype=np.uint8)


def mask(seed: int, size: tuple[int, int] = (6, 8), classes: int = 3) -> np.ndarray:
    """uint8 ``(H, W)`` in which every class occurs."""
    labels = np.random.default_rng((2, seed)).integers(0, classes, size, dtype=np.uint8)
    labels.reshape(-1)[:classes] = np.arange(classes)
    return labels


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def mask_folder(root: Path, count: int, places: tuple[str, str] = ("images", "masks")) -> Path:
    """`count` pictures with masks of three classes: 00.png, 01.png, ..."""
    for index in range(count):
        save(root / places[0] / f"{index:02}.png", picture(index))
        save(root / places[1] / f"{index:02}.png", mask(index))
    return root


def class_folder(root: Path, counts: dict[str, int]) -> Path:
    """So many pictures of each class."""
    for number, (name, count) in enumerate(counts.items()):
        for index in range(count):
            save(root / name / f"{index:02}.png", picture(100 * number + index))
    return root
