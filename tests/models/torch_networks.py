"""The networks once more in torch, written by hand with torchvision's names of parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

VGG = {
    11: "64 M 128 M 256 256 M 512 512 M 512 512 M",
    13: "64 64 M 128 128 M 256 256 M 512 512 M 512 512 M",
    16: "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M",
    19: "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M",
}


def vgg_features(
    layers: int, base: int, channels: int, batch_norm: bool, indices: bool = False
) -> nn.Sequential:
    parts: list[nn.Module] = []
    for word in VGG[layers].split():
        if word == "M":
            parts.append(nn.MaxPool2d(2, return_indices=indices))
            continue
        width = int(word) * base // 64
        parts.append(nn.Conv2d(channels, width, 3, padding=1))
        parts += [nn.BatchNorm2d(width)] * batch_norm
        parts.append(nn.ReLU())
        channels = width
    return nn.Sequential(*parts)


def classifier(inputs: int, units: int, classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, units), nn.ReLU(), nn.Dropout(),
        nn.Linear(units, units), nn.ReLU(), nn.Dropout(), nn.Linear(units, classes),
    )  # fmt: skip


class Vgg(nn.Module):
    def __init__(
        self, layers: int, base: int, classes: int, channels: int = 3, batch_norm: bool = False
    ) -> None:
        super().__init__()
        self.features = vgg_features(layers, base, channels, batch_norm)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = classifier(8 * base * 49, 64 * base, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


class AlexNet(nn.Module):
    def __init__(self, base: int, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, base, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(base, 3 * base, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(3 * base, 6 * base, 3, padding=1), nn.ReLU(),
            nn.Conv2d(6 * base, 4 * base, 3, padding=1), nn.ReLU(),
            nn.Conv2d(4 * base, 4 * base, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
        )  # fmt: skip
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            nn.Dropout(), *classifier(4 * base * 36, 64 * base, classes)[:2],
            nn.Dropout(), nn.Linear(64 * base, 64 * base), nn.ReLU(),
            nn.Linear(64 * base, classes),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


class Block(nn.Module):
    """Both kinds: two convolutions, or three with ``expansion`` 4."""

    def __init__(self, inputs: int, width: int, stride: int, expansion: int) -> None:
        super().__init__()
        outputs = width * expansion
        if expansion == 1:
            shapes = [(inputs, width, 3, stride), (width, width, 3, 1)]
        else:
            shapes = [(inputs, width, 1, 1), (width, width, 3, stride), (width, outputs, 1, 1)]
        self.count = len(shapes)
        for number, (fan_in, fan_out, kernel, step) in enumerate(shapes, 1):
            convolution = nn.Conv2d(fan_in, fan_out, kernel, step, kernel // 2, bias=False)
            setattr(self, f"conv{number}", convolution)
            setattr(self, f"bn{number}", nn.BatchNorm2d(fan_out))
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        else:
            self.downsample = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        for number in range(1, self.count + 1):
            y = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(y))
            if number < self.count:
                y = F.relu(y)
        return F.relu(y + self.downsample(x))


BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


class ResNet(nn.Module):
    def __init__(self, layers: int, base: int, classes: int, small: bool = False) -> None:
        super().__init__()
        self.small = small
        self.conv1 = (
            nn.Conv2d(3, base, 3, 1, 1, bias=False)
            if small
            else nn.Conv2d(3, base, 7, 2, 3, bias=False)
        )
        self.bn1 = nn.BatchNorm2d(base)
        expansion = 1 if layers < 50 else 4
        channels = base
        for stage, count in enumerate(BLOCKS[layers]):
            blocks = []
            for number in range(count):
                stride = 2 if stage and not number else 1
                blocks.append(Block(channels, base << stage, stride, expansion))
                channels = (base << stage) * expansion
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        if not self.small:
            x = F.max_pool2d(x, 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Weights of the variance that keeps activations alive; statistics that are not the start's."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2.0)
            elif value.ndim > 1:
                value.normal_(0, (2 / value[0].numel()) ** 0.5)
            elif value.is_floating_point():
                value.normal_(0, 0.1).add_(1.0 if _is_scale(name, module) else 0.0)
    return module.eval()


def _is_scale(name: str, module: nn.Module) -> bool:
    owner, _, last = name.rpartition(".")
    return last == "weight" and isinstance(module.get_submodule(owner), nn.BatchNorm2d)


def of(state: Mapping[str, np.ndarray]) -> Callable[[str], torch.Tensor]:
    """The variables of a minigraph state as tensors, by name."""
    return lambda name: torch.from_numpy(state[name])


def convolve(w: Callable, x: torch.Tensor, name: str, **geometry) -> torch.Tensor:
    return F.conv2d(x, w(f"{name}.weight"), w(f"{name}.bias"), **geometry)


def normalise(w: Callable, x: torch.Tensor, name: str) -> torch.Tensor:
    parts = (w(f"{name}.{part}") for part in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, *parts)


COUNTS = (2, 2, 3, 3, 3)


def stage(w: Callable, x: torch.Tensor, number: int, norm: bool = False, dilation: int = 1):
    for i in range(1, COUNTS[number - 1] + 1):
        x = convolve(w, x, f"conv{number}_{i}", padding=dilation, dilation=dilation)
        x = F.relu(normalise(w, x, f"norm{number}_{i}") if norm else x)
    return x


def fcn(w: Callable, x: torch.Tensor, stride: int) -> torch.Tensor:
    pools = {}
    for number in range(1, 6):
        x = pools[number] = F.max_pool2d(stage(w, x, number), 2)
    x = F.relu(convolve(w, x, "fc6", padding=3))
    x = F.relu(convolve(w, x, "fc7"))
    x = convolve(w, x, "score")
    for number in (4, 3)[: {32: 0, 16: 1, 8: 2}[stride]]:
        x = F.conv_transpose2d(x, w(f"up_pool{number}.weight"), stride=2, padding=1)
        x = x + convolve(w, pools[number], f"score_pool{number}")
    # The paper's fixed bilinear kernel, with one plane for each class.
    size, classes = 2 * stride, x.shape[1]
    tent = 1 - (torch.arange(size) - (stride - 0.5)).abs() / stride
    kernel = torch.zeros(classes, classes, size, size)
    kernel[range(classes), range(classes)] = tent[:, None] * tent
    return F.conv_transpose2d(x, kernel, stride=stride, padding=stride // 2)


def segnet(w: Callable, x: torch.Tensor) -> torch.Tensor:
    pooled = []
    for number in range(1, 6):
        x = stage(w, x, number, norm=True)
        size = x.shape[2:]
        x, positions = F.max_pool2d(x, 2, return_indices=True)
        pooled.append((positions, size))
    for number in range(5, 0, -1):
        positions, size = pooled[number - 1]
        x = F.max_unpool2d(x, positions, 2, output_size=size)
        for i in range(COUNTS[number - 1], 0, -1):
            x = convolve(w, x, f"decoder.conv{number}_{i}", padding=1)
            if (number, i) != (1, 1):
                x = F.relu(normalise(w, x, f"decoder.norm{number}_{i}"))
    return x


def dilated(w: Callable, x: torch.Tensor) -> torch.Tensor:
    for number in range(1, 6):
        x = stage(w, x, number, dilation=2 if number == 5 else 1)
        x = F.max_pool2d(x, 2) if number < 4 else x
    x = F.relu(convolve(w, x, "fc6", padding=12, dilation=4))
    x = convolve(w, F.relu(convolve(w, x, "fc7")), "score")
    for number, dilation in enumerate((1, 1, 2, 4, 8, 16, 1), 1):
        x = F.relu(convolve(w, x, f"context.conv{number}", padding=dilation, dilation=dilation))
    x = convolve(w, x, "context.conv8")
    return F.interpolate(x, scale_factor=8, mode="bilinear", align_corners=False)


def unet(w: Callable, x: torch.Tensor, depth: int, padding: int) -> torch.Tensor:
    def double(x, name):
        for number in (1, 2):
            x = F.relu(convolve(w, x, f"{name}.conv{number}", padding=padding))
        return x

    skips = []
    for level in range(1, depth + 1):
        x = double(x, f"encoder{level}")
        skips.append(x)
        x = F.max_pool2d(x, 2)
    x = double(x, "bottom")
    for level in range(depth, 0, -1):
        x = F.conv_transpose2d(x, w(f"up{level}.weight"), w(f"up{level}.bias"), stride=2)
        skip = skips[level - 1]
        border = (skip.shape[2] - x.shape[2]) // 2, (skip.shape[3] - x.shape[3]) // 2
        skip = F.pad(skip, (-border[1], -border[1], -border[0], -border[0]))
        x = double(torch.cat([skip, x], 1), f"decoder{level}")
    return convolve(w, x, "head")
