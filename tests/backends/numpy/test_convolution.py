"""Every algorithm of every direction against the definition of convolution in float64."""

from __future__ import annotations

import functools
import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest

from minigraph.backends.numpy.convolution.algorithm import ConvAlgorithm
from minigraph.backends.numpy.convolution.algorithms import (
    FORWARD,
    INPUT_GRADIENT,
    WEIGHT_GRADIENT,
)
from minigraph.backends.numpy.workers import Workers
from minigraph.ops.geometry import ConvGeometry, output_size


def geometry(
    batch: int,
    channels: tuple[int, int],
    size: tuple[int, int],
    kernel: tuple[int, int] = (3, 3),
    stride: tuple[int, int] = (1, 1),
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0)),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> ConvGeometry:
    out = [output_size(*axis) for axis in zip(size, kernel, stride, padding, dilation, strict=True)]
    return ConvGeometry(
        batch, channels[0], *size, channels[1], kernel, stride, padding, dilation, groups, *out
    )


ONE = ((1, 1), (1, 1))

GEOMETRIES = {
    "3x3": geometry(2, (4, 6), (9, 11), padding=ONE),
    "3x3-batch-1": geometry(1, (5, 3), (8, 8), padding=ONE),
    "3x3-valid": geometry(2, (3, 4), (10, 7)),
    "3x3-one-output": geometry(2, (3, 4), (3, 3)),
    "3x3-one-row": geometry(3, (3, 4), (1, 9), padding=ONE),
    "3x3-tiny-images": geometry(5, (8, 40), (2, 2), padding=ONE),
    "3x3-many-channels": geometry(3, (70, 66), (6, 5), padding=ONE),
    "3x3-several-blocks": geometry(2, (33, 35), (41, 30), padding=ONE),
    "3x3-full-padding": geometry(2, (3, 4), (5, 6), padding=((2, 2), (2, 2))),
    "3x3-asymmetric": geometry(2, (3, 4), (6, 7), padding=((0, 2), (2, 1))),
    "3x3-padding-beyond-kernel": geometry(2, (3, 4), (4, 5), padding=((4, 5), (6, 3))),
    "3x3-stride-2": geometry(2, (4, 5), (9, 12), stride=(2, 2), padding=ONE),
    "3x3-stride-2-untouched-rest": geometry(2, (4, 5), (8, 10), stride=(2, 2)),
    "3x3-stride-3-1": geometry(2, (4, 5), (11, 9), stride=(3, 1), padding=((1, 0), (0, 1))),
    "3x3-dilation": geometry(2, (4, 5), (9, 10), padding=((2, 2), (2, 2)), dilation=(2, 2)),
    "3x3-dilation-stride": geometry(2, (4, 5), (13, 12), stride=(2, 3), dilation=(3, 2)),
    "3x3-groups": geometry(2, (6, 9), (7, 8), padding=ONE, groups=3),
    "3x3-groups-tiny-images": geometry(5, (6, 9), (3, 2), padding=ONE, groups=3),
    "depthwise": geometry(2, (6, 6), (7, 8), padding=ONE, groups=6),
    "depthwise-multiplier-stride": geometry(
        2, (4, 8), (9, 8), stride=(2, 2), padding=ONE, groups=4
    ),
    "1x1": geometry(3, (5, 7), (4, 6), kernel=(1, 1)),
    "1x1-one-pixel": geometry(3, (5, 7), (1, 1), kernel=(1, 1)),
    "1x1-head": geometry(2, (32, 1), (20, 20), kernel=(1, 1)),
    "1x1-stride-2": geometry(2, (5, 7), (6, 7), kernel=(1, 1), stride=(2, 2)),
    "1x1-groups": geometry(2, (6, 4), (5, 5), kernel=(1, 1), groups=2),
    "1x1-padding": geometry(2, (5, 7), (4, 4), kernel=(1, 1), padding=ONE),
    "1x7": geometry(2, (4, 5), (6, 11), kernel=(1, 7), padding=((0, 0), (3, 3))),
    "7x1": geometry(2, (4, 5), (11, 6), kernel=(7, 1), padding=((3, 3), (0, 0))),
    "2x2-stride-2": geometry(2, (6, 5), (8, 6), kernel=(2, 2), stride=(2, 2)),
    "2x2-stride-2-odd": geometry(2, (6, 5), (9, 7), kernel=(2, 2), stride=(2, 2)),
    "2x3-stride-3-4": geometry(2, (3, 4), (10, 13), kernel=(2, 3), stride=(3, 4)),
    "4x4-stride-2": geometry(2, (3, 4), (8, 8), kernel=(4, 4), stride=(2, 2), padding=ONE),
    "5x5-stride-3": geometry(
        9, (2, 3), (11, 9), kernel=(5, 5), stride=(3, 3), padding=((1, 2), (0, 1))
    ),
    "5x5-stride-3-dilation": geometry(
        2,
        (3, 4),
        (17, 15),
        kernel=(5, 5),
        stride=(3, 3),
        padding=((2, 0), (1, 1)),
        dilation=(2, 3),
    ),
    "20x20-stride-10": geometry(
        1, (2, 3), (45, 52), kernel=(20, 20), stride=(10, 10), padding=((5, 5), (0, 3))
    ),
    "5x5": geometry(2, (3, 4), (9, 9), kernel=(5, 5), padding=((2, 2), (2, 2))),
    "7x7-stride-2": geometry(
        1, (3, 8), (17, 18), kernel=(7, 7), stride=(2, 2), padding=((3, 3), (3, 3))
    ),
}


