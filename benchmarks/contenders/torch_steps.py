"""torch: the variants ``eager``, ``channels_last`` and ``compile`` (which needs a C++ compiler)."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from benchmarks.cases import Case
from benchmarks.contenders.steps import LEARNING_RATE, MOMENTUM, Steps
from benchmarks.contenders.torch_networks import network_for


def training(case: Case, variant: str, threads: int) -> Steps:
    model, images, labels = _prepare(case, variant, threads)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, fused=True
    )  # fmt: skip

    def loss_of(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(model(images), labels)

    if variant == "compile":
        loss_of = torch.compile(loss_of)

    def step() -> float:
        optimizer.zero_grad()
        loss = loss_of(images, labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return Steps(step, _size(model))


def inference(case: Case, variant: str, threads: int) -> Steps:
    model, images, _ = _prepare(case, variant, threads)
    model.eval()
    size = _size(model)
    if variant == "compile":
        model = torch.compile(model, options={"freezing": True})

    def step() -> np.ndarray:
        with torch.no_grad():
            return model(images).numpy()

    return Steps(step, size)


def _prepare(
    case: Case, variant: str, threads: int
) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    images, labels = map(torch.from_numpy, case.batch())
    model = network_for(case)
    if variant == "channels_last":
        model = model.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)
    return model, images, labels


def _size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
