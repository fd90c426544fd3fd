"""Rules, weight decay, clipping and groups against torch's optimisers: float64, same gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import minigraph as mg
from minigraph import Tensor
from minigraph.initializers import Array
from minigraph.optimizers import Optimizer

torch = pytest.importorskip("torch", reason="parity is with torch, which is not installed")

WEIGHT = np.array([[1.0, -2.0, 0.5], [3.0, 0.25, -1.0]])
BIAS = np.array([0.5, -1.5])
STEPS = 8

Update = Callable[[Any, Any], Callable[[], None]]
"""From torch's weight and bias to a function that updates both from their ``grad``."""


def model(x: Tensor) -> dict[str, Tensor]:
    weight = mg.parameter(x, "layer.weight", WEIGHT.shape, Array(WEIGHT))
    bias = mg.parameter(x, "layer.bias", BIAS.shape, Array(BIAS))
    error = mg.matmul(weight, x) + bias - 1.0
    return {"loss": mg.reduce_mean(error * error) + mg.reduce_mean(mg.exp(weight * 0.5))}


def torch_loss(weight: Any, bias: Any, x: Any) -> Any:
    return ((weight @ x + bias - 1.0) ** 2).mean() + (weight * 0.5).exp().mean()


def batch(number: int) -> np.ndarray:
    return np.random.default_rng(number).standard_normal((3, 2)) * (number + 1)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def plain(kind: Any, **options: Any) -> Update:
    """A torch optimiser of both parameters."""

    def make(weight: Any, bias: Any) -> Callable[[], None]:
        return kind([weight, bias], **options).step

    return make


def grouped(kind: Any, of_weight: dict, of_bias: dict) -> Update:
    """A torch optimiser with a group for each of the two."""

    def make(weight: Any, bias: Any) -> Callable[[], None]:
        groups = [{"params": [weight], **of_weight}, {"params": [bias], **of_bias}]
        return kind(groups).step

    return make


CASES: dict[str, tuple[Optimizer, Update]] = {
    "nesterov": (
        mg.Nesterov(0.05, 0.8), plain(torch.optim.SGD, lr=0.05, momentum=0.8, nesterov=True)
    ),
    "rmsprop": (mg.RMSProp(0.05), plain(torch.optim.RMSprop, lr=0.05)),
    "rmsprop-centred": (
        mg.RMSProp(0.05, rho=0.8, epsilon=1e-3, centred=True),
        plain(torch.optim.RMSprop, lr=0.05, alpha=0.8, eps=1e-3, centered=True),
    ),
    "rmsprop-momentum": (
        mg.RMSProp(0.02, momentum=0.7), plain(torch.optim.RMSprop, lr=0.02, momentum=0.7)
    ),
    "adamw": (mg.AdamW(0.05), plain(torch.optim.AdamW, lr=0.05)),
    "adamw-of-weights-only": (
        mg.AdamW(0.05, decay=0.3, only=mg.weights_only),
        grouped(torch.optim.AdamW, {"lr": 0.05, "weight_decay": 0.3},
                {"lr": 0.05, "weight_decay": 0.0}),
    ),
}  # fmt: skip


def torch_path(update: Update) -> tuple[np.ndarray, np.ndarray]:
    weight, bias = (torch.tensor(a, requires_grad=True) for a in (WEIGHT, BIAS))
    step = update(weight, bias)
    for number in range(STEPS):
        weight.grad = bias.grad = None
        torch_loss(weight, bias, torch.tensor(batch(number))).backward()
        step()
    return weight.detach().numpy(), bias.detach().numpy()


@pytest.mark.parametrize("name", CASES)
def test_the_path_is_torchs(name: str) -> None:
    optimizer, update = CASES[name]
    step = mg.compile(model, {"x": "float64[3,2]"}, optimizer=optimizer, backend="numpy")
    for number in range(STEPS):
        step(x=batch(number))
    weight, bias = torch_path(update)
    np.testing.assert_allclose(step.state["layer.weight"], weight, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(step.state["layer.bias"], bias, rtol=1e-11, atol=1e-13)


def test_the_rate_without_momentum_does_not_stand_for_nesterovs() -> None:
    """The comparison above can tell: Polyak's momentum goes elsewhere."""
    step = mg.compile(
        model, {"x": "float64[3,2]"}, optimizer=mg.Momentum(0.05, 0.8), backend="numpy"
    )
    for number in range(STEPS):
        step(x=batch(number))
    weight, _ = torch_path(CASES["nesterov"][1])
    assert np.abs(step.state["layer.weight"] - weight).max() > 1e-3
