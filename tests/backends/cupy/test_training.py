"""Networks trained for a few steps on the emulated backend go the way that NumPy goes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cupy_cases import emulated, needs_compiler

import minigraph as mg
from minigraph.executable import Executable
from minigraph.models.unet import unet

pytestmark = needs_compiler

STEPS = 3


def classifier(image: mg.Tensor) -> mg.Tensor:
    x = mg.max_pool2d(mg.relu(mg.conv2d(image, 8, 3, padding="same", name="conv1")), 2)
    x = mg.max_pool2d(mg.relu(mg.conv2d(x, 12, 3, padding="same", name="conv2")), 2)
    x = mg.relu(mg.dense(mg.flatten(x), 32, name="dense1"))
    return mg.dense(x, 10, name="dense2")


NETWORKS: dict[str, tuple[Callable[..., Any], tuple[int, ...], tuple[int, ...], int]] = {
    "unet": (
        functools.partial(unet, classes=3, base=4, depth=2), (2, 3, 16, 20), (2, 16, 20), 3
    ),
    "classifier": (classifier, (8, 1, 12, 12), (8,), 10),
}  # fmt: skip


def step_of(network: str, backend: Any) -> Executable:
    model, image, label, _ = NETWORKS[network]

    def loss(image: mg.Tensor, label: mg.Tensor) -> dict[str, mg.Tensor]:
        return {"loss": mg.softmax_cross_entropy(model(image), label)}

    specs = {"image": (image, "float32"), "label": (label, "int32")}
    return mg.compile(loss, specs, optimizer=mg.Momentum(0.05), backend=backend, seed=0)


@pytest.mark.parametrize("network", NETWORKS)
def test_losses_and_parameters_equal_those_of_numpy(network: str) -> None:
    _, image_shape, label_shape, classes = NETWORKS[network]
    got = step_of(network, emulated(backward=True))
    expected = step_of(network, "numpy")
    for name in expected.state:
        got.state[name] = expected.state[name]
    rng = np.random.default_rng(0)
    for _ in range(STEPS):
        batch = {
            "image": rng.standard_normal(image_shape).astype(np.float32),
            "label": rng.integers(0, classes, label_shape).astype(np.int32),
        }
        np.testing.assert_allclose(got(**batch)["loss"], expected(**batch)["loss"], rtol=2e-5)
    for name in expected.state:
        np.testing.assert_allclose(got.state[name], expected.state[name], rtol=1e-3, atol=2e-5)
