"""U-Net (Ronneberger, Fischer and Brox 2015, arXiv:1505.04597)."""

from __future__ import annotations

import minigraph as mg
from minigraph import Tensor


def unet(
    image: Tensor,
    classes: int = 2,
    *,
    base: int = 64,
    depth: int = 4,
    batch_norm: bool = False,
    padding: str = "same",
) -> Tensor:
    """Logits (N,classes,H,W) for images (N,C,H,W); H and W must be divisible by ``2 ** depth``.

    Each level has two 3x3 convolutions with ReLU; ``depth`` times the maps are halved by max
    pooling while the channels double from ``base`` on, then the way back: a 2x2 transposed
    convolution, the skip beside it, two convolutions. A 1x1 convolution ends it.

    With ``padding="valid"``, the paper's, convolutions take a border away and skips are cropped to
    their centre: ``12 * 2 ** depth - 8`` rows and columns fewer come out (572x572 gives 388x388),
    and H + 4 and W + 4 must be divisible by ``2 ** depth``.
    """
    if padding == "same":
        _check_same(image, depth)
    elif padding == "valid":
        _check_valid(image, depth)
    else:
        raise mg.SpecError(f"Expected the padding 'same' or 'valid', got {padding!r}")
    skips = []
    x = image
    for level in range(depth):
        x = _double_conv(x, base * 2**level, batch_norm, padding, f"encoder{level + 1}")
        skips.append(x)
        x = mg.max_pool2d(x, 2)
    x = _double_conv(x, base * 2**depth, batch_norm, padding, "bottom")
    for level in reversed(range(depth)):
        channels = base * 2**level
        x = mg.conv_transpose2d(x, channels, 2, stride=2, name=f"up{level + 1}")
        x = mg.concat([_centre(skips[level], x.shape), x])
        x = _double_conv(x, channels, batch_norm, padding, f"decoder{level + 1}")
    return mg.conv2d(x, classes, 1, name="head")


def _double_conv(x: Tensor, channels: int, batch_norm: bool, padding: str, name: str) -> Tensor:
    with mg.scope(x, name):
        for number in (1, 2):
            x = mg.conv2d(
                x, channels, 3, padding=padding, bias=not batch_norm, name=f"conv{number}"
            )
            if batch_norm:
                x = mg.batch_norm(x, name=f"norm{number}")
            x = mg.relu(x)
    return x


def _centre(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The middle of the maps, of the height and width of ``shape``."""
    if x.shape[2:] == shape[2:]:
        return x
    top, left = ((x.shape[axis] - shape[axis]) // 2 for axis in (2, 3))
    return x[:, :, top : top + shape[2], left : left + shape[3]]


def _check_same(image: Tensor, depth: int) -> None:
    scale = 2**depth
    if image.shape[2] % scale or image.shape[3] % scale:
        raise mg.SpecError(
            f"Expected a height and a width divisible by {scale} (depth {depth}), "
            f"got {image.shape[2]}x{image.shape[3]}: crop or pad the images"
        )


def _check_valid(image: Tensor, depth: int) -> None:
    """Maps must be even before each pooling, and some must be left at the end.

    A level makes (h - 4) / 2 of h, and so (h + 4) / 2 of h + 4: it is halved ``depth`` times. On
    the way back h becomes 2 h - 4. Together ``12 * scale - 8`` are lost, and something is left of
    ``scale k - 4`` where ``k > 12 - 4 / scale``.
    """
    scale = 2**depth
    least = scale * ((12 * scale - 4) // scale + 1) - 4
    for size in image.shape[2:]:
        if (size + 4) % scale or size < least:
            below = max((size + 4) // scale * scale - 4, least)
            raise mg.SpecError(
                f"Expected a height and a width that are {scale} k - 4 and {least} or more (depth "
                f"{depth}, valid padding), got {image.shape[2]}x{image.shape[3]}: "
                f"{below} or {below + scale} would do for {size}"
            )
