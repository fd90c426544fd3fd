"""How parameters start: variances, bilinear kernels, and independence of one another."""

from __future__ import annotations

import math

import numpy as np
import pytest

import minigraph as mg
from minigraph import Tensor, initializers
from minigraph.initializers import (
    Array,
    Bilinear,
    Constant,
    HeNormal,
    HeUniform,
    Initializer,
    XavierNormal,
    XavierUniform,
    fans,
    generator_for,
)

WEIGHT = mg.TensorSpec((160, 50, 3, 3))  # 72000 elements, fan-in 450, fan-out 1440


def drawn(initializer: Initializer, spec: mg.TensorSpec = WEIGHT, seed: int = 0) -> np.ndarray:
    return initializer(spec, generator_for(seed, "weight")).astype(np.float64)


def test_fans() -> None:
    assert fans(WEIGHT) == (450, 1440)
    assert fans(mg.TensorSpec((10, 7))) == (7, 10)
    with pytest.raises(mg.SpecError, match=r"^Expected a weight of at least 2 axes .*float32\[5\]"):
        fans(mg.TensorSpec((5,)))


@pytest.mark.parametrize(
    ("initializer", "variance", "fourth"),
    [
        (HeNormal(), 2 / 450, 3.0),
        (HeNormal(fan_in=100), 2 / 100, 3.0),
        (HeUniform(), 2 / 450, 1.8),
        (HeUniform(fan_in=100), 2 / 100, 1.8),
        (XavierNormal(), 2 / 1890, 3.0),
        (XavierUniform(), 2 / 1890, 1.8),
    ],
    ids=str,
)
def test_moments(initializer: Initializer, variance: float, fourth: float) -> None:
    """Mean 0, the documented variance, and the kurtosis of a normal or a uniform distribution.

    Of 72000 samples: the mean is within 5 standard errors, the variance within 4 %.
    """
    values = drawn(initializer)
    assert abs(values.mean()) < 5 * math.sqrt(variance / values.size)
    assert abs(values.var() / variance - 1) < 0.04
    assert abs((values**4).mean() / variance**2 / fourth - 1) < 0.1


@pytest.mark.parametrize(
    ("initializer", "bound"),
    [(HeUniform(), math.sqrt(6 / 450)), (XavierUniform(), math.sqrt(6 / 1890))],
    ids=str,
)
def test_uniform_bounds(initializer: Initializer, bound: float) -> None:
    assert 0.999 * bound < np.abs(drawn(initializer)).max() <= bound * (1 + 1e-6)


def test_constant_and_array() -> None:
    spec = mg.TensorSpec((2, 3), mg.DType.FLOAT16)
    assert drawn(Constant(0.5), spec).tolist() == [[0.5] * 3] * 2
    given = np.arange(6.0).reshape(2, 3)
    result = Array(given)(spec, generator_for(0, "w"))
    assert result.dtype == np.float16
    np.testing.assert_array_equal(result, given)
    with pytest.raises(mg.SpecError, match=r"^Expected .* shape \[2, 3\], got \[3, 2\]"):
        Array(given.T)(spec, generator_for(0, "w"))


# ---- bilinear


def test_bilinear_kernel_of_the_lecture() -> None:
    kernel = drawn(Bilinear(), mg.TensorSpec((1, 1, 3, 3)))[0, 0]
    np.testing.assert_array_equal(kernel, [[0.25, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 0.25]])


def test_bilinear_keeps_channels_apart() -> None:
    weight = drawn(Bilinear(), mg.TensorSpec((3, 3, 4, 4)))
    for k in range(3):
        for c in range(3):
            assert weight[k, c].any() == (k == c)
    with pytest.raises(mg.SpecError, match=r"^Expected a weight .*float32\[3,3\]"):
        drawn(Bilinear(), mg.TensorSpec((3, 3)))


