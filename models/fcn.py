"""FCN-32s, 16s and 8s on VGG-16 (Long, Shelhamer and Darrell 2015, arXiv:1411.4038)."""

from __future__ import annotations

import minigraph as mg
from minigraph import Tensor
from minigraph.initializers import Bilinear, Constant
from minigraph.models.input_size import require_multiple
from minigraph.models.vgg import CONVOLUTIONS, vgg_stage, vgg_width


def fcn(
    image: Tensor, classes: int = 21, stride: int = 32, *, base: int = 64, batch_norm: bool = False
) -> Tensor:
    """Logits (N,classes,H,W) for images (N,C,H,W); H and W must be divisible by 32.

    VGG-16 with its dense layers as convolutions (``fc6`` 7x7, ``fc7`` 1x1) scores every 32x32
    pixels; the scores are enlarged to the image. With ``stride`` 16 or 8 they are enlarged by 2
    first, and scores of pool4 (and pool3) are added. Scores start at zero. Enlarging starts as
    bilinear interpolation; the last one stays so, the others are learned, as in the paper.
    ``base`` is the width of the first stage (``fc6`` and ``fc7`` have ``64 * base`` maps).

    The paper pads the image by 100 pixels and crops the result, to take any size and to make up
    for the 7x7 convolution without padding. Here that one has a padding of 3 instead: no work on
    empty borders, and every score lies at the centre of its 32x32 pixels without offsets.
    """
    if stride not in (8, 16, 32):
        raise mg.SpecError(f"Expected FCN with a stride of 8, 16 or 32, got {stride}")
    require_multiple(image, 32, "FCN")
    x, pools = image, {}
    for stage, count in enumerate(CONVOLUTIONS[16], 1):
        x = vgg_stage(x, stage, count, vgg_width(base, stage), batch_norm=batch_norm)
        x = pools[stage] = mg.max_pool2d(x, 2, name=f"pool{stage}")
    for number, kernel in ((6, 7), (7, 1)):
        x = mg.relu(mg.conv2d(x, 64 * base, kernel, padding=kernel // 2, name=f"fc{number}"))
        x = mg.dropout(x, 0.5, name=f"dropout{number}")
    score = _score(x, classes, "score")
    for stage in (4, 3):
        if stride < 2 ** (stage + 1):
            score = mg.conv_transpose2d(
                score, classes, 4, stride=2, padding=1, bias=False,
                weight_initializer=Bilinear(), name=f"up_pool{stage}",
            )  # fmt: skip
            score = score + _score(pools[stage], classes, f"score_pool{stage}")
    return _enlarge(score, stride)


def fcn32s(image: Tensor, classes: int = 21, *, base: int = 64, batch_norm: bool = False) -> Tensor:
    """FCN without skips: see ``fcn``."""
    return fcn(image, classes, 32, base=base, batch_norm=batch_norm)


def fcn16s(image: Tensor, classes: int = 21, *, base: int = 64, batch_norm: bool = False) -> Tensor:
    """FCN with scores of pool4: see ``fcn``."""
    return fcn(image, classes, 16, base=base, batch_norm=batch_norm)


def fcn8s(image: Tensor, classes: int = 21, *, base: int = 64, batch_norm: bool = False) -> Tensor:
    """FCN with scores of pool4 and pool3: see ``fcn``."""
    return fcn(image, classes, 8, base=base, batch_norm=batch_norm)


def _score(x: Tensor, classes: int, name: str) -> Tensor:
    return mg.conv2d(x, classes, 1, weight_initializer=Constant(0.0), name=name)


def _enlarge(score: Tensor, stride: int) -> Tensor:
    """Bilinear interpolation, each class by itself, as a transposed convolution that stays."""
    classes = score.shape[1]
    return mg.conv_transpose2d(
        score, classes, 2 * stride, stride=stride, padding=stride // 2, groups=classes, bias=False,
        weight_initializer=Bilinear(), trainable=False, name="up",
    )  # fmt: skip
