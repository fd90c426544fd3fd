"""The networks that are compared: minigraph's model functions, and what they are given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

import minigraph as mg
from minigraph.models.fcn import fcn32s
from minigraph.models.lenet import lenet
from minigraph.models.resnet import resnet
from minigraph.models.segnet import segnet
from minigraph.models.unet import unet
from minigraph.models.vgg import vgg


@dataclass(frozen=True)
class Case:
    """A network and a batch. ``network`` gives logits of ``classes`` for images (N,C,H,W)."""

    name: str
    title: str
    network: Callable[..., mg.Tensor]
    images: tuple[int, int, int, int]
    classes: int
    per_pixel: bool = False
    """Whether each pixel has a label (N,H,W), or each image one (N,)."""
    steps: int = 2
    """Steps of a turn: together a second or so."""

    @property
    def labels(self) -> tuple[int, ...]:
        """Shape of the labels."""
        batch, _, height, width = self.images
        return (batch, height, width) if self.per_pixel else (batch,)

    @property
    def logits(self) -> tuple[int, ...]:
        """Shape of the logits."""
        return (self.images[0], self.classes, *self.labels[1:])

    def batch(self) -> tuple[np.ndarray, np.ndarray]:
        """Noise: images (float32) and labels (int64), the same at each call."""
        generator = np.random.default_rng(0)
        images = generator.standard_normal(self.images, dtype=np.float32)
        return images, generator.integers(0, self.classes, self.labels)


_ALL = (
    Case("unet", "U-Net, base 32, depth 4", partial(unet, base=32), (4, 3, 128, 128), 11, True),
    Case("fcn32s", "FCN-32s on VGG-16", fcn32s, (2, 3, 160, 160), 21, True),
    Case("segnet", "SegNet on VGG-16", segnet, (2, 3, 160, 160), 11, True),
    Case("resnet18", "ResNet-18, 3x3 stem", partial(resnet, stem="small"), (16, 3, 32, 32), 10),
    Case("vgg16", "VGG-16", vgg, (4, 3, 96, 96), 1000),
    Case("lenet", "LeNet-5", lenet, (128, 1, 28, 28), 10, steps=50),
)
CASES = {case.name: case for case in _ALL}
"""By name, as the command line has them."""

MODES = ("training", "inference")