@pytest.mark.parametrize("stride", [2, 3, 4, 5, 8])
def test_bilinear_interpolates(stride: int) -> None:
    """An affine image comes out affine, away from the border, and aligned by its pixels' areas.

    Output pixel ``o`` covers the place ``(o + 1/2) / stride - 1/2`` of the input.
    """
    size = 2 * stride - stride % 2
    padding = (size - stride + 1) // 2

    def model(image: Tensor) -> Tensor:
        return mg.conv_transpose2d(
            image, 1, size, stride=stride, padding=padding, bias=False,
            weight_initializer=Bilinear(),
        )  # fmt: skip

    rows, columns = np.mgrid[:6, :7].astype(float)
    image = 2.0 + 3.0 * rows - 0.5 * columns
    y = mg.compile(model, {"image": "float64[1,1,6,7]"}, backend="numpy")(image=image[None, None])
    rows, columns = (np.indices(y["output"].shape[2:]) + 0.5) / stride - 0.5
    inner = (slice(size, -size), slice(size, -size))
    expected = (2.0 + 3.0 * rows - 0.5 * columns)[inner]
    assert min(expected.shape) > 2
    np.testing.assert_allclose(y["output"][0, 0][inner], expected, rtol=0, atol=1e-12)


# ---- a function of seed and name


def two_layers(image: Tensor) -> Tensor:
    x = mg.conv2d(image, 4, 3, name="first")
    return mg.conv2d(x, 5, 3, name="last")


def three_layers(image: Tensor) -> Tensor:
    x = mg.conv2d(image, 4, 3, name="first")
    x = mg.conv2d(x, 4, 1, name="between")
    return mg.conv2d(mg.relu(x), 5, 3, name="last")


def started(model: object, seed: int = 0) -> dict[str, np.ndarray]:
    exe = mg.compile(model, {"image": "float32[1,3,8,8]"}, backend="numpy", seed=seed)  # type: ignore[arg-type]
    return exe.state.parameters()


def test_another_layer_changes_no_start() -> None:
    before, after = started(two_layers), started(three_layers)
    assert set(after) - set(before) == {"between.weight", "between.bias"}
    for name, array in before.items():
        np.testing.assert_array_equal(array, after[name])


def test_starts_follow_from_seed_and_name() -> None:
    start, other = started(three_layers), started(three_layers, seed=1)
    np.testing.assert_array_equal(start["first.weight"], started(three_layers)["first.weight"])
    assert (start["first.weight"] != other["first.weight"]).all()
    assert (generator_for(0, "a").random(8) != generator_for(0, "b").random(8)).all()
    first, last = start["first.weight"].ravel(), start["last.weight"].ravel()
    assert abs(np.corrcoef(first, last[: first.size])[0, 1]) < 0.4


def test_layer_defaults() -> None:
    """He normal with the fan-in that reaches one output, biases zero."""

    def model(image: Tensor) -> Tensor:
        x = mg.conv2d(image, 64, 5, groups=2, name="conv")
        x = mg.conv_transpose2d(x, 64, 4, stride=2, name="up")
        x = mg.batch_norm(x, name="norm")
        return mg.dense(mg.flatten(x), 30, name="dense")

    exe = mg.compile(model, {"image": "float32[1,16,9,9]"}, backend="numpy")
    state = exe.state
    features = state["dense.weight"].shape[1]
    for name, fan_in in (("conv", 8 * 25), ("up", 64 * 16 / 4), ("dense", features)):
        values = state[f"{name}.weight"].astype(np.float64)
        assert abs(values.var() * fan_in / 2 - 1) < 0.06
        assert not state[f"{name}.bias"].any()
    for name, value in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
        assert (state[f"norm.{name}"] == value).all()


def test_random_key_starts_at_step_zero() -> None:
    spec = mg.TensorSpec((2,), mg.DType.INT64)
    key = initializers.RandomKey()(spec, generator_for(5, "random.key"))
    assert key.dtype == np.int64
    assert key[0] > 0
    assert key[1] == 0
