"""U-Net (Ronneberger, Fischer and Brox 2015, arXiv:1505.04597), with "same" padding."""

from __future__ import annotations

import minigraph as mg
from minigraph import Tensor


def unet(
    image: Tensor, classes: int, *, base: int = 64, depth: int = 4, batch_norm: bool = False
) -> Tensor:
    """Logits (N,classes,H,W) for images (N,C,H,W); H and W must be divisible by ``2 ** depth``.

    Each level has two 3x3 convolutions with ReLU; ``depth`` times the maps are halved by max
    pooling while the channels double from ``base`` on, then the way back: a 2x2 transposed
    convolution, the skip beside it, two convolutions. A 1x1 convolution ends it.
    """
    scale = 2**depth
    if image.shape[2] % scale or image.shape[3] % scale:
        raise mg.SpecError(
            f"Expected a height and a width divisible by {scale} (depth {depth}), "
            f"got {image.shape[2]}x{image.shape[3]}: crop or pad the images"
        )
    skips = []
    x = image
    for level in range(depth):
        x = _double_conv(x, base * 2**level, batch_norm, f"encoder{level + 1}")
        skips.append(x)
        x = mg.max_pool2d(x, 2)
    x = _double_conv(x, base * 2**depth, batch_norm, "bottom")
    for level in reversed(range(depth)):
        channels = base * 2**level
        x = mg.conv_transpose2d(x, channels, 2, stride=2, name=f"up{level + 1}")
        x = mg.concat([skips[level], x])
        x = _double_conv(x, channels, batch_norm, f"decoder{level + 1}")
    return mg.conv2d(x, classes, 1, name="head")


def _double_conv(x: Tensor, channels: int, batch_norm: bool, name: str) -> Tensor:
    with mg.scope(x, name):
        for number in (1, 2):
            x = mg.conv2d(x, channels, 3, padding="same", bias=not batch_norm, name=f"conv{number}")
            if batch_norm:
                x = mg.batch_norm(x, name=f"norm{number}")
            x = mg.relu(x)
    return x
