"""What ``minigraph train`` knows by name: networks and the settings to start from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from minigraph.data.open import SHAPES
from minigraph.models.lenet import lenet
from minigraph.models.small_classifier import small_classifier
from minigraph.models.unet import unet
from minigraph.training.task import Network


@dataclass(frozen=True)
class Recipe:
    """Defaults of one network; every one is an option of the command."""

    summary: str
    segmentation: bool
    data: str | None
    epochs: int
    batch_size: int
    learning_rate: float
    optimizer: str
    base: int = 0
    depth: int = 0


RECIPES: dict[str, Recipe] = {
    "unet": Recipe(
        "U-Net, semantic segmentation", True, SHAPES, 6, 8, 3e-3, "adam", base=8, depth=3
    ),
    "small-classifier": Recipe(
        "three convolutions, two dense layers; for Fashion-MNIST", False, None, 3, 64, 1e-3, "adam"
    ),
    "lenet": Recipe("LeNet-5, for MNIST", False, None, 3, 64, 1e-3, "adam"),
}


def network(name: str, classes: int, *, base: int, depth: int, batch_norm: bool) -> Network:
    """The network of a recipe with its options bound. Raises ValueError for an option in vain."""
    if name == "unet":
        return partial(unet, classes=classes, base=base, depth=depth, batch_norm=batch_norm)
    if batch_norm or base or depth:
        raise ValueError(f"Expected no base, depth or batch norm for {name}: U-Net's options")
    return partial(small_classifier if name == "small-classifier" else lenet, classes=classes)
