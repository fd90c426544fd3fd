"""torch on a GPU: ``eager``, ``channels_last``, ``compile`` (max-autotune), and ``graph``: the
whole step in channels_last, recorded by hand in one CUDA graph.

Gradients are set to None before each step: within the recording, backward then writes them anew
instead of adding to them (torch's own advice). Steps are queued: nothing waits for a loss between.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from benchmarks.cases import Case
from benchmarks.contenders.steps import LEARNING_RATE, MOMENTUM, Steps
from benchmarks.contenders.torch_networks import network_for

_WARM_UP = 5


def training(case: Case, variant: str, precision: str) -> Steps:
    model, images, labels = _prepare(case, variant)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, fused=True
    )  # fmt: skip

    def loss_of(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with _autocast(precision):
            return nn.functional.cross_entropy(model(images), labels)

    if variant == "compile":
        loss_of = torch.compile(loss_of, mode="max-autotune")

    def work() -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(images, labels)
        loss.backward()
        optimizer.step()
        return loss

    return _steps(work, variant, model)


def inference(case: Case, variant: str, precision: str) -> Steps:
    model, images, _ = _prepare(case, variant)
    model.eval()
    run = torch.compile(model, mode="max-autotune") if variant == "compile" else model

    @torch.no_grad()
    def work() -> torch.Tensor:
        with _autocast(precision):
            return run(images).reshape(-1)[0]

    return _steps(work, variant, model)


def _steps(work: Callable[[], torch.Tensor], variant: str, model: nn.Module) -> Steps:
    size = sum(parameter.numel() for parameter in model.parameters())
    if variant != "graph":
        return Steps(lambda: work().item(), size, work)
    stream = torch.cuda.Stream()  # what is recorded must have run before, on another stream
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UP):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = work()

    def step() -> float:
        graph.replay()
        return result.item()

    return Steps(step, size, graph.replay)


def _autocast(precision: str) -> torch.autocast:
    return torch.autocast("cuda", torch.bfloat16, enabled=precision == "bfloat16")


def _prepare(case: Case, variant: str) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    if not torch.cuda.is_available():
        raise RuntimeError("this torch has no GPU")
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.manual_seed(0)
    images, labels = (torch.from_numpy(array).cuda() for array in case.batch())
    model = network_for(case).cuda()
    if variant != "eager":
        model = model.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)
    return model, images, labels
