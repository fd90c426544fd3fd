"""AlexNet (Krizhevsky 2014, arXiv:1404.5997, "one weird trick"), as torchvision has it."""

from __future__ import annotations

import minigraph as mg
from minigraph import Tensor
from minigraph.models.input_size import require_at_least


def alexnet(image: Tensor, classes: int = 1000, *, base: int = 64) -> Tensor:
    """Logits (N,classes) for images (N,C,H,W) of 63x63 or more; 224x224 in the paper.

    Five convolutions, three dense layers with dropout. ``base`` is the width of the first
    convolution; the others keep their ratio to it (the dense layers have ``64 * base`` units).
    Maps of any size are averaged to 6x6 before the dense layers. The paper of 2012 has two halves
    on two GPUs and local response normalisation in their place.
    """
    require_at_least(image, 63, "AlexNet")
    x = mg.relu(mg.conv2d(image, base, 11, stride=4, padding=2, name="conv1"))
    x = mg.max_pool2d(x, 3, 2, name="pool1")
    x = mg.relu(mg.conv2d(x, 3 * base, 5, padding=2, name="conv2"))
    x = mg.max_pool2d(x, 3, 2, name="pool2")
    x = mg.relu(mg.conv2d(x, 6 * base, 3, padding=1, name="conv3"))
    x = mg.relu(mg.conv2d(x, 4 * base, 3, padding=1, name="conv4"))
    x = mg.relu(mg.conv2d(x, 4 * base, 3, padding=1, name="conv5"))
    x = mg.max_pool2d(x, 3, 2, name="pool5")
    x = mg.flatten(mg.adaptive_avg_pool2d(x, 6))
    x = mg.dropout(x, 0.5, name="dropout6")
    x = mg.relu(mg.dense(x, 64 * base, name="fc6"))
    x = mg.dropout(x, 0.5, name="dropout7")
    x = mg.relu(mg.dense(x, 64 * base, name="fc7"))
    return mg.dense(x, classes, name="fc8")
