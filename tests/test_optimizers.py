"""Each optimiser against its formula in plain NumPy, with the learning rate changed on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

import minigraph as mg
from minigraph import Tensor
from minigraph.initializers import Array
from minigraph.optimizers import Optimizer, optimizer_from_name

START = {"a": np.array([1.0, -2.0, 0.5, 3.0]), "b": np.array([[0.25, -1.0]])}
RATES = [0.1, 0.1, 0.03, 0.5, 0.0, 0.2, 0.2]
RATE = "optimizer.learning_rate"

Formula = Callable[[np.ndarray], Iterator[np.ndarray]]
"""A coroutine for one parameter: takes (gradient, rate), gives the next value."""


def batch(step: int) -> np.ndarray:
    return np.random.default_rng(step).standard_normal(4)


def loss(a: np.ndarray, b: np.ndarray, x: np.ndarray) -> float:
    return float((x * a * a).sum() + (a[:2] * b).sum() + (b**4).sum())


def gradients(a: np.ndarray, b: np.ndarray, x: np.ndarray) -> dict[str, np.ndarray]:
    """Of the loss, by hand."""
    ga = 2 * x * a
    ga[:2] += b[0]
    return {"a": ga, "b": a[:2] + 4 * b**3}


def model(x: Tensor) -> dict[str, Tensor]:
    a, b = (mg.parameter(x, name, value.shape, Array(value)) for name, value in START.items())
    fourth = b * b * b * b
    terms = (x * a * a, a[:2] * b, fourth)
    return {"loss": sum((mg.reduce_sum(term) for term in terms), start=0.0)}


# ---- the formulas


def sgd(theta: np.ndarray) -> Iterator[np.ndarray]:
    while True:
        gradient, rate = yield theta
        theta = theta - rate * gradient


def momentum(theta: np.ndarray) -> Iterator[np.ndarray]:
    """``v <- alpha v - eps g; theta <- theta + v``: the rate is that of the step, kept in v."""
    v = np.zeros_like(theta)
    while True:
        gradient, rate = yield theta
        v = 0.8 * v - rate * gradient
        theta = theta + v


def adagrad(theta: np.ndarray) -> Iterator[np.ndarray]:
    """``r <- r + g g; theta <- theta - eps / (delta + sqrt(r)) g``"""
    r = np.zeros_like(theta)
    while True:
        gradient, rate = yield theta
        r = r + gradient**2
        theta = theta - rate / (0.01 + np.sqrt(r)) * gradient


def adam(theta: np.ndarray) -> Iterator[np.ndarray]:
    """Kingma and Ba 2015, algorithm 1, with an epsilon large enough to matter."""
    m, v, t = np.zeros_like(theta), np.zeros_like(theta), 0
    while True:
        gradient, rate = yield theta
        t += 1
        m = 0.7 * m + 0.3 * gradient
        v = 0.95 * v + 0.05 * gradient**2
        theta = theta - rate * (m / (1 - 0.7**t)) / (np.sqrt(v / (1 - 0.95**t)) + 0.01)


def nesterov(theta: np.ndarray) -> Iterator[np.ndarray]:
    """``v <- alpha v - eps g; theta <- theta + alpha v - eps g``"""
    v = np.zeros_like(theta)
    while True:
        gradient, rate = yield theta
        v = 0.8 * v - rate * gradient
        theta = theta + 0.8 * v - rate * gradient


def rmsprop(theta: np.ndarray) -> Iterator[np.ndarray]:
    """``r <- rho r + (1 - rho) g g; theta <- theta - eps g / (sqrt(r) + epsilon)``"""
    r = np.zeros_like(theta)
    while True:
        gradient, rate = yield theta
        r = 0.7 * r + 0.3 * gradient**2
        theta = theta - rate * gradient / (np.sqrt(r) + 0.01)


def rmsprop_centred_with_momentum(theta: np.ndarray) -> Iterator[np.ndarray]:
    r, mean, b = np.zeros_like(theta), np.zeros_like(theta), np.zeros_like(theta)
    while True:
        gradient, rate = yield theta
        r = 0.7 * r + 0.3 * gradient**2
        mean = 0.7 * mean + 0.3 * gradient
        b = 0.8 * b + gradient / (np.sqrt(r - mean**2) + 0.01)
        theta = theta - rate * b


def adamw(theta: np.ndarray) -> Iterator[np.ndarray]:
    """Loshchilov and Hutter 2019, algorithm 2, with the decay times the rate."""
    m, v, t = np.zeros_like(theta), np.zeros_like(theta), 0
    while True:
        gradient, rate = yield theta
        t += 1
        m = 0.7 * m + 0.3 * gradient
        v = 0.95 * v + 0.05 * gradient**2
        step = (m / (1 - 0.7**t)) / (np.sqrt(v / (1 - 0.95**t)) + 0.01)
        theta = theta - rate * (step + 0.2 * theta)


CASES: dict[str, tuple[Optimizer, Formula]] = {
    "sgd": (mg.SGD(0.1), sgd),
    "momentum": (mg.Momentum(0.1, 0.8), momentum),
    "adagrad": (mg.AdaGrad(0.1, delta=0.01), adagrad),
    "adam": (mg.Adam(0.1, beta1=0.7, beta2=0.95, epsilon=0.01), adam),
    "nesterov": (mg.Nesterov(0.1, 0.8), nesterov),
    "rmsprop": (mg.RMSProp(0.1, rho=0.7, epsilon=0.01), rmsprop),
    "rmsprop-centred-with-momentum": (
        mg.RMSProp(0.1, rho=0.7, epsilon=0.01, momentum=0.8, centred=True),
        rmsprop_centred_with_momentum,
    ),
    "adamw": (mg.AdamW(0.1, beta1=0.7, beta2=0.95, epsilon=0.01, decay=0.2), adamw),
}


def expected_path(formula: Formula) -> tuple[list[float], dict[str, np.ndarray]]:
    """Losses before each step, and the parameters after the last."""
    paths = {name: formula(value) for name, value in START.items()}
    values = {name: next(path) for name, path in paths.items()}
    losses = []
    for step, rate in enumerate(RATES):
        losses.append(loss(values["a"], values["b"], batch(step)))
        found = gradients(values["a"], values["b"], batch(step))
        values = {name: path.send((found[name], rate)) for name, path in paths.items()}
    return losses, values


def trained(optimizer: Optimizer, dtype: str) -> tuple[list[float], mg.Executable]:
    step = mg.compile(model, {"x": f"{dtype}[4]"}, optimizer=optimizer, backend="numpy")
    losses = []
    for number, rate in enumerate(RATES):
        step.state[RATE] = rate
        losses.append(float(step(x=batch(number).astype(dtype))["loss"]))
    return losses, step


@pytest.mark.parametrize(("dtype", "bound"), [("float64", 1e-13), ("float32", 2e-5)])
@pytest.mark.parametrize("name", CASES)
def test_follows_its_formula(name: str, dtype: str, bound: float) -> None:
    optimizer, formula = CASES[name]
    losses, step = trained(optimizer, dtype)
    expected_losses, expected = expected_path(formula)
    np.testing.assert_allclose(losses, expected_losses, rtol=bound, atol=bound)
    for parameter, value in expected.items():
        assert step.state[parameter].dtype == dtype
        np.testing.assert_allclose(step.state[parameter], value, rtol=bound, atol=bound)


def test_a_rate_set_between_steps_compiles_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="minigraph")
    _, step = trained(mg.SGD(0.1), "float64")
    program = step.compiled.program
    step.state[RATE] = 0.0
    before = step.state["a"]
    step(x=batch(0))
    np.testing.assert_array_equal(step.state["a"], before)
    assert step.compiled.program is program
    assert "compiling" not in caplog.text


def test_momentums_velocity_and_adams_powers_are_state() -> None:
    _, step = trained(mg.Momentum(0.1), "float64")
    assert step.state["optimizer.velocity.a"].shape == (4,)
    _, step = trained(mg.Adam(0.1, beta1=0.9), "float32")
    assert step.state["optimizer.beta1_power"].dtype == np.float64
    np.testing.assert_allclose(step.state["optimizer.beta1_power"], 0.9 ** len(RATES), rtol=1e-14)


def test_adams_first_step_has_the_learning_rates_size() -> None:
    """m' = g and v' = g^2: the corrections cancel, whatever the gradient's size."""
    step = mg.compile(model, {"x": "float64[4]"}, optimizer=mg.Adam(0.01), backend="numpy")
    step(x=1e-3 * np.ones(4))
    moved = np.abs(step.state["a"] - START["a"])
    np.testing.assert_allclose(moved, 0.01, rtol=1e-4)


