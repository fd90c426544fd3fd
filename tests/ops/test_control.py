"""stop_gradient, when_training, shared and missing gradients, ties."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigraph as mg
from minigraph import Tensor
from minigraph.initializers import Constant


def gradient_of(function: Any, *arrays: Any) -> list[np.ndarray]:
    """Gradients of ``reduce_sum(function(...))`` for each input, in float64."""

    def model(**tensors: Tensor) -> dict[str, Tensor]:
        loss = mg.reduce_sum(function(*tensors.values()))
        found = mg.gradients(loss, list(tensors.values()))
        return {f"g{i}": gradient for i, gradient in enumerate(found)}

    given = {f"x{i}": np.asarray(array, np.float64) for i, array in enumerate(arrays)}
    exe = mg.compile(model, {n: (a.shape, "float64") for n, a in given.items()}, backend="numpy")
    return list(exe(**{name: given[name] for name in exe.inputs}).values())


def test_stop_gradient_is_a_constant_to_autodiff() -> None:
    x = np.array([1.0, 2.0, -3.0])
    (g,) = gradient_of(lambda x: x * mg.stop_gradient(x), x)
    np.testing.assert_array_equal(g, x)
    (g,) = gradient_of(lambda x: mg.stop_gradient(x * x), x)
    np.testing.assert_array_equal(g, np.zeros(3))


def test_integers_and_comparisons_pass_no_gradient() -> None:
    def steps(x: Tensor) -> Tensor:
        return mg.cast(mg.cast(x, "int32"), "float64") + mg.cast(x > 0, "float64")

    (g,) = gradient_of(steps, [1.0, -2.0])
    np.testing.assert_array_equal(g, np.zeros(2))


def test_a_float32_detour_passes_the_gradient() -> None:
    (g,) = gradient_of(lambda x: mg.cast(mg.cast(x, "float32"), "float64") * 3.0, [1.0, -2.0])
    np.testing.assert_array_equal(g, [3.0, 3.0])


TIES = {
    "max": (lambda x: mg.reduce_max(x, 1), [[1, 1, 0], [2, 2, 2]],
            [[0.5, 0.5, 0], [1 / 3, 1 / 3, 1 / 3]]),
    "max-all": (mg.reduce_max, [[1, 4], [4, 0]], [[0, 0.5], [0.5, 0]]),
    "relu-at-0": (mg.relu, [0.0, 1.0, -1.0], [0, 1, 0]),
    "abs-at-0": (abs, [0.0, 2.0, -2.0], [0, 1, -1]),
    "leaky-relu-at-0": (lambda x: mg.leaky_relu(x, 0.25), [0.0, 1.0, -1.0], [0.25, 1, 0.25]),
    "max-pool-takes-the-first": (lambda x: mg.max_pool2d(x, 2), [[[[3, 3], [3, 3]]]],
                                 [[[[1, 0], [0, 0]]]]),
}  # fmt: skip


@pytest.mark.parametrize("name", TIES)
def test_ties_and_kinks(name: str) -> None:
    function, x, expected = TIES[name]
    np.testing.assert_allclose(gradient_of(function, x)[0], expected, rtol=1e-15)


@pytest.mark.parametrize("function", [mg.maximum, mg.minimum])
def test_equal_operands_share_the_gradient(function: Any) -> None:
    a, b = [1.0, 2.0, 5.0], [1.0, 3.0, 4.0]
    ga, gb = gradient_of(function, a, b)
    taken = np.array([0.5, 0, 1]) if function is mg.maximum else np.array([0.5, 1, 0])
    np.testing.assert_array_equal(ga, taken)
    np.testing.assert_array_equal(gb, 1 - taken)


def test_a_tensor_that_plays_no_part_has_zeros() -> None:
    ga, gb = gradient_of(lambda a, b: a * 2.0, [1.0, 2.0], [[3.0]])
    np.testing.assert_array_equal(ga, [2.0, 2.0])
    np.testing.assert_array_equal(gb, [[0.0]])


# ---- when_training


def two_modes(x: Tensor) -> dict[str, Tensor]:
    w = mg.parameter(x, "w", (), Constant(1.0))
    y = mg.when_training(x * x, x * 10.0) * w
    return {"loss": mg.reduce_sum(y), "gx": mg.gradients(mg.reduce_sum(y), [x])[0]}


def test_each_mode_has_its_values_and_its_gradients() -> None:
    x = np.array([1.0, 2.0, 3.0])
    inference = mg.compile(two_modes, {"x": "float64[3]"}, backend="numpy")(x=x)
    assert inference["loss"] == 60.0
    np.testing.assert_array_equal(inference["gx"], [10.0, 10.0, 10.0])
    step = mg.compile(two_modes, {"x": "float64[3]"}, optimizer=mg.SGD(0.5), backend="numpy")
    training = step(x=x)
    assert training["loss"] == 14.0
    np.testing.assert_array_equal(training["gx"], [2.0, 4.0, 6.0])
    assert step.state["w"] == 1 - 0.5 * 14.0
