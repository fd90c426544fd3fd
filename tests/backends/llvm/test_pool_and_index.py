"""What tables of cases do not show: NaN and ties in windows, refused indices, state after them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import minigraph as mg
from minigraph.backends.llvm import LlvmBackend
from minigraph.ir.errors import IllegalIndexError, InputError

INF = float("inf")


@pytest.fixture(scope="module")
def backend() -> LlvmBackend:
    return LlvmBackend(2)


def compiled(backend: Any, function: Any, **arrays: np.ndarray) -> Any:
    specs = {n: mg.TensorSpec(a.shape, mg.DType.of(a.dtype)) for n, a in arrays.items()}
    return mg.compile(lambda **tensors: function(*tensors.values()), specs, backend=backend)


def pooled(backend: Any, x: np.ndarray, *window: Any) -> dict[str, np.ndarray]:
    def model(x: Any) -> dict[str, Any]:
        y, positions = mg.max_pool2d_with_positions(x, *window)
        return {"y": y, "positions": positions, "alone": mg.max_pool2d(x, *window)}

    return compiled(backend, model, x=x)(x=x)


@pytest.mark.parametrize("channels", [1, 17])
def test_a_nan_wins_and_the_first_of_equals(channels: int, backend) -> None:
    x = np.zeros((1, channels, 4, 4), np.float32)
    x[0, 0] = [[1, 5, np.nan, 9], [5, 2, 8, np.nan], [-INF, -INF, 3, 3], [-INF, -INF, 3, 3]]
    found = pooled(backend, x, 2)
    np.testing.assert_array_equal(found["y"][0, 0], [[5, np.nan], [-INF, 3]])
    np.testing.assert_array_equal(found["alone"], found["y"])
    np.testing.assert_array_equal(found["positions"][0, 0], [[1, 2], [8, 10]])
    assert (found["y"][0, 1:] == 0).all()


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (2, 4), (1, 5)])
def test_a_nan_wins_from_every_place_of_a_window(kernel: tuple[int, int], backend) -> None:
    places = kernel[0] * kernel[1]
    x = np.random.default_rng(0).standard_normal((places, 17, *kernel)).astype(np.float32)
    expected = x.max((2, 3), keepdims=True)
    for place in range(places):  # in the image of this number
        x[place, 1].flat[place] = expected[place, 1] = np.nan
    found = compiled(backend, lambda x: {"y": mg.max_pool2d(x, kernel)}, x=x)(x=x)
    np.testing.assert_array_equal(found["y"], expected)


def test_a_window_that_reaches_into_the_padding_takes_no_zeros(backend) -> None:
    x = np.full((2, 5, 3, 3), -2.0, np.float32)
    found = pooled(backend, x, 3, 2, 1)
    assert (found["y"] == -2).all() and (found["alone"] == -2).all()
    np.testing.assert_array_equal(found["positions"][1, 4], [[0, 1], [3, 4]])


def test_the_gradient_of_max_pooling_goes_to_the_first_nan(backend) -> None:
    x = np.zeros((1, 1, 2, 2), np.float32)
    x[0, 0, 1] = np.nan

    def model(x: Any) -> dict[str, Any]:
        return {"g": mg.gradients(mg.reduce_sum(mg.max_pool2d(x, 2)), [x])[0]}

    np.testing.assert_array_equal(compiled(backend, model, x=x)(x=x)["g"][0, 0], [[0, 0], [1, 0]])


@pytest.mark.parametrize("kernel", [3, (5, 7)])
def test_the_median_of_a_window_with_a_nan(kernel: Any, backend) -> None:
    x = np.random.default_rng(0).standard_normal((2, 18, 12, 12)).astype(np.float32)
    x[1, 3, 6, 6] = np.nan

    def model(x: Any) -> dict[str, Any]:
        return {"y": mg.median_filter2d(x, kernel)}

    found = compiled(backend, model, x=x)(x=x)["y"]
    reach = [k // 2 for k in (kernel if isinstance(kernel, tuple) else (kernel, kernel))]
    near = np.zeros(x.shape, bool)
    near[1, 3, 6 - reach[0] : 7 + reach[0], 6 - reach[1] : 7 + reach[1]] = True
    np.testing.assert_array_equal(np.isnan(found), near)
    one = np.median(x[0, 5, 3 : 4 + 2 * reach[0], 2 : 3 + 2 * reach[1]])
    assert found[0, 5, 3 + reach[0], 2 + reach[1]] == one


# ---- refusals

X = np.arange(24.0, dtype=np.float32).reshape(1, 2, 3, 4)
SPOTS = np.zeros((1, 2, 2, 2), np.int64)
REFUSING: dict[str, tuple[Any, list[np.ndarray], Any]] = {
    "gather": (
        lambda x, i: mg.gather(x, i, 3), [X, np.array([[3, 4], [-5, 0]])], IllegalIndexError),
    "gather-uint8": (
        lambda x, i: mg.gather(x, i, 0), [X, np.array([200], np.uint8)], IllegalIndexError),
    "gather-from-nothing": (
        lambda x, i: mg.gather(x, i, 1), [X[:, :0], np.array([0])], IllegalIndexError),
    "index-add": (
        lambda x, i, u: mg.index_add(x, i, u, 2), [X, np.array([2, -4]), X[:, :, :2]],
        IllegalIndexError),
    "take-along": (
        lambda x, i: mg.take_along_axis(x, i, 1),
        [X, np.where(np.arange(12).reshape(1, 1, 3, 4) > 6, 2, 0)], IllegalIndexError),
    "scatter-add": (
        lambda x, i, u: mg.scatter_add(x, i, u, 1), [X, np.full((1, 2, 3, 4), -3), X],
        IllegalIndexError),
    "unpool": (
        lambda x, p: mg.max_unpool2d(x, p, (3, 4)), [X[:, :, :2, :2], SPOTS - 1], InputError),
    "unpool-beyond": (
        lambda x, p: mg.max_unpool2d(x, p, (3, 4)), [X[:, :, :2, :2], SPOTS + 12], InputError),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSING)
def test_refusals_are_those_of_numpy(name: str, backend) -> None:
    function, operands, error = REFUSING[name]
    arrays = {f"x{i}": np.ascontiguousarray(a) for i, a in enumerate(operands)}
    messages = []
    for chosen in ("numpy", backend):
        executable = compiled(chosen, lambda *t: {"y": function(*t)}, **arrays)
        with pytest.raises(error) as caught:
            executable(**arrays)
        messages.append(str(caught.value).splitlines()[0])
    assert messages[0] == messages[1]


def test_sums_of_16_bit_floats_are_rounded_once(backend) -> None:
    """1 + 2000 times 2^-11: in float16, each addition alone would be lost."""
    x, updates = np.ones((1,), np.float16), np.full((2000,), 2.0**-11, np.float16)
    indices = np.zeros((2000,), np.int64)
    arrays = {"x": x, "i": indices, "u": updates}
    executable = compiled(backend, lambda x, i, u: {"y": mg.index_add(x, i, u)}, **arrays)
    assert executable(**arrays)["y"][0] == np.float16(1 + 2000 * 2.0**-11)
