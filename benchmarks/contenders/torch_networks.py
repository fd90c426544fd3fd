"""The compared networks as one writes them in torch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.cases import Case


class UNet(nn.Module):
    """Two 3x3 convolutions with ReLU a level, 2x2 transposed convolutions, skips concatenated."""

    def __init__(self, channels: int, classes: int, base: int = 32, depth: int = 4) -> None:
        super().__init__()
        widths = [base * 2**level for level in range(depth + 1)]
        inputs = [channels, *widths]
        self.encoder = nn.ModuleList(
            _double_conv(inputs[level], widths[level]) for level in range(depth + 1)
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(widths[level + 1], widths[level], 2, 2) for level in range(depth)
        )
        self.decoder = nn.ModuleList(
            _double_conv(2 * widths[level], widths[level]) for level in range(depth)
        )
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Conv2d(base, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for encoder in list(self.encoder)[:-1]:
            skips.append(encoder(x))
            x = self.pool(skips[-1])
        x = self.encoder[-1](x)
        for level in reversed(range(len(self.up))):
            x = self.decoder[level](torch.cat([skips[level], self.up[level](x)], 1))
        return self.head(x)


def _double_conv(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(*_conv_relu(inputs, outputs), *_conv_relu(outputs, outputs))


def _conv_relu(inputs: int, outputs: int, *, norm: bool = False) -> list[nn.Module]:
    norms = [nn.BatchNorm2d(outputs)] if norm else []
    return [nn.Conv2d(inputs, outputs, 3, padding=1), *norms, nn.ReLU(inplace=True)]


STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Widths of VGG-16's convolutions."""


def _stages(channels: int, *, norm: bool = False) -> list[nn.Sequential]:
    stages = []
    for widths in STAGES:
        layers: list[nn.Module] = []
        for width in widths:
            layers += _conv_relu(channels, width, norm=norm)
            channels = width
        stages.append(nn.Sequential(*layers))
    return stages


class VGG16(nn.Module):
    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(part for stage in _stages(channels) for part in (stage, nn.MaxPool2d(2)))
        )
        self.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(7), nn.Flatten(),
            nn.Linear(512 * 49, 4096), nn.ReLU(inplace=True), nn.Dropout(),
            nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout(),
            nn.Linear(4096, classes),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x))


