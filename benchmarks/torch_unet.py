"""The U-Net of ``minigraph.models.unet``, in torch, as the rival to measure against."""

from __future__ import annotations

import torch
from torch import nn


class TorchUNet(nn.Module):
    """Two 3x3 convolutions with ReLU a level, 2x2 transposed convolutions, skips concatenated."""

    def __init__(self, channels: int, classes: int, base: int, depth: int) -> None:
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
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=1), nn.ReLU(inplace=True),
    )  # fmt: skip
