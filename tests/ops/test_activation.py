"""Elementary functions and activations where tables do not reach: exactness, kinks, extremes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import op_table
import pytest

import minigraph as mg

needs_torch = pytest.mark.skipif(op_table.torch is None, reason="torch is not installed")


def value_and_gradient(function: Any, *arrays: Any, dtype: str = "float64") -> list[np.ndarray]:
    """The function's value, and the gradient of its sum for every array."""

    def model(**tensors: mg.Tensor) -> dict[str, mg.Tensor]:
        y = function(*tensors.values())
        grads = mg.gradients(mg.reduce_sum(y), list(tensors.values()))
        return {"y": y, **{f"g{i}": g for i, g in enumerate(grads)}}

    typed = [np.asarray(array, dtype) for array in arrays]
    specs = {f"x{i}": mg.TensorSpec(a.shape, mg.DType.of(dtype)) for i, a in enumerate(typed)}
    exe = mg.compile(model, specs, backend="numpy", threads=1)
    return list(exe(dict(zip(specs, typed, strict=True))).values())


def torch_value_and_gradient(function: Any, *arrays: Any) -> list[np.ndarray]:
    tensors = [op_table.torch.tensor(a, dtype=op_table.torch.float64) for a in arrays]
    for tensor in tensors:
        tensor.requires_grad_()
    y = function(*tensors)
    y.sum().backward()
    return [y.detach().numpy(), *(tensor.grad.numpy() for tensor in tensors)]


@pytest.mark.parametrize(("dtype", "bits"), [("float64", 52), ("float32", 23)])
def test_erf_is_within_four_units_in_the_last_place(dtype: str, bits: int) -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate(
        [np.linspace(-7, 7, 30011), rng.uniform(0.4, 0.6, 10000), 10.0 ** rng.uniform(-30, 1, 9999)]
    ).astype(dtype)
    exe = mg.compile(mg.erf, {"x": f"{dtype}[{x.size}]"}, backend="numpy")
    got = exe(x=x)["output"].astype(np.float64)
    expected = np.array([math.erf(value) for value in x])
    unit = 2.0 ** (np.floor(np.log2(np.maximum(np.abs(expected), 1e-300))) - bits)
    assert (np.abs(got - expected) / unit).max() <= 4.0


def test_erf_of_zeros_infinities_and_nan() -> None:
    exe = mg.compile(mg.erf, {"x": "float64[6]"}, backend="numpy")
    got = exe(x=np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-310]))["output"]
    np.testing.assert_array_equal(got[:5], [0.0, -0.0, 1.0, -1.0, np.nan])
    assert np.signbit(got[1])
    assert got[5] == pytest.approx(1e-310 * 2 / math.sqrt(math.pi))


@needs_torch
@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0, 3.0, 4.0, 0.5, 2.5, -1.0, -0.5, 5.0])
def test_powers_of_a_number_at_zero_and_below_are_those_of_torch(exponent: float) -> None:
    x = np.array([-2.0, -1.0, 0.0, 0.5, 3.0])
    got = value_and_gradient(lambda x: mg.power(x, exponent), x)
    expected = torch_value_and_gradient(lambda x: x**exponent, x)
    for ours, theirs in zip(got, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-14)


@needs_torch
def test_powers_of_tensors_at_zero_and_below_are_those_of_torch() -> None:
    bases, exponents = np.meshgrid(
        [-2.0, -0.0, 0.0, 0.5, 3.0], [-2.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0]
    )
    got = value_and_gradient(mg.power, bases, exponents)
    expected = torch_value_and_gradient(op_table.torch.pow, bases, exponents)
    for ours, theirs in zip(got, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-14)


def test_the_second_gradient_of_a_power_is_finite_at_zero() -> None:
    def model(x: mg.Tensor, p: mg.Tensor) -> list[mg.Tensor]:
        first = mg.gradients(mg.reduce_sum(x**p), [x, p])
        total = mg.reduce_sum(first[0]) + mg.reduce_sum(first[1])
        return dict(zip("xp", mg.gradients(total, [x, p]), strict=True))

    exe = mg.compile(model, {"x": "float64[3]", "p": "float64[3]"}, backend="numpy")
    got = exe(x=[0.0, 0.0, 2.0], p=[3.0, 4.0, 3.0])
    np.testing.assert_allclose(got["x"][:2], 0.0)
    np.testing.assert_allclose(got["p"][:2], 0.0)
    log = math.log(2.0)  # d2/dx2 + d2/dxdp of x^p, and d2/dxdp + d2/dp2
    mixed = 4.0 * (1 + 3 * log)
    np.testing.assert_allclose([got["x"][2], got["p"][2]], [12 + mixed, mixed + 8 * log**2])


def test_small_powers_of_integers_stay_integers() -> None:
    exe = mg.compile(lambda x: {"y": x**3, "z": 2.0**x}, {"x": "int32[3]"}, backend="numpy")
    got = exe(x=[-2, 0, 3])
    assert got["y"].dtype == np.int32
    assert got["y"].tolist() == [-8, 0, 27]
    np.testing.assert_allclose(got["z"], [0.25, 1.0, 8.0])


