"""What ``minigraph train`` knows by name: networks and the settings to start from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from minigraph.data.open import SHAPES
from minigraph.models.lenet import lenet
from minigraph.models.small_classifier import small_classifier
from minigraph.models.unet import unet
from minigraph.training.task import Network


@dataclass(frozen=True)
class Recipe:
    """One network: what it is for, and the settings that differ from the general ones."""

    summary: str
    segmentation: bool
    settings: Mapping[str, Any]


_UNET = {"data": SHAPES, "epochs": 6, "batch_size": 8, "learning_rate": 3e-3, "base": 8, "depth": 3}
_CLASSIFIER = {"epochs": 3, "batch_size": 64}

RECIPES: dict[str, Recipe] = {
    "unet": Recipe("U-Net, semantic segmentation", True, _UNET),
    "small-classifier": Recipe(
        "three convolutions, two dense layers; for Fashion-MNIST", False, _CLASSIFIER
    ),
    "lenet": Recipe("LeNet-5, for MNIST", False, _CLASSIFIER),
}


def network(
    name: str, classes: int, *, base: int | None, depth: int | None, batch_norm: bool
) -> Network:
    """The network of a recipe with its options bound. Raises ValueError for an option in vain."""
    if name == "unet":
        sizes = {"base": base, "depth": depth}
        chosen: dict[str, Any] = {name: size for name, size in sizes.items() if size is not None}
        return partial(unet, classes=classes, batch_norm=batch_norm, **chosen)
    if batch_norm or base or depth:
        raise ValueError(f"Expected no base, depth or batch norm for {name}: U-Net's options")
    return partial(small_classifier if name == "small-classifier" else lenet, classes=classes)
