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


def clipped(clip: Callable[[Any], Any], kind: Any, **options: Any) -> Update:
    """A torch optimiser after ``clip([weight, bias])``."""

    def make(weight: Any, bias: Any) -> Callable[[], None]:
        optimizer = kind([weight, bias], **options)

        def step() -> None:
            clip([weight, bias])
            optimizer.step()

        return step

    return make


def by_norm(limit: float) -> Callable[[Any], Any]:
    return lambda parameters: torch.nn.utils.clip_grad_norm_(parameters, limit)


def by_value(limit: float) -> Callable[[Any], Any]:
    return lambda parameters: torch.nn.utils.clip_grad_value_(parameters, limit)


def two(of_weight: Any, of_bias: Any) -> Update:
    """A torch optimiser for each of the two, from functions of a list; None freezes."""

    def make(weight: Any, bias: Any) -> Callable[[], None]:
        made = [of([p]) for of, p in ((of_weight, weight), (of_bias, bias)) if of is not None]
        return lambda: [optimizer.step() for optimizer in made] and None

    return make


def is_bias(name: str, spec: mg.TensorSpec) -> bool:
    return name.endswith(".bias") and spec.ndim == 1


DECAYING = {  # torch's own option, for every optimiser that has it
    "sgd": (mg.SGD(0.05), torch.optim.SGD, {"lr": 0.05}),
    "momentum": (mg.Momentum(0.05, 0.8), torch.optim.SGD, {"lr": 0.05, "momentum": 0.8}),
    "nesterov": (
        mg.Nesterov(0.05, 0.8), torch.optim.SGD, {"lr": 0.05, "momentum": 0.8, "nesterov": True}
    ),
    "adagrad": (mg.AdaGrad(0.05, 1e-3), torch.optim.Adagrad, {"lr": 0.05, "eps": 1e-3}),
    "rmsprop": (mg.RMSProp(0.05), torch.optim.RMSprop, {"lr": 0.05}),
    "adam": (mg.Adam(0.05), torch.optim.Adam, {"lr": 0.05}),
}  # fmt: skip

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
    **{
        f"decayed-{name}": (mg.WeightDecay(ours, 0.3), plain(kind, weight_decay=0.3, **options))
        for name, (ours, kind, options) in DECAYING.items()
    },
    "decayed-weights-only": (
        mg.WeightDecay(mg.Momentum(0.05, 0.8), 0.3, only=mg.weights_only),
        grouped(torch.optim.SGD, {"lr": 0.05, "momentum": 0.8, "weight_decay": 0.3},
                {"lr": 0.05, "momentum": 0.8}),
    ),
    "decayed-by-pattern": (
        mg.WeightDecay(mg.SGD(0.05), 0.3, only="*.bias"),
        grouped(torch.optim.SGD, {"lr": 0.05}, {"lr": 0.05, "weight_decay": 0.3}),
    ),
    "clipped-by-norm": (
        mg.ClipGlobalNorm(mg.SGD(0.05), 9.0), clipped(by_norm(9.0), torch.optim.SGD, lr=0.05)
    ),
    "clipped-by-norm-then-decayed-adam": (
        mg.ClipGlobalNorm(mg.WeightDecay(mg.Adam(0.05), 0.3), 3.0),
        clipped(by_norm(3.0), torch.optim.Adam, lr=0.05, weight_decay=0.3),
    ),
    "clipped-by-value": (
        mg.ClipValue(mg.Momentum(0.05, 0.8), 1.5),
        clipped(by_value(1.5), torch.optim.SGD, lr=0.05, momentum=0.8),
    ),
    "scaled-group": (
        mg.Groups(mg.Adam(0.05), {is_bias: 0.2}),
        grouped(torch.optim.Adam, {"lr": 0.05}, {"lr": 0.01}),
    ),
    "own-optimiser": (
        mg.Groups(mg.Adam(0.05, beta1=0.8), {"*.bias": mg.Adam(0.02, beta1=0.6)}),
        grouped(torch.optim.Adam, {"lr": 0.05, "betas": (0.8, 0.999)},
                {"lr": 0.02, "betas": (0.6, 0.999)}),
    ),
    "another-optimiser": (
        mg.Groups(mg.SGD(0.05), {"*.weight": mg.WeightDecay(mg.RMSProp(0.01), 0.1)}),
        two(lambda p: torch.optim.RMSprop(p, lr=0.01, weight_decay=0.1),
            lambda p: torch.optim.SGD(p, lr=0.05)),
    ),
    "frozen-outside-the-norm": (
        mg.ClipGlobalNorm(mg.Groups(mg.Momentum(0.05), {"*.weight": None}), 1.0),
        lambda weight, bias: clipped(by_norm(1.0), torch.optim.SGD, lr=0.05, momentum=0.9)(
            weight.detach(), bias),
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


def test_the_comparison_can_tell_nesterovs_momentum_from_polyaks() -> None:
    step = mg.compile(
        model, {"x": "float64[3,2]"}, optimizer=mg.Momentum(0.05, 0.8), backend="numpy"
    )
    for number in range(STEPS):
        step(x=batch(number))
    weight, _ = torch_path(CASES["nesterov"][1])
    assert np.abs(step.state["layer.weight"] - weight).max() > 1e-3


def gradient_norms(limit: float) -> np.ndarray:
    optimizer = mg.ClipGlobalNorm(mg.SGD(0.05), limit)
    step = mg.compile(model, {"x": "float64[3,2]"}, optimizer=optimizer, backend="numpy")
    norm = "optimizer.gradient_norm"
    return np.array([step(x=batch(n), fetch=[norm])[norm] for n in range(STEPS)])


def test_the_norm_before_clipping_can_be_fetched() -> None:
    norms: list[float] = []

    def clip(parameters: Any) -> None:
        norms.append(torch.nn.utils.clip_grad_norm_(parameters, 9.0).item())

    torch_path(clipped(clip, torch.optim.SGD, lr=0.05))
    assert min(norms) < 9.0 < max(norms)  # the case above clips some steps and leaves others
    np.testing.assert_allclose(gradient_norms(9.0), norms, rtol=1e-11)
