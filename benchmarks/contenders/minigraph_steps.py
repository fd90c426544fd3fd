"""minigraph, on one of its backends (the variant)."""

from __future__ import annotations

import numpy as np

import minigraph as mg
from benchmarks.cases import Case
from benchmarks.contenders.steps import LEARNING_RATE, MOMENTUM, Steps
from minigraph.ir.graph import Role


def training(case: Case, variant: str, threads: int) -> Steps:
    step = training_step(case, variant, threads)
    images, labels = case.batch()
    out = {"loss": np.empty((), np.float32)}
    return Steps(lambda: step(image=images, label=labels, out=out)["loss"], size(step))


def inference(case: Case, variant: str, threads: int) -> Steps:
    predict = inference_step(case, variant, threads)
    images, _ = case.batch()
    out = {"logits": np.empty(case.logits, np.float32)}
    return Steps(lambda: predict(image=images, out=out)["logits"], size(predict))


def training_step(case: Case, backend: str, threads: int) -> mg.Executable:
    """``step(image=, label=)``: forward, loss, backward, SGD with momentum."""

    def model(image: mg.Tensor, label: mg.Tensor) -> dict[str, mg.Tensor]:
        logits = case.network(image, case.classes)
        return {"loss": mg.softmax_cross_entropy(logits, label, void_label=None)}

    specs = {"image": (case.images, "float32"), "label": (case.labels, "int64")}
    optimizer = mg.Momentum(LEARNING_RATE, MOMENTUM)
    return mg.compile(model, specs, optimizer=optimizer, backend=backend, threads=threads)


def inference_step(case: Case, backend: str, threads: int) -> mg.Executable:
    """``predict(image=)``."""

    def model(image: mg.Tensor) -> dict[str, mg.Tensor]:
        return {"logits": case.network(image, case.classes)}

    specs = {"image": (case.images, "float32")}
    return mg.compile(model, specs, backend=backend, threads=threads)


def size(step: mg.Executable) -> int:
    """Numbers that training changes."""
    roles = step.state.roles
    return sum(step.state[name].size for name in roles if roles[name] is Role.PARAMETER)
