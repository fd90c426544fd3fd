"""The networks that are compared on a GPU, by the names that contenders know them by: in the order
in which they are, for as long as there is time."""

from __future__ import annotations

from functools import partial

from benchmarks.cases import Case
from minigraph.models.fcn import fcn8s
from minigraph.models.lenet import lenet
from minigraph.models.resnet import resnet
from minigraph.models.unet import unet

GPU_CASES = {
    case.name: case
    for case in (
        Case("lenet", "LeNet-5", lenet, (512, 1, 28, 28), 10, steps=100),
        Case("resnet50", "ResNet-50", partial(resnet, layers=50), (64, 3, 224, 224), 1000, steps=5),
        Case("unet64", "U-Net, base 64", partial(unet, base=64), (16, 3, 256, 256), 11, True, 3),
        Case("fcn8s", "FCN-8s on VGG-16", fcn8s, (8, 3, 320, 320), 21, True, 5),
    )
}

PRECISIONS = ("tf32", "bfloat16")
