"""Softmax, losses, scans and dropout of the LLVM backend, along axes that lie in all ways."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import minigraph as mg
from minigraph.backends.llvm import LlvmBackend
from minigraph.ops.local_response import ChannelWindowSum
from minigraph.ops.random import dropout

BACKENDS = [LlvmBackend(threads) for threads in (1, 5)]

CASES = [
    ((2, 12, 5, 7), 1),  # a line's elements are adjacent
    ((2, 37, 3, 5), 1),  # and more than lanes
    ((2, 12, 5, 7), 3),  # positions are
    ((5, 3, 70), 1),
    ((40, 37), 0),
    ((33,), 0),
    ((2, 3, 4, 5, 6), 2),
]


def run_everywhere(model: Callable, **arrays: np.ndarray) -> dict[str, np.ndarray]:
    """Results on some numbers of threads, which must be equal to the last bit."""
    specs = {name: mg.TensorSpec(a.shape, mg.DType.of(a.dtype)) for name, a in arrays.items()}
    one, other = (mg.compile(model, specs, backend=backend)(**arrays) for backend in BACKENDS)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])
    return one


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    powers = np.exp(x - x.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


@pytest.mark.parametrize(("shape", "axis"), CASES)
def test_softmax_and_running_sums(shape: tuple[int, ...], axis: int) -> None:
    x = 5 * np.random.default_rng(0).standard_normal(shape).astype(np.float32)

    def model(x: mg.Tensor) -> dict[str, mg.Tensor]:
        return {"softmax": mg.softmax(x, axis), "log_softmax": mg.log_softmax(x, axis),
                "cumsum": mg.cumsum(x, axis), "back": mg.cumsum(x, axis, reverse=True)}  # fmt: skip

    got, wide = run_everywhere(model, x=x), x.astype(np.float64)
    expected = {
        "softmax": softmax(wide, axis),
        "log_softmax": np.log(softmax(wide, axis)),
        "cumsum": wide.cumsum(axis),
        "back": np.flip(np.flip(wide, axis).cumsum(axis), axis),
    }
    for name, exact in expected.items():
        assert np.abs(got[name] - exact).max() <= 5e-7 * np.abs(exact).max(), name


@pytest.mark.parametrize(("shape", "axis"), CASES)
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_positions_of_extremes(shape: tuple[int, ...], axis: int, dtype: str) -> None:
    x = np.random.default_rng(1).integers(0, 9, shape).astype(dtype)
    if dtype == "float32":
        x.reshape(-1)[:: x.size // 3] = np.nan

    def model(x: mg.Tensor) -> dict[str, mg.Tensor]:
        return {"largest": mg.argmax(x, axis), "smallest": mg.argmin(x, axis, keepdims=True)}

    got = run_everywhere(model, x=x)
    np.testing.assert_array_equal(got["largest"], x.argmax(axis))
    np.testing.assert_array_equal(got["smallest"], x.argmin(axis, keepdims=True))


def test_slices_of_channels_are_read_where_they_lie() -> None:
    x = np.random.default_rng(2).standard_normal((2, 40, 5, 7)).astype(np.float32)

    def model(x: mg.Tensor) -> dict[str, mg.Tensor]:
        return {"softmax": mg.softmax(x[:, 3:24, 1:], 1), "position": mg.argmax(x[:, 3:24, 1:], 1)}

    got = run_everywhere(model, x=x)
    exact = softmax(x[:, 3:24, 1:].astype(np.float64), 1)
    assert np.abs(got["softmax"] - exact).max() <= 5e-7
    np.testing.assert_array_equal(got["position"], exact.argmax(1))


@pytest.mark.parametrize("shape", [(3, 21, 19, 11), (50, 33), (2, 3, 4, 5, 6)])
def test_cross_entropy_and_its_gradient(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    x = 4 * rng.standard_normal(shape).astype(np.float32)
    x[0, 0] = np.inf  # where it is void it must not count
    labels = rng.integers(0, shape[1], (shape[0], *shape[2:])).astype(np.int32)
    labels[0] = -1
    weights = rng.uniform(0, 2, shape[1]).astype(np.float32)

    def model(x: mg.Tensor, labels: mg.Tensor, weights: mg.Tensor) -> dict[str, mg.Tensor]:
        loss = mg.softmax_cross_entropy(
            x, labels, void_label=-1, class_weights=weights, reduction="sum"
        )
        return {"loss": loss, "gradient": mg.gradients(loss, [x])[0]}

    got = run_everywhere(model, x=x, labels=labels, weights=weights)
    valid = labels != -1
    rows = np.moveaxis(x.astype(np.float64), 1, -1)[valid]
    true, p = labels[valid], softmax(rows, 1)
    w = weights.astype(np.float64)[true]
    exact = -(w * np.log(p[np.arange(len(true)), true])).sum()
    assert abs(got["loss"] - exact) <= 1e-6 * exact
    p[np.arange(len(true)), true] -= 1
    gradient = np.moveaxis(got["gradient"], 1, -1)
    assert np.abs(gradient[valid] - p * w[:, None]).max() <= 1e-6
    assert (gradient[~valid] == 0).all()


@pytest.mark.parametrize("threads", [1, 5])
@pytest.mark.parametrize("shape", [(2, 5, 7, 9), (6, 5), (2, 5, 3, 4, 6)])
def test_the_first_illegal_label_is_refused_as_numpy_does(
    shape: tuple[int, ...], threads: int
) -> None:
    x = np.zeros(shape, np.float32)
    labels = np.ones((shape[0], *shape[2:]), np.int32)
    labels.reshape(-1)[-2] = -3
    labels.reshape(-1)[labels.size // 2] = 7
    specs = {"logits": mg.TensorSpec(shape), "labels": mg.TensorSpec(labels.shape, mg.DType.INT32)}
    messages = []
    for backend in ("numpy", LlvmBackend(threads)):
        model = mg.compile(mg.softmax_cross_entropy, specs, backend=backend)
        with pytest.raises(mg.IllegalLabelError) as error:
            model(logits=x, labels=labels)
        messages.append(str(error.value))
    assert messages[0] == messages[1]


@pytest.mark.parametrize(("before", "after"), [(2, 1), (0, 3), (50, 50)])
def test_windows_of_channels(before: int, after: int) -> None:
    x = np.random.default_rng(4).standard_normal((2, 37, 4, 5)).astype(np.float32)
    window = ChannelWindowSum(before, after)
    got = run_everywhere(lambda x: {"y": x.builder.emit(window, x)[0]}, x=x)
    wide = x.astype(np.float64)
    channels = range(x.shape[1])
    exact = [wide[:, max(c - before, 0) : c + after + 1].sum(1) for c in channels]
    assert np.abs(got["y"] - np.stack(exact, 1)).max() <= 1e-5


@pytest.mark.parametrize("shape", [(2, 5, 6, 7), (33, 17), (70,), (2, 3, 4, 5, 6)])
def test_dropout_has_the_masks_of_numpy(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(5).standard_normal(shape).astype(np.float32)
    key = np.array([2**62 + 12345678912345, 2**33 + 7])

    def model(x: mg.Tensor, key: mg.Tensor) -> dict[str, mg.Tensor]:
        return {"y": dropout(x, 0.3, key, 0xF0000001)}

    specs = {"x": mg.TensorSpec(shape), "key": mg.TensorSpec((2,), mg.DType.INT64)}
    expected = mg.compile(model, specs, backend="numpy")(x=x, key=key)
    got = run_everywhere(model, x=x, key=key)
    np.testing.assert_array_equal(got["y"], expected["y"])
