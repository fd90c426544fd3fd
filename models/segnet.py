"""SegNet (Badrinarayanan, Kendall and Cipolla 2017, arXiv:1511.00561)."""

from __future__ import annotations

import minigraph as mg
from minigraph import Tensor
from minigraph.models.input_size import require_at_least
from minigraph.models.vgg import CONVOLUTIONS, vgg_stage, vgg_width


def segnet(image: Tensor, classes: int = 11, *, base: int = 64) -> Tensor:
    """Logits (N,classes,H,W) for images (N,C,H,W) of 32x32 or more; 360x480 in the paper.

    The encoder is VGG-16's thirteen convolutions with batch norm. Each max pooling keeps where its
    maxima were; the decoder puts values back there, and has the same convolutions in reverse. An
    odd last row or column is not pooled and comes back as zeros, so any size will do.
    ``base`` is the width of the first stage.
    """
    require_at_least(image, 32, "SegNet")
    counts = CONVOLUTIONS[16]
    x, pooled = image, []
    for stage, count in enumerate(counts, 1):
        x = vgg_stage(x, stage, count, vgg_width(base, stage), batch_norm=True)
        size = x.shape[2:]
        x, positions = mg.max_pool2d_with_positions(x, 2)
        pooled.append((positions, size))
    for stage in (5, 4, 3, 2, 1):
        x = mg.max_unpool2d(x, *pooled[stage - 1])
        with mg.scope(x, "decoder"):
            x = _decode(x, stage, counts[stage - 1], base, classes)
    return x


def _decode(x: Tensor, stage: int, count: int, base: int, classes: int) -> Tensor:
    """The convolutions of a stage in reverse; the last one gives the channels of the stage below,
    or the logits."""
    for number in range(count, 0, -1):
        name = f"{stage}_{number}"
        if (stage, number) == (1, 1):
            return mg.conv2d(x, classes, 3, padding=1, name=f"conv{name}")
        channels = vgg_width(base, stage if number > 1 else stage - 1)
        x = mg.conv2d(x, channels, 3, padding=1, name=f"conv{name}")
        x = mg.relu(mg.batch_norm(x, name=f"norm{name}"))
    return x
