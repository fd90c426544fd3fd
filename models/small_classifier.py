"""A small classifier for Fashion-MNIST and the like."""

from __future__ import annotations

import minigraph as mg
from minigraph import Tensor


def small_classifier(image: Tensor, classes: int = 10) -> Tensor:
    """Logits (N,classes) for small images (N,C,H,W): three 3x3 convolutions, dropout, two dense."""
    x = mg.relu(mg.conv2d(image, 32, 3, padding="same", name="conv1"))
    x = mg.max_pool2d(x, 2)
    x = mg.relu(mg.conv2d(x, 64, 3, padding="same", name="conv2"))
    x = mg.max_pool2d(x, 2)
    x = mg.relu(mg.conv2d(x, 64, 3, padding="same", name="conv3"))
    x = mg.flatten(x)
    x = mg.dropout(x, 0.25, name="dropout")
    x = mg.relu(mg.dense(x, 128, name="dense1"))
    return mg.dense(x, classes, name="dense2")
