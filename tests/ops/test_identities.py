"""Upsampling in several words: what equals what, and where."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigraph as mg
from minigraph.initializers import Bilinear
from minigraph.ops import conv
from minigraph.ops.transposed import by_sub_pixels, by_zero_insertion


def evaluate(function: Any, *arrays: np.ndarray) -> Any:
    """A function of tensors on arrays: its output, or all of them."""

    def model(**tensors: mg.Tensor) -> dict[str, mg.Tensor]:
        results = function(*tensors.values())
        listed = results if isinstance(results, tuple) else (results,)
        return {f"y{i}": y for i, y in enumerate(listed)}

    given = {f"x{i}": array for i, array in enumerate(arrays)}
    inputs = {name: (array.shape, array.dtype.name) for name, array in given.items()}
    results = list(mg.compile(model, inputs, backend="numpy")(**given).values())
    return results[0] if len(results) == 1 else results


def image(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((2, channels, height, width))


RAMP = np.arange(16.0).reshape(1, 1, 4, 4)
TENT = np.outer([0.5, 1, 0.5], [0.5, 1, 0.5])[None, None]


# ---- transposed convolution


@pytest.mark.parametrize("form", [by_zero_insertion, by_sub_pixels])
def test_the_lectures_nine_by_nine_in_every_form(form: Any) -> None:
    op = conv.ConvTranspose2d(stride=(2, 2))
    expected = evaluate(lambda x, w: conv.conv_transpose2d(x, w, 2), RAMP, TENT)
    assert expected.shape == (1, 1, 9, 9)
    np.testing.assert_array_equal(evaluate(lambda x, w: form(x, w, op), RAMP, TENT), expected)


@pytest.mark.parametrize("form", [by_zero_insertion, by_sub_pixels])
@pytest.mark.parametrize(
    "op",
    [
        conv.ConvTranspose2d((2, 2), ((3, 0), (3, 0)), (3, 3)),  # phases past the last input
        conv.ConvTranspose2d((4, 3), dilation=(2, 3)),  # phases that no kernel element meets
        conv.ConvTranspose2d((5, 4), ((0, 2), (1, 0)), output_padding=(4, 3)),
    ],
)
def test_phases_that_meet_nothing_are_zero(form: Any, op: conv.ConvTranspose2d) -> None:
    x, w = image(1, 1, 2), np.random.default_rng(1).standard_normal((2, 3, 2, 2))
    np.testing.assert_allclose(
        evaluate(lambda x, w: form(x, w, op), x, w),
        evaluate(lambda x, w: x.builder.emit(op, x, w)[0], x, w),
        atol=1e-13,
    )


def test_the_input_gradient_of_a_convolution() -> None:
    """Convolution with w maps 7x7 to 4x4; the transposed one is its adjoint."""
    x, y, w = image(7, 7), image(4, 4, 5), np.random.default_rng(1).standard_normal((5, 3, 3, 3))
    gradient = evaluate(
        lambda x, y, w: mg.gradients(mg.reduce_sum(conv.conv2d(x, w, 2, 1) * y), [x])[0], x, y, w
    )
    np.testing.assert_allclose(
        gradient, evaluate(lambda y, w: conv.conv_transpose2d(y, w, 2, 1), y, w), atol=1e-12
    )


# ---- bilinear


def bilinear_layer(x: mg.Tensor, stride: int) -> mg.Tensor:
    """FCN's upsampling: kernel 2 s - s % 2, padding (R - s + 1) // 2, a weight for each channel."""
    kernel = 2 * stride - stride % 2
    padding = (kernel - stride + 1) // 2
    return mg.conv_transpose2d(
        x, x.shape[1], kernel, stride=stride, padding=padding, groups=x.shape[1], bias=False,
        weight_initializer=Bilinear(),
    )  # fmt: skip


@pytest.mark.parametrize("stride", [2, 3, 4, 5])
def test_bilinear_upsampling_is_half_pixel_inside(stride: int) -> None:
    """At the border the convolution meets zeros, where resize repeats the outermost pixel."""
    x = image(5, 6)
    up = evaluate(lambda x: bilinear_layer(x, stride), x)
    resized = evaluate(lambda x: mg.resize(x, scale=stride, mode="bilinear"), x)
    assert up.shape == resized.shape == (2, 3, 5 * stride, 6 * stride)
    edge = stride // 2
    inner = (..., slice(edge, -edge), slice(edge, -edge))
    np.testing.assert_allclose(up[inner], resized[inner], atol=1e-13)
    assert np.abs(up - resized).max() > 0.1
    # With its border repeated first, the image is the same everywhere.
    padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)], mode="edge")
    whole = evaluate(lambda x: bilinear_layer(x, stride), padded)
    crop = whole[:, :, stride:-stride, stride:-stride]
    np.testing.assert_allclose(crop, resized, atol=1e-13)


