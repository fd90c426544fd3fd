"""The lecture's worked examples, number by number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigraph as mg
from minigraph.initializers import Bilinear
from minigraph.ops import conv

TENT = np.array([[0.25, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 0.25]])
RAMP = np.arange(16.0).reshape(4, 4)

NINE = np.array([
    [0, 0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 0.75],
    [0, 0, 0.5, 1, 1.5, 2, 2.5, 3, 1.5],
    [1, 2, 2.5, 3, 3.5, 4, 4.5, 5, 2.5],
    [2, 4, 4.5, 5, 5.5, 6, 6.5, 7, 3.5],
    [3, 6, 6.5, 7, 7.5, 8, 8.5, 9, 4.5],
    [4, 8, 8.5, 9, 9.5, 10, 10.5, 11, 5.5],
    [5, 10, 10.5, 11, 11.5, 12, 12.5, 13, 6.5],
    [6, 12, 12.5, 13, 13.5, 14, 14.5, 15, 7.5],
    [3, 6, 6.25, 6.5, 6.75, 7, 7.25, 7.5, 3.75],
])  # fmt: skip


def evaluate(function: Any, *images: np.ndarray) -> np.ndarray:
    """A function of (1,1,H,W) tensors on plain matrices."""

    def model(**tensors: mg.Tensor) -> mg.Tensor:
        return function(*tensors.values())

    given = {f"x{i}": image[None, None] for i, image in enumerate(images)}
    exe = mg.compile(model, {n: (a.shape, "float64") for n, a in given.items()}, backend="numpy")
    return exe(**given)["output"][0, 0]


def test_transposed_convolution_with_stride_2() -> None:
    full = evaluate(lambda x, w: conv.conv_transpose2d(x, w, stride=2), RAMP, TENT)
    np.testing.assert_array_equal(full, NINE)


def test_padding_1_crops_to_bilinear_interpolation() -> None:
    cropped = evaluate(lambda x, w: conv.conv_transpose2d(x, w, stride=2, padding=1), RAMP, TENT)
    np.testing.assert_array_equal(cropped, NINE[1:-1, 1:-1])
    np.testing.assert_array_equal(cropped[0], np.arange(0, 3.5, 0.5))
    np.testing.assert_array_equal(cropped[::2, ::2], RAMP)


def test_the_bilinear_initialiser_makes_that_layer() -> None:
    def layer(x: mg.Tensor) -> mg.Tensor:
        return mg.conv_transpose2d(
            x, 1, 3, stride=2, padding=1, bias=False, weight_initializer=Bilinear()
        )

    np.testing.assert_array_equal(evaluate(layer, RAMP), NINE[1:-1, 1:-1])


def test_the_same_as_a_fractionally_strided_convolution() -> None:
    """One zero between the pixels, one around, then an ordinary convolution."""

    def fractional(x: mg.Tensor, w: mg.Tensor) -> mg.Tensor:
        pads = ((0, 0, 1, 1),) * 2
        (spread,) = x.builder.emit(mg.ops.shape.Pad(*pads, (0, 0, 1, 1)), x)
        return conv.conv2d(spread, w)

    np.testing.assert_array_equal(evaluate(fractional, RAMP, TENT), NINE[1:-1, 1:-1])


def test_mean_filter() -> None:
    image = np.zeros((10, 11))
    image[2:7, 3:8] = 90
    image[5, 4] = 0
    image[8, 2] = 90
    filtered = evaluate(lambda x, w: conv.conv2d(x, w), image, np.full((3, 3), 1 / 9))
    expected = [
        [0, 10, 20, 30, 30, 30, 20, 10],
        [0, 20, 40, 60, 60, 60, 40, 20],
        [0, 30, 60, 90, 90, 90, 60, 30],
        [0, 30, 50, 80, 80, 90, 60, 30],
        [0, 30, 50, 80, 80, 90, 60, 30],
        [0, 20, 30, 50, 50, 60, 40, 20],
        [10, 20, 30, 30, 30, 30, 20, 10],
        [10, 10, 10, 0, 0, 0, 0, 0],
    ]
    np.testing.assert_allclose(filtered[:, :8], expected, rtol=0, atol=1e-12)


def test_max_and_average_pooling() -> None:
    image = np.array([[1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4.0]])
    largest = evaluate(lambda x: mg.max_pool2d(x, 2), image)
    np.testing.assert_array_equal(largest, [[6, 8], [3, 4]])
    means = evaluate(lambda x: mg.avg_pool2d(x, 2), image)
    np.testing.assert_array_equal(means, [[3.25, 5.25], [2, 2]])


@pytest.mark.parametrize(
    ("image", "channels", "options", "shape", "weights"),
    [
        ((3, 32, 32), 1, {"kernel": 5}, (1, 28, 28), 75),
        ((3, 32, 32), 6, {"kernel": 5}, (6, 28, 28), 450),
        ((6, 28, 28), 10, {"kernel": 5}, (10, 24, 24), 1500),
        ((64, 56, 56), 32, {"kernel": 1}, (32, 56, 56), 2048),
        ((3, 8, 8), 4, {"kernel": 3, "dilation": 2}, (4, 4, 4), 108),
        ((3, 9, 9), 4, {"kernel": 3, "stride": 2, "padding": 1}, (4, 5, 5), 108),
    ],
)
def test_layer_sizes(image: Any, channels: int, options: Any, shape: Any, weights: int) -> None:
    def layer(x: mg.Tensor) -> mg.Tensor:
        return mg.conv2d(x, channels, name="layer", **options)

    exe = mg.compile(layer, {"x": ((1, *image), "float32")}, backend="numpy")
    assert exe.outputs["output"].shape == (1, *shape)
    assert exe.state["layer.weight"].size == weights
    assert exe.state["layer.bias"].size == channels
