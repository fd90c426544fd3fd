"""ResNet (He, Zhang, Ren and Sun 2016, arXiv:1512.03385). Parameters have torchvision's names."""

from __future__ import annotations

from collections.abc import Callable

import minigraph as mg
from minigraph import Tensor
from minigraph.models.input_size import require_at_least

Block = Callable[[Tensor, int, int], Tensor]


def resnet(
    image: Tensor,
    classes: int = 1000,
    layers: int = 18,
    *,
    base: int = 64,
    stem: str = "imagenet",
) -> Tensor:
    """Logits (N,classes) for images (N,C,H,W) of any size; 224x224 in the paper.

    ``layers`` is 18 or 34 (blocks of two 3x3 convolutions), 50 or 101 (bottlenecks of 1x1, 3x3,
    1x1). ``base`` is the width of the first stage. ``stem="imagenet"`` begins with a 7x7
    convolution of stride 2 and max pooling; ``stem="small"`` with one 3x3 convolution of stride 1,
    for images of about 32x32 (section 4.2).
    """
    if layers not in _STAGES:
        raise mg.SpecError(f"Expected ResNet with 18, 34, 50 or 101 layers, got {layers}")
    require_at_least(image, 1, "ResNet")
    block, counts = _STAGES[layers]
    x = _stem(image, base, stem)
    for stage, count in enumerate(counts, 1):
        for number in range(count):
            stride = 2 if stage > 1 and number == 0 else 1
            with mg.scope(x, f"layer{stage}.{number}"):
                x = block(x, base * 2 ** (stage - 1), stride)
    return mg.dense(mg.global_avg_pool2d(x), classes, name="fc")


def _stem(image: Tensor, base: int, stem: str) -> Tensor:
    if stem == "small":
        return mg.relu(_conv_norm(image, base, 3, 1, "1"))
    if stem != "imagenet":
        raise mg.SpecError(f"Expected the stem 'imagenet' or 'small', got {stem!r}")
    x = mg.relu(_conv_norm(image, base, 7, 2, "1"))
    return mg.max_pool2d(x, 3, 2, padding=1, name="pool1")


def _basic(x: Tensor, channels: int, stride: int) -> Tensor:
    """Two 3x3 convolutions beside the identity."""
    y = mg.relu(_conv_norm(x, channels, 3, stride, "1"))
    y = _conv_norm(y, channels, 3, 1, "2")
    return mg.relu(y + _shortcut(x, channels, stride))


def _bottleneck(x: Tensor, channels: int, stride: int) -> Tensor:
    """1x1, 3x3, 1x1 to four times the channels.

    The 3x3 convolution has the stride, as in torchvision ("v1.5"); in the paper the first 1x1.
    """
    y = mg.relu(_conv_norm(x, channels, 1, 1, "1"))
    y = mg.relu(_conv_norm(y, channels, 3, stride, "2"))
    y = _conv_norm(y, 4 * channels, 1, 1, "3")
    return mg.relu(y + _shortcut(x, 4 * channels, stride))


def _shortcut(x: Tensor, channels: int, stride: int) -> Tensor:
    """The identity; where the shape changes, a 1x1 convolution and batch norm (option B)."""
    if stride == 1 and x.shape[1] == channels:
        return x
    with mg.scope(x, "downsample"):
        y = mg.conv2d(x, channels, 1, stride=stride, bias=False, name="0")
        return mg.batch_norm(y, name="1")


def _conv_norm(x: Tensor, channels: int, kernel: int, stride: int, number: str) -> Tensor:
    padding = kernel // 2
    y = mg.conv2d(
        x, channels, kernel, stride=stride, padding=padding, bias=False, name=f"conv{number}"
    )
    return mg.batch_norm(y, name=f"bn{number}")


_STAGES: dict[int, tuple[Block, tuple[int, int, int, int]]] = {
    18: (_basic, (2, 2, 2, 2)),
    34: (_basic, (3, 4, 6, 3)),
    50: (_bottleneck, (3, 4, 6, 3)),
    101: (_bottleneck, (3, 4, 23, 3)),
}
