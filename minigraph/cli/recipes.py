"""What ``minigraph train`` knows by name: networks and the settings to start from."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from minigraph import Tensor
from minigraph.data.open import SHAPES
from minigraph.models.alexnet import alexnet
from minigraph.models.dilated import dilated
from minigraph.models.fcn import fcn8s, fcn16s, fcn32s
from minigraph.models.lenet import lenet
from minigraph.models.resnet import resnet
from minigraph.models.segnet import segnet
from minigraph.models.small_classifier import small_classifier
from minigraph.models.unet import unet
from minigraph.models.vgg import vgg
from minigraph.training.task import Network

Size = tuple[int, int, int]


@dataclass(frozen=True)
class Recipe:
    """One network: what it is for, and how a training run of it starts.

    Attributes:
        network: images and a number of classes to logits; what it takes beside them are options.
        summary: what it is, in a line.
        segmentation: whether it labels pixels or images.
        settings: those that differ from the general ones: small enough for two cores.
        image: a size (C,H,W) that such a run has.
        paper: the paper's size (C,H,W), number of classes and options.
    """

    network: Callable[..., Tensor]
    summary: str
    segmentation: bool
    settings: Mapping[str, Any]
    image: Size
    paper: Paper

    @property
    def options(self) -> tuple[str, ...]:
        """The settings that the network takes: of base, depth and batch_norm those it has."""
        return tuple(name for name in OPTIONS if name in inspect.signature(self.network).parameters)


@dataclass(frozen=True)
class Paper:
    """What a network's paper applies it to."""

    image: Size
    classes: int
    options: Mapping[str, Any] = field(default_factory=dict)


OPTIONS = ("base", "depth", "batch_norm")
"""Settings that are arguments of networks."""

_CLASSIFIER = {"epochs": 3, "batch_size": 64}
_DEEP = {**_CLASSIFIER, "base": 8}
_SEGMENTATION = {"data": SHAPES, "epochs": 6, "batch_size": 8, "learning_rate": 3e-3, "base": 8}
_UNET = {**_SEGMENTATION, "depth": 3}
_DEEP_SEGMENTATION = {**_SEGMENTATION, "batch_norm": True}  # from a random start
_ON_64 = {**_DEEP_SEGMENTATION, "size": "64x64"}

_IMAGENET = Paper((3, 224, 224), 1000)
_VOC = Paper((3, 512, 512), 21)


def _vgg(layers: int) -> Recipe:
    settings = {**_DEEP, "batch_norm": True}
    return Recipe(
        partial(vgg, layers=layers), f"VGG-{layers}", False, settings, (1, 32, 32), _IMAGENET
    )


def _resnet(layers: int, stem: str, summary: str) -> Recipe:
    built = partial(resnet, layers=layers, stem=stem)
    paper = _IMAGENET if stem == "imagenet" else Paper((3, 32, 32), 10)
    return Recipe(built, summary, False, _DEEP, (1, 28, 28), paper)


RECIPES: dict[str, Recipe] = {
    "unet": Recipe(
        unet, "U-Net, semantic segmentation", True, _UNET, (3, 48, 48),
        Paper((1, 572, 572), 2, {"padding": "valid"}),
    ),
    "fcn32s": Recipe(fcn32s, "FCN on VGG-16, no skips", True, _ON_64, (3, 64, 64), _VOC),
    "fcn16s": Recipe(fcn16s, "FCN on VGG-16, with pool4", True, _ON_64, (3, 64, 64), _VOC),
    "fcn8s": Recipe(fcn8s, "FCN on VGG-16, with pool4 and pool3", True, _ON_64, (3, 64, 64), _VOC),
    "segnet": Recipe(
        segnet, "SegNet, max unpooling", True, _SEGMENTATION, (3, 48, 48),
        Paper((3, 360, 480), 11),
    ),
    "dilated": Recipe(
        dilated, "dilated VGG-16 and context module", True, _DEEP_SEGMENTATION, (3, 48, 48), _VOC
    ),
    "small-classifier": Recipe(
        small_classifier, "three convolutions, two dense layers; for Fashion-MNIST", False,
        _CLASSIFIER, (1, 28, 28), Paper((1, 28, 28), 10),
    ),
    "lenet": Recipe(
        lenet, "LeNet-5, for MNIST", False, _CLASSIFIER, (1, 28, 28), Paper((1, 28, 28), 10)
    ),
    "alexnet": Recipe(
        alexnet, "AlexNet", False, {**_DEEP, "learning_rate": 3e-4}, (1, 64, 64),
        _IMAGENET,
    ),
    **{f"vgg{layers}": _vgg(layers) for layers in (11, 13, 16, 19)},
    **{
        f"resnet{layers}": _resnet(layers, "imagenet", f"ResNet-{layers}")
        for layers in (18, 34, 50, 101)
    },
    "resnet18-small": _resnet(18, "small", "ResNet-18 for images of about 32x32"),
}  # fmt: skip


def network(
    name: str, classes: int, *, base: int | None, depth: int | None, batch_norm: bool
) -> Network:
    """The network of a recipe with its options bound. Raises ValueError for an option in vain."""
    recipe = RECIPES[name]
    given = {"base": base, "depth": depth, "batch_norm": batch_norm or None}
    chosen = {option: value for option, value in given.items() if value is not None}
    wrong = [option for option in chosen if option not in recipe.options]
    if wrong:
        has = ", ".join(recipe.options) or "none"
        raise ValueError(
            f"Expected no {' or '.join(wrong).replace('_', ' ')} for {name}, whose options are: "
            f"{has.replace('_', ' ')}"
        )
    return partial(recipe.network, classes=classes, **chosen)