@needs_torch
@pytest.mark.parametrize("bounds", [(-1.0, 2.0), (None, 2.0), (-1.0, None), (2.0, -1.0)])
def test_clip_at_its_bounds_is_torchs_clamp(bounds: tuple[Any, Any]) -> None:
    x = np.array([-3.0, -1.0, 0.0, 2.0, 5.0])
    got = value_and_gradient(lambda x: mg.clip(x, *bounds), x)
    expected = torch_value_and_gradient(lambda x: op_table.torch.clamp(x, *bounds), x)
    for ours, theirs in zip(got, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_clip_keeps_nan() -> None:
    y, _ = value_and_gradient(lambda x: mg.clip(x, 0.0, 1.0), [np.nan, 2.0])
    np.testing.assert_array_equal(y, [np.nan, 1.0])


@needs_torch
@pytest.mark.parametrize("name", ["elu", "selu", "silu", "gelu", "mish", "softplus"])
def test_values_and_gradients_far_from_zero(name: str) -> None:
    F = op_table.F
    x = np.array([-750.0, -90.0, -18.0, -1e-12, 0.0, 1e-12, 18.0, 90.0, 750.0])
    got = value_and_gradient(getattr(mg, name), x)
    expected = torch_value_and_gradient(getattr(F, name), x)
    for ours, theirs in zip(got, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-13, atol=1e-15)


def test_softplus_does_not_lose_its_small_values() -> None:
    """Where torch's threshold gives x, and where log(1 + e^x) rounds to 0."""
    y, gradient = value_and_gradient(mg.softplus, [25.0, -40.0])
    np.testing.assert_allclose(y, [25.0 + math.exp(-25.0), math.exp(-40.0)], rtol=1e-15)
    np.testing.assert_allclose(gradient, [1 - math.exp(-25.0), math.exp(-40.0)], rtol=1e-15)


def test_elu_is_exact_near_zero() -> None:
    y, gradient = value_and_gradient(mg.elu, [-1e-9], dtype="float32")
    np.testing.assert_allclose(y, [np.float32(-1e-9)], rtol=1e-7)
    assert gradient == 1.0


@pytest.mark.parametrize("name", ["l1_norm", "l2_norm", "standard_deviation"])
def test_gradients_of_nothing_are_zero(name: str) -> None:
    y, gradient = value_and_gradient(getattr(mg, name), np.zeros(4))
    assert y == 0.0
    np.testing.assert_array_equal(gradient, np.zeros(4))


def test_logsumexp_of_infinities() -> None:
    x = [[-np.inf, -np.inf], [0.0, -np.inf], [np.inf, 0.0]]
    exe = mg.compile(lambda x: mg.logsumexp(x, 1), {"x": "float64[3,2]"}, backend="numpy")
    np.testing.assert_array_equal(exe(x=x)["output"], [-np.inf, 0.0, np.inf])


def test_norms_and_variances_of_16_bit_numbers_do_not_overflow() -> None:
    def model(x: mg.Tensor) -> dict[str, mg.Tensor]:
        return {"norm": mg.l2_norm(x), "variance": mg.variance(x), "mse": mg.mse_loss(x, -x)}

    exe = mg.compile(model, {"x": "float16[4]"}, backend="numpy")
    got = exe(x=np.array([1000.0, 1100.0, 1000.0, 1100.0], np.float16))
    assert got["norm"] == pytest.approx(math.sqrt(2 * 1000**2 + 2 * 1100**2), rel=1e-3)
    assert got["variance"] == 2500.0
    assert got["mse"] == pytest.approx((2000**2 + 2200**2) / 2)


def test_the_variance_of_a_large_mean_does_not_cancel() -> None:
    x = (1e6 + np.arange(4.0)).astype(np.float32)
    exe = mg.compile(mg.variance, {"x": "float32[4]"}, backend="numpy")
    assert exe(x=x)["output"] == 1.25


def test_prelu_makes_one_slope_a_channel_or_one() -> None:
    def model(x: mg.Tensor) -> dict[str, mg.Tensor]:
        one = mg.prelu(x, per_channel=False, name="one")
        return {"y": mg.prelu(x, name="each"), "z": one}

    exe = mg.compile(model, {"x": "float32[1,2,2]"}, backend="numpy")
    assert exe.state["each.slope"].tolist() == [0.25, 0.25]
    assert exe.state["one.slope"] == 0.25
    exe.state["each.slope"] = [0.5, 2.0]
    got = exe(x=[[[-1.0, 4.0], [-1.0, 4.0]]])
    assert got["y"].tolist() == [[[-0.5, 4.0], [-2.0, 4.0]]]
    assert got["z"].tolist() == [[[-0.25, 4.0], [-0.25, 4.0]]]
