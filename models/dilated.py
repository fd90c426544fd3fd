"""Context aggregation by dilated convolutions (Yu and Koltun 2016, arXiv:1511.07122)."""

from __future__ import annotations

import minigraph as mg
from minigraph import Tensor
from minigraph.initializers import Identity
from minigraph.models.input_size import require_multiple
from minigraph.models.vgg import CONVOLUTIONS, vgg_stage, vgg_width

DILATIONS = (1, 1, 2, 4, 8, 16, 1)
"""Of the context module's 3x3 convolutions (table 1): receptive fields of 3 to 67."""


def dilated(
    image: Tensor, classes: int = 21, *, base: int = 64, batch_norm: bool = False
) -> Tensor:
    """Logits (N,classes,H,W) for images (N,C,H,W); H and W must be divisible by 8.

    Front end: VGG-16 without its last two poolings. What follows a pooling that is gone is dilated
    by 2 instead, so that the maps stay at 1/8 of the image: ``conv5`` by 2, ``fc6`` by 4. Context:
    see ``context_module``. The paper enlarges the result bilinearly, and so does this.
    ``base`` is the width of the first stage (``fc6`` and ``fc7`` have ``64 * base`` maps).

    The paper pads the image by reflection and its convolutions not at all; here each convolution
    has zero padding that keeps its size.
    """
    require_multiple(image, 8, "the dilated network")
    x = image
    for stage, count in enumerate(CONVOLUTIONS[16], 1):
        dilation = 2 if stage == 5 else 1
        channels = vgg_width(base, stage)
        x = vgg_stage(x, stage, count, channels, batch_norm=batch_norm, dilation=dilation)
        if stage < 4:
            x = mg.max_pool2d(x, 2, name=f"pool{stage}")
    x = mg.relu(mg.conv2d(x, 64 * base, 7, padding=12, dilation=4, name="fc6"))
    x = mg.dropout(x, 0.5, name="dropout6")
    x = mg.relu(mg.conv2d(x, 64 * base, 1, name="fc7"))
    x = mg.dropout(x, 0.5, name="dropout7")
    x = mg.conv2d(x, classes, 1, name="score")
    with mg.scope(x, "context"):
        x = context_module(x)
    return mg.resize(x, scale=8, mode="bilinear")


def context_module(x: Tensor) -> Tensor:
    """(N,C,H,W) to the same: seven dilated 3x3 convolutions with ReLU and one of 1x1 (table 1).

    The "basic" form: C maps throughout. It starts as the identity (of what ReLU leaves), since
    random starts did not train well (section 3).
    """
    channels = x.shape[1]
    for number, dilation in enumerate(DILATIONS, 1):
        x = mg.conv2d(
            x, channels, 3, padding=dilation, dilation=dilation, weight_initializer=Identity(),
            name=f"conv{number}",
        )  # fmt: skip
        x = mg.relu(x)
    return mg.conv2d(x, channels, 1, weight_initializer=Identity(), name="conv8")