class FCN32s(nn.Module):
    """Scores of VGG-16 every 32 pixels; enlarged by a fixed bilinear kernel, class by class."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.score = nn.Sequential(
            *(part for stage in _stages(channels) for part in (stage, nn.MaxPool2d(2))),
            nn.Conv2d(512, 4096, 7, padding=3), nn.ReLU(inplace=True), nn.Dropout(),
            nn.Conv2d(4096, 4096, 1), nn.ReLU(inplace=True), nn.Dropout(),
            nn.Conv2d(4096, classes, 1),
        )  # fmt: skip
        tent = 1 - (torch.arange(64) - 31.5).abs() / 32
        self.register_buffer("bilinear", (tent[:, None] * tent).repeat(classes, 1, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        score = self.score(x)
        return F.conv_transpose2d(
            score, self.bilinear, stride=32, padding=16, groups=score.shape[1]
        )


class FCN8s(nn.Module):
    """Scores of three stages: sums are enlarged by 2 by learned kernels, by 8 by a fixed one."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        stages = [nn.Sequential(stage, nn.MaxPool2d(2)) for stage in _stages(channels)]
        self.stages = nn.ModuleList(stages)
        self.top = nn.Sequential(
            nn.Conv2d(512, 4096, 7, padding=3), nn.ReLU(inplace=True), nn.Dropout(),
            nn.Conv2d(4096, 4096, 1), nn.ReLU(inplace=True), nn.Dropout(),
        )  # fmt: skip
        self.scores = nn.ModuleList(nn.Conv2d(width, classes, 1) for width in (256, 512, 4096))
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(classes, classes, 4, 2, 1, bias=False) for _ in range(2)
        )
        tent = 1 - (torch.arange(16) - 7.5).abs() / 8
        self.register_buffer("bilinear", (tent[:, None] * tent).repeat(classes, 1, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pools = []
        for stage in self.stages:
            x = stage(x)
            pools.append(x)
        score = self.scores[2](self.top(x))
        score = self.up[1](score) + self.scores[1](pools[3])
        score = self.up[0](score) + self.scores[0](pools[2])
        return F.conv_transpose2d(score, self.bilinear, stride=8, padding=4, groups=score.shape[1])


class SegNet(nn.Module):
    """VGG-16's convolutions with batch norm and back, unpooling to where the maxima were."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(_stages(channels, norm=True))
        self.decoder = nn.ModuleList()
        below = (64, 64, 128, 256, 512)
        for widths, outputs in zip(reversed(STAGES), reversed(below), strict=True):
            layers: list[nn.Module] = []
            for _ in widths[1:]:
                layers += _conv_relu(widths[0], widths[0], norm=True)
            self.decoder.append(nn.Sequential(*layers, *_conv_relu(widths[0], outputs, norm=True)))
        # The last convolution gives the logits: nothing follows it.
        self.decoder[-1] = nn.Sequential(
            *_conv_relu(64, 64, norm=True), nn.Conv2d(64, classes, 3, padding=1)
        )
        self.pool = nn.MaxPool2d(2, return_indices=True)
        self.unpool = nn.MaxUnpool2d(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = []
        for stage in self.encoder:
            size = x.shape[2:]
            x, positions = self.pool(stage(x))
            pooled.append((positions, size))
        for stage in self.decoder:
            positions, size = pooled.pop()
            x = stage(self.unpool(x, positions, output_size=size))
        return x


class ResNet18(nn.Module):
    """With a 3x3 stem for small images."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        blocks = [_Block(64 << max(stage - 1, 0), 64 << stage, stage > 0) for stage in range(4)]
        seconds = [_Block(64 << stage, 64 << stage, False) for stage in range(4)]
        pairs = zip(blocks, seconds, strict=True)
        self.layers = nn.Sequential(
            *_conv_norm(channels, 64), nn.ReLU(inplace=True),
            *(block for pair in pairs for block in pair),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class _Block(nn.Module):
    """Two 3x3 convolutions beside the identity, or beside a 1x1 convolution where it halves."""

    def __init__(self, inputs: int, outputs: int, halve: bool) -> None:
        super().__init__()
        stride = 2 if halve else 1
        self.body = nn.Sequential(
            *_conv_norm(inputs, outputs, 3, stride), nn.ReLU(inplace=True),
            *_conv_norm(outputs, outputs),
        )  # fmt: skip
        self.shortcut = nn.Sequential(*_conv_norm(inputs, outputs, 1, 2) if halve else ())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.body(x) + self.shortcut(x), inplace=True)


class ResNet50(nn.Module):
    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 64
        for stage, count in enumerate((3, 4, 6, 3)):
            for number in range(count):
                stride = 2 if stage and not number else 1
                layers.append(_Bottleneck(inputs, 64 << stage, stride))
                inputs = 256 << stage
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64),
            nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1), *layers,
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, classes),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class _Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride), 1x1 to four times the width."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.body = nn.Sequential(
            *_conv_norm(inputs, width, 1), nn.ReLU(inplace=True),
            *_conv_norm(width, width, 3, stride), nn.ReLU(inplace=True),
            *_conv_norm(width, outputs, 1),
        )  # fmt: skip
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Sequential(*() if same else _conv_norm(inputs, outputs, 1, stride))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.body(x) + self.shortcut(x), inplace=True)


def _conv_norm(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return [convolution, nn.BatchNorm2d(outputs)]


class LeNet(nn.Sequential):
    def __init__(self, channels: int, classes: int) -> None:
        super().__init__(
            nn.Conv2d(channels, 6, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(400, 120), nn.ReLU(inplace=True),
            nn.Linear(120, 84), nn.ReLU(inplace=True), nn.Linear(84, classes),
        )  # fmt: skip


def network_for(case: Case) -> nn.Module:
    """The network of a case, as torch initialises it."""
    return NETWORKS[case.name](case.images[1], case.classes)


NETWORKS: dict[str, Callable[[int, int], nn.Module]] = {
    "unet": UNet,
    "fcn32s": FCN32s,
    "segnet": SegNet,
    "resnet18": ResNet18,
    "vgg16": VGG16,
    "lenet": LeNet,
    "unet64": partial(UNet, base=64),
    "resnet50": ResNet50,
    "fcn8s": FCN8s,
}