@pytest.mark.parametrize("stride", [2, 3, 5])
def test_the_odd_tent_aligns_corners(stride: int) -> None:
    """Kernel 2 s - 1, padding s - 1: pixels stay, (H - 1) s + 1 outputs; the lecture's 7x7 is s=2.

    The outermost outputs are pixels, so no border is met: equal everywhere.
    """
    x = image(4, 6)
    kernel = 2 * stride - 1

    def up(x: mg.Tensor) -> mg.Tensor:
        return mg.conv_transpose2d(
            x, 3, kernel, stride=stride, padding=stride - 1, groups=3, bias=False,
            weight_initializer=Bilinear(),
        )  # fmt: skip

    size = (3 * stride + 1, 5 * stride + 1)
    resized = evaluate(
        lambda x: mg.resize(x, size, mode="bilinear", coordinates="align_corners"), x
    )
    np.testing.assert_allclose(evaluate(up, x), resized, atol=1e-13)


# ---- unpooling


def test_max_unpooling_is_the_gradient_of_max_pooling() -> None:
    x, g = image(6, 8), image(3, 4)

    def unpooled(x: mg.Tensor, g: mg.Tensor) -> tuple[mg.Tensor, ...]:
        _, positions = mg.max_pool2d_with_positions(x, 2)
        gradient = mg.gradients(mg.reduce_sum(mg.max_pool2d(x, 2) * g), [x])[0]
        return mg.max_unpool2d(g, positions, (6, 8)), gradient

    unpool, gradient = evaluate(unpooled, x, g)
    np.testing.assert_array_equal(unpool, gradient)


def test_bed_of_nails_is_a_transposed_convolution_with_one() -> None:
    x = image(3, 4, 1)
    one = np.ones((1, 1, 1, 1))
    nails = evaluate(lambda x: mg.bed_of_nails2d(x, 2), x)
    np.testing.assert_array_equal(
        nails,
        evaluate(lambda x, w: conv.conv_transpose2d(x, w, 2, output_padding=1), x, one),
    )
    assert nails.shape == (2, 1, 6, 8)


def test_nearest_is_nails_spread_by_a_box() -> None:
    x = image(3, 4, 1)
    nearest = evaluate(lambda x: mg.resize(x, scale=2), x)
    box = np.ones((1, 1, 2, 2))
    np.testing.assert_array_equal(
        nearest, evaluate(lambda x, w: conv.conv_transpose2d(x, w, 2), x, box)
    )
    np.testing.assert_array_equal(nearest, x.repeat(2, 2).repeat(2, 3))


# ---- pooling, unfolding


def test_adaptive_means_of_whole_windows_are_average_pooling() -> None:
    x = image(14, 21)
    np.testing.assert_allclose(
        evaluate(lambda x: mg.adaptive_avg_pool2d(x, 7), x),
        evaluate(lambda x: mg.avg_pool2d(x, (2, 3)), x),
        atol=1e-15,
    )


def test_a_locally_connected_layer_of_equal_weights_is_a_convolution() -> None:
    x = image(7, 8)
    w = np.random.default_rng(1).standard_normal((5, 3, 3, 3))
    own = np.broadcast_to(w, (4, 4, *w.shape))
    np.testing.assert_allclose(
        evaluate(lambda x, w: mg.ops.unfold.locally_connected2d(x, w, 2, 1), x, own.copy()),
        evaluate(lambda x, w: conv.conv2d(x, w, 2, 1), x, w),
        atol=1e-12,
    )


def test_the_lectures_parameter_counts() -> None:
    """A 200x200 image, 10x10 patches: 10^2 weights for each unit, or 10^2 shared by all."""

    def model(x: mg.Tensor) -> dict[str, mg.Tensor]:
        return {
            "local": mg.locally_connected2d(x, 1, 10, stride=10, name="local"),
            "shared": mg.conv2d(x, 1, 10, stride=10, name="shared"),
            "dense": mg.dense(mg.flatten(x), 1, name="dense"),
        }

    state = mg.compile(model, {"x": "float32[1,1,200,200]"}, backend="numpy").state
    assert state["local.weight"].shape == (20, 20, 1, 1, 10, 10)
    assert state["local.weight"].size == 400 * 10**2
    assert state["local.bias"].shape == (1, 20, 20)
    assert state["shared.weight"].size == 10**2
    assert state["dense.weight"].size == 4 * 10**4


def test_median_and_mean_against_salt_and_pepper() -> None:
    """One wrong pixel: the median removes it, the mean spreads it."""
    x = np.ones((1, 1, 5, 5))
    x[0, 0, 2, 2] = 10.0
    np.testing.assert_array_equal(evaluate(lambda x: mg.median_filter2d(x, 3), x), np.ones_like(x))
    mean = evaluate(lambda x: mg.avg_pool2d(x, 3, 1), x)
    np.testing.assert_allclose(mean, np.full((1, 1, 3, 3), 2.0))
