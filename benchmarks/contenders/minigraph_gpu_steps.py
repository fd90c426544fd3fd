"""minigraph's CuPy backend, on batches that are on the device (``device``) or not (``host``).

A call returns when its loss is there, and a batch of the host's travels within it. cuDNN's plans
are measured when they are first met, and those that may give other bits are left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import minigraph as mg
from benchmarks.cases import Case
from benchmarks.contenders.minigraph_steps import size
from benchmarks.contenders.steps import LEARNING_RATE, MOMENTUM, Steps


def training(case: Case, variant: str, precision: str) -> Steps:
    def model(image: mg.Tensor, label: mg.Tensor) -> dict[str, mg.Tensor]:
        logits = case.network(image, case.classes)
        return {"loss": mg.softmax_cross_entropy(logits, label, void_label=None)}

    specs = {"image": (case.images, "float32"), "label": (case.labels, "int64")}
    optimizer = mg.Momentum(LEARNING_RATE, MOMENTUM)
    step = mg.compile(
        model, specs, optimizer=optimizer, backend=mg.load_backend("cupy", float32="tf32"),
        precision=_precision(precision),
    )  # fmt: skip
    images, labels = map(_placed(variant), case.batch())
    out = {"loss": np.empty((), np.float32)}
    return Steps(lambda: step(image=images, label=labels, out=out)["loss"], size(step))


def inference(case: Case, variant: str, precision: str) -> Steps:
    def model(image: mg.Tensor) -> dict[str, mg.Tensor]:
        return {"logits": case.network(image, case.classes)}

    predict = mg.compile(
        model, {"image": (case.images, "float32")},
        backend=mg.load_backend("cupy", float32="tf32"),
        precision=_precision(precision),
    )  # fmt: skip
    place = _placed(variant)
    images = place(case.batch()[0])
    out = {"logits": place(np.empty(case.logits, np.float32))}

    def step() -> float:
        return float(predict(image=images, out=out)["logits"].reshape(-1)[0])

    return Steps(step, size(predict))


def _precision(precision: str) -> str:
    return "float32" if precision == "tf32" else precision


def _placed(variant: str) -> Any:
    if variant == "host":
        return np.asarray
    import cupy

    return cupy.asarray