def windows(x: np.ndarray, g: ConvGeometry) -> np.ndarray:
    """(n, c, r, s, i, j), by the definition, from a zero-padded copy."""
    padded = np.pad(x, ((0, 0), (0, 0), *g.padding))
    result = np.zeros((g.batch, g.in_channels, *g.kernel, g.out_height, g.out_width), x.dtype)
    for i in range(g.out_height):
        for j in range(g.out_width):
            for r in range(g.kernel[0]):
                for s in range(g.kernel[1]):
                    row = i * g.stride[0] + r * g.dilation[0]
                    column = j * g.stride[1] + s * g.dilation[1]
                    result[:, :, r, s, i, j] = padded[:, :, row, column]
    return result


def forward(x: np.ndarray, w: np.ndarray, g: ConvGeometry) -> np.ndarray:
    per_group = windows(x, g).reshape(g.batch, g.groups, -1, *g.kernel, g.out_height, g.out_width)
    weights = w.reshape(g.groups, -1, *w.shape[1:])
    return np.einsum("gkcrs,ngcrsij->ngkij", weights, per_group).reshape(g.output_shape)


def input_gradient(gy: np.ndarray, w: np.ndarray, g: ConvGeometry) -> np.ndarray:
    """The gradient of the padded input, scattered window by window, with its padding cut off."""
    (top, bottom), (left, right) = g.padding
    padded = np.zeros((g.batch, g.in_channels, top + g.height + bottom, left + g.width + right))
    weights = w.reshape(g.groups, -1, *w.shape[1:])
    for i in range(g.out_height):
        for j in range(g.out_width):
            at = gy[:, :, i, j].reshape(g.batch, g.groups, -1)
            window = np.einsum("gkcrs,ngk->ngcrs", weights, at)
            window = window.reshape(g.batch, g.in_channels, *g.kernel)
            for r in range(g.kernel[0]):
                for s in range(g.kernel[1]):
                    row = i * g.stride[0] + r * g.dilation[0]
                    column = j * g.stride[1] + s * g.dilation[1]
                    padded[:, :, row, column] += window[:, :, r, s]
    return padded[:, :, top : top + g.height, left : left + g.width]


def weight_gradient(x: np.ndarray, gy: np.ndarray, g: ConvGeometry) -> np.ndarray:
    per_group = windows(x, g).reshape(g.batch, g.groups, -1, *g.kernel, g.out_height, g.out_width)
    gradient = gy.reshape(g.batch, g.groups, -1, g.out_height, g.out_width)
    return np.einsum("ngkij,ngcrsij->gkcrs", gradient, per_group).reshape(g.weight_shape)


@dataclass(frozen=True)
class Direction:
    name: str
    algorithms: tuple[ConvAlgorithm, ...]

    def shapes(self, g: ConvGeometry) -> tuple[tuple[int, ...], ...]:
        """Of the two operands and the result."""
        x, w, y = g.input_shape, g.weight_shape, g.output_shape
        return {"forward": (x, w, y), "input": (y, w, x), "weight": (x, y, w)}[self.name]


DIRECTIONS = (
    Direction("forward", FORWARD),
    Direction("input", INPUT_GRADIENT),
    Direction("weight", WEIGHT_GRADIENT),
)

CASES = [
    pytest.param(direction, algorithm, name, id=f"{direction.name}-{algorithm.name}-{name}")
    for direction in DIRECTIONS
    for algorithm in direction.algorithms
    for name, g in GEOMETRIES.items()
    if algorithm.supports(g)
]
ROWS = [
    pytest.param(direction, algorithm, id=f"{direction.name}-{algorithm.name}")
    for direction in DIRECTIONS
    for algorithm in direction.algorithms
]


