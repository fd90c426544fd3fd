"""Batch normalisation: moments, running statistics, inference, gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigraph as mg
from minigraph import Tensor
from minigraph.ops.norm import channel_moments

SHAPES = {"images": (4, 3, 5, 6), "features": (8, 3), "volume": (2, 3, 2, 2, 3), "one-each": (2, 3)}


def model(**options: Any) -> Any:
    def build(x: Tensor, g: Tensor) -> dict[str, Tensor]:
        y = mg.batch_norm(x, name="norm", **options)
        loss = mg.reduce_sum(y * g)
        return {"y": y, "loss": loss, "gx": mg.gradients(loss, [x])[0]}

    return build


def compiled(shape: tuple[int, ...], train: bool, dtype: str = "float64", **options: Any) -> Any:
    optimizer = mg.SGD(0.0) if train else None
    specs = {"x": (shape, dtype), "g": (shape, dtype)}
    return mg.compile(model(**options), specs, optimizer=optimizer, backend="numpy")


def set_weights(exe: mg.Executable, **arrays: Any) -> None:
    for name, array in arrays.items():
        exe.state[f"norm.{name}"] = array


WEIGHTS = {"weight": [1.5, -0.5, 2.0], "bias": [0.1, 0.2, -0.3]}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_training_equals_torchs_over_several_steps(shape: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch")
    kinds = {2: torch.nn.BatchNorm1d, 4: torch.nn.BatchNorm2d, 5: torch.nn.BatchNorm3d}
    theirs = kinds[len(shape)](3, eps=1e-3, momentum=0.2).double()
    step = compiled(shape, True, momentum=0.2, epsilon=1e-3)
    set_weights(step, **WEIGHTS)
    with torch.no_grad():
        theirs.weight[:], theirs.bias[:] = map(torch.DoubleTensor, WEIGHTS.values())
    rng = np.random.default_rng(0)
    for number in range(5):
        x, g = rng.standard_normal(shape) * (number + 1) - number, rng.standard_normal(shape)
        result = step(x=x, g=g)
        given = torch.tensor(x, requires_grad=True)
        expected = theirs(given)
        expected.backward(torch.tensor(g))
        np.testing.assert_allclose(result["y"], expected.detach().numpy(), rtol=0, atol=1e-12)
        np.testing.assert_allclose(result["gx"], given.grad.numpy(), rtol=0, atol=1e-11)
    for name in ("running_mean", "running_var"):
        np.testing.assert_allclose(
            step.state[f"norm.{name}"], getattr(theirs, name).numpy(), rtol=1e-12
        )


def test_running_statistics_by_hand() -> None:
    """momentum 0.1; the variance that runs is the unbiased one."""
    x = np.array([[1.0, 10.0], [3.0, 10.0], [8.0, 10.0]])
    step = mg.compile(
        model(), {"x": "float64[3,2]", "g": "float64[3,2]"}, optimizer=mg.SGD(0.0), backend="numpy"
    )
    step(x=x, g=x)
    np.testing.assert_allclose(step.state["norm.running_mean"], [0.4, 1.0], rtol=1e-15)
    np.testing.assert_allclose(step.state["norm.running_var"], [0.9 + 1.3, 0.9], rtol=1e-14)
    step(x=x, g=x)
    np.testing.assert_allclose(step.state["norm.running_mean"], [0.76, 1.9], rtol=1e-14)


STATISTICS = {"running_mean": [0.5, -1.0, 2.0], "running_var": [0.25, 4.0, 1.0]}


def normalised(x: np.ndarray) -> np.ndarray:
    """With the running statistics, for images."""
    columns = {n: np.array(v)[:, None, None] for n, v in {**WEIGHTS, **STATISTICS}.items()}
    centred = (x - columns["running_mean"]) / np.sqrt(columns["running_var"] + 1e-5)
    return centred * columns["weight"] + columns["bias"]


@pytest.mark.parametrize("frozen", [False, True], ids=["inference", "frozen-in-training"])
def test_running_statistics_are_used(frozen: bool) -> None:
    shape = SHAPES["images"]
    exe = compiled(shape, train=frozen, frozen_statistics=frozen)
    set_weights(exe, **WEIGHTS, **STATISTICS)
    x, g = (np.random.default_rng(seed).standard_normal(shape) for seed in (0, 1))
    result = exe(x=x, g=g)
    np.testing.assert_allclose(result["y"], normalised(x), rtol=0, atol=1e-12)
    for name, array in STATISTICS.items():
        np.testing.assert_array_equal(exe.state[f"norm.{name}"], array)


@pytest.mark.parametrize("frozen", [False, True], ids=["inference", "frozen-in-training"])
def test_gradients_are_those_of_the_running_statistics(frozen: bool) -> None:
    """The map is affine, so the gradient of an input is a factor for each channel."""
    shape = SHAPES["images"]
    exe = compiled(shape, train=frozen, frozen_statistics=frozen)
    set_weights(exe, **WEIGHTS, **STATISTICS)
    x, g = (np.random.default_rng(seed).standard_normal(shape) for seed in (0, 1))
    factor = np.array(WEIGHTS["weight"]) / np.sqrt(np.array(STATISTICS["running_var"]) + 1e-5)
    expected = g * factor[:, None, None]
    np.testing.assert_allclose(exe(x=x, g=g)["gx"], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(8, 2, 10, 10), (200, 2), (1, 2, 300, 300)], ids=str)
def test_a_large_mean_costs_no_variance(shape: tuple[int, ...]) -> None:
    """``E[x^2] - E[x]^2`` would lose every digit here; torch's own error sets the scale."""
    x = (1000.0 + np.random.default_rng(0).standard_normal(shape)).astype(np.float32)
    exe = mg.compile(channel_moments_of, {"x": (shape, "float32")}, backend="numpy")
    result = exe(x=x)
    axes = (0, *range(2, len(shape)))
    exact = x.astype(np.float64)
    np.testing.assert_allclose(result["mean"], exact.mean(axes), rtol=3e-7)
    np.testing.assert_allclose(result["variance"], exact.var(axes), rtol=2e-6)
    assert (result["variance"] >= 0).all()


