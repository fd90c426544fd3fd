"""Which layer of a network is which layer of torchvision's: one function for each family."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

from minigraph.models.vgg import CONVOLUTIONS

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of the RGB images in [0, 1] that torchvision's weights were trained on."""

LayerNames = dict[str, str]
"""A layer's name here to its name in the file: ``conv1_1`` to ``features.0``."""


@dataclass(frozen=True)
class Family:
    """How torchvision's files fit the networks of one kind.

    Attributes:
        layers: from the names of a model's variables to its layers' names in a file.
        heads: beginnings of names of layers that depend on the number of classes: they stay as
            they are where the file has another one.
        optional: beginnings of names in files: layers that a file may lack.
        unused: beginnings of names in files: layers that such a network has no place for.
    """

    layers: Callable[[Collection[str]], LayerNames]
    heads: tuple[str, ...]
    optional: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()


def _alexnet(names: Collection[str]) -> LayerNames:
    convolutions = {"conv1": 0, "conv2": 3, "conv3": 6, "conv4": 8, "conv5": 10}
    dense = {"fc6": 1, "fc7": 4, "fc8": 6}
    return {
        **{layer: f"features.{number}" for layer, number in convolutions.items()},
        **{layer: f"classifier.{number}" for layer, number in dense.items()},
    }


def _vgg(names: Collection[str]) -> LayerNames:
    """``features`` counts convolutions, batch norms, ReLUs and poolings in a row."""
    numbers = [re.fullmatch(r"conv(\d)_(\d)\.weight", name) for name in names]
    stages = [int(found[1]) for found in numbers if found]
    counts = [stages.count(stage) for stage in range(1, 6)]
    layers = _vgg_features(counts, "norm1_1.weight" in names, "{kind}{stage}_{number}")
    dense = {"fc6": "classifier.0", "fc7": "classifier.3", "fc8": "classifier.6"}
    return layers | {layer: name for layer, name in dense.items() if f"{layer}.weight" in names}


def _unet(names: Collection[str]) -> LayerNames:
    """U-Net's encoder is VGG-13's first four stages.

    With batch norm there is none: its convolutions have no biases, the file's have.
    """
    if "encoder1.norm1.weight" in names:
        return {}
    stages = sum(f"encoder{stage}.conv1.weight" in names for stage in (1, 2, 3, 4))
    counts = CONVOLUTIONS[13][:stages]
    return _vgg_features(counts, False, "encoder{stage}.{kind}{number}")


def _vgg_features(counts: Collection[int], batch_norm: bool, pattern: str) -> LayerNames:
    layers = {}
    position = 0
    for stage, count in enumerate(counts, 1):
        for number in range(1, count + 1):
            for kind in ("conv", "norm") if batch_norm else ("conv",):
                name = pattern.format(kind=kind, stage=stage, number=number)
                layers[name] = f"features.{position}"
                position += 1
            position += 1  # ReLU
        position += 1  # pooling
    return layers


def _resnet(names: Collection[str]) -> LayerNames:
    """The names are torchvision's."""
    return {layer: layer for layer in (name.rpartition(".")[0] for name in names)}


_CLASSIFIER = ("classifier.",)

FAMILIES = {
    "alexnet": Family(_alexnet, ("fc8.",), _CLASSIFIER),
    "vgg": Family(_vgg, ("fc8.",), _CLASSIFIER),
    "resnet": Family(_resnet, ("fc.",), ("fc.",)),
    "fcn": Family(_vgg, ("score", "up"), _CLASSIFIER, ("classifier.6.",)),
    "dilated": Family(_vgg, ("score.", "context."), _CLASSIFIER, ("classifier.6.",)),
    "segnet": Family(_vgg, ("decoder.conv1_1.",), (), _CLASSIFIER),
    "unet": Family(_unet, ("head.",), (), ("features.", "classifier.")),
}
"""By the beginning of a network's name: ``vgg16`` is a "vgg", ``fcn8s`` a "fcn"."""


def family_of(network: str) -> Family | None:
    """The family that a network belongs to by its name, or None."""
    return next((family for name, family in FAMILIES.items() if network.startswith(name)), None)