def operands(
    direction: Direction, g: ConvGeometry, dtype: type = np.float32
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    left, right, result = direction.shapes(g)
    return (
        rng.standard_normal(left, np.float32).astype(dtype),
        rng.standard_normal(right, np.float32).astype(dtype),
        np.full(result, np.nan, dtype),
    )


@functools.cache
def reference_of(direction: Direction, g: ConvGeometry) -> np.ndarray:
    """By the definition, in float64, of `operands`."""
    compute = {"forward": forward, "input": input_gradient, "weight": weight_gradient}
    left, right, _ = operands(direction, g)
    return compute[direction.name](left.astype(np.float64), right.astype(np.float64), g)


def dirty_workspace(size: int) -> np.ndarray:
    """Aligned to 64 bytes; all bits set, which is NaN in every float format."""
    raw = np.full(size + 64, 255, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size]


def bound(algorithm, g, left, right, result, workers, epilogue=None):
    size = algorithm.workspace_bytes(g, left.itemsize, workers.threads)
    return algorithm.bind(g, left, right, result, dirty_workspace(size), workers, epilogue)


def error(result: np.ndarray, reference: np.ndarray) -> float:
    return float(np.abs(result - reference).max() / np.abs(reference).max())


@pytest.mark.parametrize(("direction", "algorithm", "name"), CASES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_agrees_with_the_definition(direction, algorithm, name, dtype):
    g = GEOMETRIES[name]
    left, right, result = operands(direction, g, dtype)
    kernel = bound(algorithm, g, left, right, result, Workers(1))
    reference = reference_of(direction, g)
    tolerance = algorithm.relative_error(g, np.dtype(dtype))
    for _ in range(2):  # the second call starts from the first one's buffers
        kernel()
        assert error(result, reference) <= tolerance
        result.fill(np.nan)


@pytest.mark.parametrize("direction", DIRECTIONS, ids=lambda direction: direction.name)
def test_the_last_algorithm_handles_every_geometry(direction):
    assert all(direction.algorithms[-1].supports(g) for g in GEOMETRIES.values())


@pytest.mark.parametrize(("direction", "algorithm", "name"), CASES)
def test_bits_do_not_depend_on_threads(direction, algorithm, name):
    g = GEOMETRIES[name]
    results = []
    for threads in (1, 2, 3):
        left, right, result = operands(direction, g)
        with Workers(threads) as workers:
            kernel = bound(algorithm, g, left, right, result, workers)
            kernel()
        results.append(result.tobytes())
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize(
    ("direction", "algorithm", "name"),
    [case for case in CASES if case.values[0].name != "weight"],  # which takes no epilogue
)
def test_epilogue_sees_each_element_once_when_complete(direction, algorithm, name):
    g = GEOMETRIES[name]
    left, right, result = operands(direction, g)

    def bias_and_relu(block):
        view = result[block]
        bias = np.arange(result.shape[1], dtype=np.float32)[block[1], None, None] / 10

        def run():
            np.add(view, bias, out=view)
            np.maximum(view, 0, out=view)

        return run

    with Workers(2) as workers:
        bound(algorithm, g, left, right, result, workers, bias_and_relu)()
    reference = reference_of(direction, g)
    expected = np.maximum(reference + np.arange(result.shape[1])[:, None, None] / 10, 0)
    tolerance = 2 * algorithm.relative_error(g, np.dtype(np.float32))
    assert np.abs(result - expected).max() <= tolerance * np.abs(reference).max()


@pytest.mark.parametrize(("direction", "algorithm"), ROWS)
@pytest.mark.parametrize("threads", [1, 2])
def test_allocates_nothing(direction, algorithm, threads):
    for name, g in GEOMETRIES.items():
        if not algorithm.supports(g):
            continue
        left, right, result = operands(direction, g)
        with Workers(threads) as workers:
            kernel = bound(algorithm, g, left, right, result, workers)
            kernel()
            tracemalloc.start()
            kernel()
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            kernel()
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert peak - before < 4096, name


@pytest.mark.parametrize(("direction", "algorithm"), ROWS)
def test_estimates_are_positive_and_grow_with_the_batch(direction, algorithm):
    small, large = GEOMETRIES["3x3-several-blocks"], geometry(8, (33, 35), (41, 30), padding=ONE)
    if not algorithm.supports(small):
        small, large = (geometry(n, (64, 64), (32, 32), kernel=(1, 1)) for n in (2, 8))
    for threads in (1, 2):
        few, many = (algorithm.seconds(g, 4, threads) for g in (small, large))
        assert 0 < few < many


@pytest.mark.parametrize("name", ["3x3-groups", "3x3-dilation-stride", "7x7-stride-2", "depthwise"])
def test_agrees_with_torch(name):
    torch = pytest.importorskip("torch")
    g = GEOMETRIES[name]
    rng = np.random.default_rng(3)
    x = torch.tensor(rng.standard_normal(g.input_shape), requires_grad=True)
    w = torch.tensor(rng.standard_normal(g.weight_shape), requires_grad=True)
    padded = torch.nn.functional.pad(x, (*g.padding[1], *g.padding[0]))
    y = torch.nn.functional.conv2d(padded, w, stride=g.stride, dilation=g.dilation, groups=g.groups)
    gy = torch.tensor(rng.standard_normal(g.output_shape))
    y.backward(gy)
    array = {"x": x, "w": w, "gy": gy, "y": y, "gx": x.grad, "gw": w.grad}
    array = {key: tensor.detach().numpy().copy() for key, tensor in array.items()}
    for direction, (left, right, expected) in zip(
        DIRECTIONS, (("x", "w", "y"), ("gy", "w", "gx"), ("x", "gy", "gw")), strict=True
    ):
        algorithm = direction.algorithms[-1]
        result = np.full_like(array[expected], np.nan)
        bound(algorithm, g, array[left], array[right], result, Workers(1))()
        assert error(result, array[expected]) < 1e-14