def channel_moments_of(x: Tensor) -> dict[str, Tensor]:
    mean, variance = channel_moments(x)
    return {"mean": mean, "variance": variance}


def test_a_constant_channel_has_variance_zero() -> None:
    x = np.full((3, 2, 4, 4), 0.1, np.float32)
    result = mg.compile(channel_moments_of, {"x": "float32[3,2,4,4]"}, backend="numpy")(x=x)
    np.testing.assert_allclose(result["variance"], 0.0, atol=1e-14)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bit_inputs_have_float32_statistics(dtype: str) -> None:
    step = compiled((6, 3, 4, 4), True, dtype)
    kind = mg.DType.of(dtype).numpy
    x = (100 + 0.5 * np.random.default_rng(0).standard_normal((6, 3, 4, 4))).astype(kind)
    y = step(x=x, g=x)["y"]
    assert y.dtype == kind
    assert step.state["norm.running_var"].dtype == np.float32
    exact = x.astype(np.float64)
    mean = exact.mean((0, 2, 3), keepdims=True)
    expected = (exact - mean) / np.sqrt(exact.var((0, 2, 3), keepdims=True) + 1e-5)
    np.testing.assert_allclose(y.astype(np.float64), expected, rtol=0, atol=0.05)


def test_a_layer_used_twice_is_refused() -> None:
    def twice(x: Tensor) -> Tensor:
        return mg.batch_norm(mg.batch_norm(x, name="norm"), name="norm")

    with pytest.raises(mg.MinigraphError, match=r"^Expected a new name for a layer, got 'norm'"):
        mg.compile(twice, {"x": "float32[2,3]"}, backend="numpy")