def test_a_frozen_parameter_stays_and_has_no_slot() -> None:
    def frozen(x: Tensor) -> dict[str, Tensor]:
        a = mg.parameter(x, "a", (4,), Array(START["a"]), trainable=False)
        b = mg.parameter(x, "b", (4,), Array(START["a"]))
        return {"loss": mg.reduce_sum(x * a * b)}

    step = mg.compile(frozen, {"x": "float64[4]"}, optimizer=mg.Momentum(0.1), backend="numpy")
    step(x=batch(0))
    np.testing.assert_array_equal(step.state["a"], START["a"])
    assert (step.state["b"] != START["a"]).all()
    assert [name for name in step.state if "velocity" in name] == ["optimizer.velocity.b"]


def test_a_negative_rate_is_refused() -> None:
    with pytest.raises(mg.SpecError, match=r"^Expected a learning rate of zero or more, got -0\.1"):
        mg.SGD(-0.1)


def test_an_unknown_name_is_refused() -> None:
    kinds = (mg.SGD, mg.Momentum, mg.Nesterov, mg.AdaGrad, mg.RMSProp, mg.Adam, mg.AdamW)
    for kind in kinds:
        assert optimizer_from_name(kind.__name__.lower(), 0.5) == kind(0.5)
    with pytest.raises(mg.SpecError, match=r"^Expected an optimiser of sgd, .*, got 'lion'"):
        optimizer_from_name("lion", 0.1)
