"""VGG (Simonyan and Zisserman 2015, arXiv:1409.1556), and its stages for networks built on it."""

from __future__ import annotations

import minigraph as mg
from minigraph import Tensor
from minigraph.models.input_size import require_at_least

CONVOLUTIONS = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
"""Convolutions of each stage by the number of layers: the paper's columns A, B, D and E."""


def vgg(
    image: Tensor,
    classes: int = 1000,
    layers: int = 16,
    *,
    base: int = 64,
    batch_norm: bool = False,
) -> Tensor:
    """Logits (N,classes) for images (N,C,H,W) of 32x32 or more; 224x224 in the paper.

    Five stages of 3x3 convolutions, each followed by max pooling; then three dense layers with
    dropout. ``layers`` counts convolutions and dense layers: 11, 13, 16 or 19. ``base`` is the
    width of the first stage (the dense layers have ``64 * base`` units). Maps of any size are
    averaged to 7x7 before the dense layers, as in torchvision.
    """
    if layers not in CONVOLUTIONS:
        raise mg.SpecError(f"Expected VGG with 11, 13, 16 or 19 layers, got {layers}")
    require_at_least(image, 32, "VGG")
    x = image
    for stage, count in enumerate(CONVOLUTIONS[layers], 1):
        x = vgg_stage(x, stage, count, vgg_width(base, stage), batch_norm=batch_norm)
        x = mg.max_pool2d(x, 2, name=f"pool{stage}")
    x = mg.flatten(mg.adaptive_avg_pool2d(x, 7))
    for number in (6, 7):
        x = mg.relu(mg.dense(x, 64 * base, name=f"fc{number}"))
        x = mg.dropout(x, 0.5, name=f"dropout{number}")
    return mg.dense(x, classes, name="fc8")


def vgg_width(base: int, stage: int) -> int:
    """Channels of a stage, 1 to 5: they double up to ``8 * base``."""
    return base * min(2 ** (stage - 1), 8)


def vgg_stage(
    x: Tensor, stage: int, count: int, channels: int, *, batch_norm: bool, dilation: int = 1
) -> Tensor:
    """``count`` 3x3 convolutions with ReLU, ``conv<stage>_1`` and so on; height and width stay.

    Convolutions have a bias with batch norm too, as torchvision's.
    """
    for number in range(1, count + 1):
        name = f"{stage}_{number}"
        x = mg.conv2d(
            x, channels, 3, padding=dilation, dilation=dilation, name=f"conv{name}"
        )  # fmt: skip
        if batch_norm:
            x = mg.batch_norm(x, name=f"norm{name}")
        x = mg.relu(x)
    return x
