"""Pooling, unfolding and axis maps where rows of the op table do not go.

Packs of channels, several blocks and tiles with tails, 64-bit positions, NaN and ties, elements
that share a pixel, refused positions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cupy_cases import emulated, needs_compiler

import minigraph as mg
from minigraph.backends.cupy.kernels import average_pool, axis_map, max_pool, unfold, unpool
from minigraph.ir.errors import InputError
from minigraph.ops.median import MedianPool2d
from minigraph.ops.unpool import TakeAtPositions

pytestmark = needs_compiler

INF = float("inf")
RNG = np.random.default_rng(0)


def compiled(backend: Any, function: Callable[..., Any], **arrays: np.ndarray) -> Any:
    specs = {n: mg.TensorSpec(a.shape, mg.DType.of(a.dtype)) for n, a in arrays.items()}
    return mg.compile(lambda **tensors: function(*tensors.values()), specs, backend=backend)


def run(function: Callable[..., Any], **arrays: np.ndarray) -> dict[str, np.ndarray]:
    return compiled(emulated(), function, **arrays)(**arrays)


def numpy_in_float64(function: Callable[..., Any], **arrays: np.ndarray) -> dict[str, np.ndarray]:
    wide = {n: a.astype(np.float64) if a.dtype.kind == "f" else a for n, a in arrays.items()}
    return compiled("numpy", function, **wide)(**wide)


def assert_as_numpy(bound: float, function: Callable[..., Any], **arrays: np.ndarray) -> None:
    got, expected = run(function, **arrays), numpy_in_float64(function, **arrays)
    for name, reference in expected.items():
        if reference.dtype.kind != "f":
            np.testing.assert_array_equal(got[name], reference)
            continue
        error = np.abs(got[name].astype(np.float64) - reference).max()
        assert error <= bound * np.abs(reference).max(), (name, error)


# ---- packs of channels, several blocks


def spatial_model(x: Any) -> dict[str, Any]:
    """Windows that the text knows (3, 2) and others (5, dilated), and maps along both axes."""
    spotted, positions = mg.max_pool2d_with_positions(x, 3, 2, 1)
    results = {
        "usual": mg.max_pool2d(x, 3, 2, 1),
        "large": mg.max_pool2d(x, 5, 3, ((2, 1), (0, 2)), 2),
        "tiled": mg.max_pool2d(x, 2),
        "means": mg.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
        "wide": mg.avg_pool2d(x, (4, 5), (2, 3), 1, dilation=(2, 1)),
        "resized": mg.resize(x, (31, 9), mode="bilinear"),
        "adaptive": mg.adaptive_avg_pool2d(x, (4, 5)),
        "padded": mg.pad(x, [(0, 0), (2, 3), (3, 3), (0, 5)], mode="reflect"),
        "columns": mg.unfold2d(x, (3, 2), 2, 1),
        "spotted": spotted,
    }
    loss = mg.reduce_sum(mg.sin(spotted))
    for result in results.values():
        loss = loss + mg.reduce_sum(mg.sin(result))
    gradient = mg.gradients(loss, [x])[0]
    return {**results, "positions": positions, "gradient": gradient}


def image(dtype: Any, channels: int = 8) -> np.ndarray:
    """No two elements of a map are alike, in 16-bit floats, too."""
    shape = (1, channels, 21, 22)
    maps = [RNG.permutation(21 * 22) for _ in range(channels)]
    return (np.reshape(maps, shape) / 256 - 0.9).astype(dtype)


def test_a_thread_takes_four_channels():
    assert_as_numpy(2e-6, spatial_model, x=image(np.float32))


@pytest.mark.slow
def test_a_thread_takes_eight_16_bit_channels():
    assert_as_numpy(2.0**-8, spatial_model, x=image(np.float16))


@pytest.mark.slow
def test_positions_beyond_31_bits(monkeypatch):
    """The kernels for large tensors, on a small one."""
    for module in (average_pool, axis_map, max_pool, unfold, unpool):
        monkeypatch.setattr(module, "index_type", lambda *places: "long long")
    assert_as_numpy(2e-6, spatial_model, x=image(np.float32))


@pytest.mark.parametrize("channels", [40, 3])
def test_tiles_of_columns_with_tails(channels):
    def model(x: Any) -> dict[str, Any]:
        columns = mg.unfold2d(x, (2, 3), (1, 2), ((1, 0), (0, 2)), (2, 1))
        return {"columns": columns, "image": mg.fold2d(columns, (7, 13), (2, 3), (1, 2),
                                                      ((1, 0), (0, 2)), (2, 1))}  # fmt: skip

    x = RNG.integers(-9, 9, (2, channels, 7, 13)).astype(np.float32)
    assert_as_numpy(0.0, model, x=x)


# ---- NaN and ties


def pooled(x: np.ndarray, *window: Any) -> dict[str, np.ndarray]:
    def model(x: Any) -> dict[str, Any]:
        y, positions = mg.max_pool2d_with_positions(x, *window)
        return {"y": y, "positions": positions, "alone": mg.max_pool2d(x, *window)}

    return run(model, x=x)


def test_a_nan_wins_and_the_first_of_equals():
    x = np.zeros((1, 4, 4, 4), np.float32)
    x[0, 0] = [[1, 5, np.nan, 9], [5, 2, 8, np.nan], [-INF, -INF, 3, 3], [-INF, -INF, 3, 3]]
    found = pooled(x, 2)
    np.testing.assert_array_equal(found["y"][0, 0], [[5, np.nan], [-INF, 3]])
    np.testing.assert_array_equal(found["alone"], found["y"])
    np.testing.assert_array_equal(found["positions"][0, 0], [[1, 2], [8, 10]])
    np.testing.assert_array_equal(found["positions"][0, 3], [[0, 2], [8, 10]])


def test_a_window_that_reaches_into_the_padding_takes_no_zeros():
    x = np.full((2, 4, 3, 3), -2.0, np.float32)
    found = pooled(x, 3, 2, 1)
    assert (found["y"] == -2).all() and (found["alone"] == -2).all()
    np.testing.assert_array_equal(found["positions"][1, 3], [[0, 1], [3, 4]])


def test_the_gradient_of_max_pooling_goes_to_the_first_nan():
    x = np.zeros((1, 1, 2, 2), np.float32)
    x[0, 0, 1] = np.nan

    def model(x: Any) -> dict[str, Any]:
        return {"g": mg.gradients(mg.reduce_sum(mg.max_pool2d(x, 2)), [x])[0]}

    np.testing.assert_array_equal(run(model, x=x)["g"][0, 0], [[0, 0], [1, 0]])


# ---- medians


def median_model(kernel: Any) -> Callable[[Any], dict[str, Any]]:
    def model(x: Any) -> dict[str, Any]:
        y, _ = x.builder.emit(MedianPool2d(kernel, (1, 2)), x)
        gradient = mg.gradients(mg.reduce_sum(mg.sin(y)), [x])[0]
        return {"y": y, "gradient": gradient}

    return model


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_median_of_a_large_window_is_found_bit_by_bit(dtype):
    x = RNG.permutation(2 * 3 * 12 * 11).reshape(2, 3, 12, 11).astype(dtype) - 400
    x[0, 0, :6], x[0, 1, :9, :9], x[0, 2, :7] = INF, -INF, 0
    x[1, 0, :4] *= 1e-9
    got = run(median_model((5, 7)), x=x)
    windows = np.lib.stride_tricks.sliding_window_view(x, (5, 7), (2, 3))[:, :, :, ::2]
    np.testing.assert_array_equal(got["y"], np.median(windows, (4, 5)))
    expected = numpy_in_float64(median_model((5, 7)), x=x)["gradient"]
    np.testing.assert_allclose(got["gradient"], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kernel", [(3, 3), (5, 7)])
def test_the_median_of_a_window_with_a_nan(kernel):
    x = RNG.standard_normal((1, 2, 9, 9)).astype(np.float32)
    x[0, 1, 4, 4] = -np.nan
    got = run(lambda x: {"y": mg.median_filter2d(x, kernel)}, x=x)["y"]
    down, across = (k // 2 for k in kernel)
    near = np.zeros(x.shape, bool)
    near[0, 1, 4 - down : 5 + down, 4 - across : 5 + across] = True
    np.testing.assert_array_equal(np.isnan(got), near)


# ---- flat positions


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_elements_that_share_a_pixel_are_added_in_order(dtype):
    x = RNG.standard_normal((2, 5, 9, 9)).astype(dtype)
    positions = RNG.integers(0, 12, x.shape)
    positions[1, 2] = 7
    got = run(lambda x, at: {"y": mg.max_unpool2d(x, at, (3, 5))}, x=x, at=positions)["y"]
    expected = np.zeros((2, 5, 15), np.float32)
    for n, c in np.ndindex(2, 5):
        for element, position in zip(x[n, c].flat, positions[n, c].flat, strict=True):
            expected[n, c, position] += np.float32(element)
    np.testing.assert_array_equal(got.reshape(2, 5, 15), expected.astype(dtype))


@pytest.mark.parametrize("bad", [20, -1, 2**40])
def test_positions_outside_of_the_image_are_refused(bad):
    def model(x: Any, at: Any) -> dict[str, Any]:
        y = mg.max_unpool2d(x, at, (4, 5))
        return {"y": y, "gradient": mg.gradients(mg.reduce_sum(mg.sin(y)), [x])[0]}

    x = RNG.standard_normal((2, 3, 2, 3)).astype(np.float32)
    good = RNG.integers(0, 20, x.shape)
    wrong = good.copy()
    wrong[1, 1, 1, 0] = wrong[1, 2, 0, 0] = bad
    step = compiled(emulated(), model, x=x, at=good)
    for _ in range(2):  # launched one by one, then replayed
        with pytest.raises(InputError, match=rf"in \[0, 20\) of a 4x5 image, got {bad}"):
            step(x=x, at=wrong)
        step(x=x, at=good)


@pytest.mark.parametrize("bad", [15, -1])
def test_elements_at_positions_outside_of_the_image_are_refused(bad):
    def model(x: Any, at: Any) -> dict[str, Any]:
        return {"y": x.builder.emit(TakeAtPositions(), x, at)[0]}

    x = RNG.standard_normal((2, 3, 3, 5)).astype(np.float32)
    at = RNG.integers(0, 15, (2, 3, 2, 2))
    at[1, 2, 1, 1] = bad
    with pytest.raises(InputError, match=rf"in \[0, 15\) of a 3x5 image, got {bad}"):
        run(model, x=x, at=at)
