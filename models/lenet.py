"""LeNet-5 (LeCun, Bottou, Bengio and Haffner 1998), with today's parts."""

from __future__ import annotations

import minigraph as mg
from minigraph import Tensor


def lenet(image: Tensor, classes: int = 10) -> Tensor:
    """Logits (N,classes) for images (N,1,28,28): two convolutions, three dense layers.

    ReLU and max pooling stand where the paper has scaled tanh and trainable average pooling.
    """
    x = mg.relu(mg.conv2d(image, 6, 5, padding=2, name="conv1"))
    x = mg.max_pool2d(x, 2)
    x = mg.relu(mg.conv2d(x, 16, 5, name="conv2"))
    x = mg.max_pool2d(x, 2)
    x = mg.flatten(x)
    x = mg.relu(mg.dense(x, 120, name="dense1"))
    x = mg.relu(mg.dense(x, 84, name="dense2"))
    return mg.dense(x, classes, name="dense3")
