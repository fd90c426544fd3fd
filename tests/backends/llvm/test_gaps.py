"""Ops that move, pool or index, on images that are slices of larger ones in memory.

Every tensor of four axes lies within a wider, taller one with more channels. What is between must
stay untouched, and results must be those of the NumPy backend, whatever the number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from call_runner import Arena, memory_strides

import minigraph as mg
from minigraph.backends.llvm import LlvmBackend
from minigraph.ir.spec import DType
from minigraph.ops import (
    broadcast,
    indexing,
    median,
    pad_modes,
    pool,
    resize,
    shape,
    unfold,
    unpool,
)
from minigraph.ops.axis_map import AxisMapAdjoint

NONE = ((0, 0), (0, 0))
TWO = ((2, 2), (2, 2), NONE, (1, 1), False)
THREE = ((3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), False)
MANY = ((17, 17), (5, 4), NONE, (1, 1), True)  # 289 places: positions of int32
SIDES = {"two": TWO, "three": THREE}
BILINEAR = [resize.ResizeAxis(axis, scale=2.0, mode="bilinear") for axis in (2, 3)]
HEIGHT, WIDTH = 9, 11


def images(*sizes: int) -> tuple[int, ...]:
    return sizes if sizes else (HEIGHT, WIDTH)


def drawn(spec: Any, rng: np.random.Generator) -> np.ndarray:
    """A spec is (shape, dtype), where an integer dtype comes with what is above the highest."""
    size, dtype, *high = spec
    if high:
        return rng.integers(0, high[0], size).astype(dtype)
    return rng.standard_normal(size).astype(dtype)


def cases(c: int) -> dict[str, tuple[Any, list[Any]]]:
    """Ops and their operands, for images of ``c`` channels."""
    x = ((2, c, HEIGHT, WIDTH), "float32")
    half = ((2, c, HEIGHT, WIDTH), "float16")
    found: dict[str, tuple[Any, list[Any]]] = {}
    for name, window in SIDES.items():
        pooled = pool.MaxPool2d(*window).pooled_shape(mg.TensorSpec(x[0], DType.FLOAT32))
        places = window[0][0] * window[0][1]
        gy, at = (pooled, "float32"), (pooled, "uint8", places)
        inside = (pooled, "uint8", 1) if name == "two" else (pooled, "uint8", 5)
        size = (HEIGHT, WIDTH)
        found |= {
            f"max-{name}": (pool.MaxPool2d(*window), [x]),
            f"max-half-{name}": (pool.MaxPool2d(*window), [half]),
            f"scatter-{name}": (pool.MaxPool2dScatter(*window, size), [gy, at]),
            f"gather-{name}": (pool.MaxPool2dGather(*window), [x, inside]),
            f"average-{name}": (pool.AvgPool2d(*window, False), [x]),
            f"average-grad-{name}": (pool.AvgPool2dGrad(*window, False, None, size), [gy]),
            f"positions-{name}": (unpool.MaxPool2dWithPositions(*window), [x]),
            f"unfold-{name}": (unfold.Unfold2d(*window), [x]),
            f"fold-{name}": (
                unfold.Fold2d(*window, size),
                [((2, c * places, pooled[2] * pooled[3]), "float32")],
            ),
        }
    spots, few = ((2, c, 3, 4), "int64", HEIGHT * WIDTH), ((2, c, 3, 4), "float32")
    rows = ((7,), "int32", HEIGHT)
    channels = ((2, 5, HEIGHT, WIDTH), "int64", c)
    return found | {
        "max-many": (pool.MaxPool2d(*MANY), [((1, c, 20, 23), "float32")]),
        "unpool": (unpool.MaxUnpool2d((HEIGHT, WIDTH)), [few, spots]),
        "unpool-half": (unpool.MaxUnpool2d((HEIGHT, WIDTH)), [((2, c, 3, 4), "float16"), spots]),
        "take-at": (unpool.TakeAtPositions(), [x, spots]),
        "median": (median.MedianPool2d((3, 3), (1, 2)), [x]),
        "median-large": (median.MedianPool2d((5, 7), (2, 1)), [x]),
        "median-dilated": (median.MedianPool2d((3, 1), (1, 1), dilation=(2, 1)), [x]),
        "bilinear-rows": (BILINEAR[0], [x]),
        "bilinear-columns": (BILINEAR[1], [x]),
        "bilinear-rows-adjoint": (
            AxisMapAdjoint(BILINEAR[0], HEIGHT), [((2, c, 2 * HEIGHT, WIDTH), "float32")]),
        "bilinear-columns-adjoint": (
            AxisMapAdjoint(BILINEAR[1], WIDTH), [((2, c, HEIGHT, 2 * WIDTH), "float32")]),
        "nearest-channels": (resize.ResizeAxis(1, 2 * c + 1), [x]),
        "adaptive": (resize.AdaptiveMeanAxis(2, 4), [x]),
        "reflect": (pad_modes.PadAxis(3, 3, 2, "reflect"), [x]),
        "flatten": (shape.Flatten(1), [x]),
        "flatten-half": (shape.Flatten(2), [half]),
        "reshape-common": (broadcast.Reshape((2, c, HEIGHT * WIDTH, 1)), [x]),
        "reshape-images": (broadcast.Reshape((2, c, WIDTH, HEIGHT)), [x]),
        "reshape-nothing-common": (broadcast.Reshape((HEIGHT * c, WIDTH, 2, 1)), [x]),
        "squeeze": (shape.Squeeze((2,)), [((2, c, 1, WIDTH), "float32")]),
        "transpose": (shape.Transpose((0, 2, 3, 1)), [x]),
        "transpose-pixels": (shape.Transpose((3, 1, 2, 0)), [x]),
        "concat": (shape.Concat(1), [x, ((2, 5, HEIGHT, WIDTH), "float32")]),
        "concat-rows": (shape.Concat(2), [x, ((2, c, 2, WIDTH), "float32")]),
        "split": (shape.Split(3, (3, 8)), [x]),
        "slice": (shape.Slice(((None, None, None), (c // 2, None, None), (1, 8, 3), (2, -1, 2))),
                  [x]),
        "pad": (shape.Pad((0, 1, 2, 0), (0, 0, 1, 3), (0, 0, 0, 0), 0.5), [x]),
        "pad-interior": (shape.Pad((0, 0, 1, 0), (0, 0, 0, 0), (0, 0, 1, 2), -1.0), [x]),
        "flip": (shape.Flip((1, 3)), [x]),
        "gather-rows": (indexing.Gather(2), [((2, c, HEIGHT), "float32"), rows]),
        "gather-images": (indexing.Gather(0), [x, ((3,), "int32", 2)]),
        "take-along": (indexing.TakeAlongAxis(1), [x, channels]),
        "scatter-add": (indexing.ScatterAdd(1),
                        [x, channels, ((2, 5, HEIGHT, WIDTH), "float32")]),
        "scatter-add-half": (indexing.ScatterAdd(1),
                             [half, channels, ((2, 5, HEIGHT, WIDTH), "float16")]),
        "index-add": (indexing.IndexAdd(2), [x, rows, ((2, c, 7, WIDTH), "float32")]),
        "index-add-int": (indexing.IndexAdd(0), [((4, c), "int32", 9), ((6,), "uint8", 4),
                                                 ((6, c), "int32", 9)]),
        "one-hot": (indexing.OneHot(c), [((2, HEIGHT, WIDTH), "uint8", 40)]),
    }  # fmt: skip


def expected(op: Any, arrays: list[np.ndarray]) -> list[np.ndarray]:
    def model(**tensors: Any) -> dict[str, Any]:
        first, *rest = tensors.values()
        return {f"y{i}": y for i, y in enumerate(first.builder.emit(op, first, *rest))}

    specs = {f"x{i}": mg.TensorSpec(a.shape, DType.of(a.dtype)) for i, a in enumerate(arrays)}
    executable = mg.compile(model, specs, backend="numpy", threads=1)
    return list(executable({f"x{i}": a for i, a in enumerate(arrays)}).values())


@pytest.fixture(scope="module")
def backends() -> list[LlvmBackend]:
    return [LlvmBackend(threads) for threads in (1, 3)]


@pytest.mark.parametrize("channels", [1, 21])
@pytest.mark.parametrize("name", cases(2))
def test_images_with_gaps(name: str, channels: int, backends: list[LlvmBackend]) -> None:
    op, specs = cases(channels)[name]
    rng = np.random.default_rng(0)
    arrays = [drawn(spec, rng) for spec in specs]
    references = expected(op, arrays)
    found = []
    for backend in backends:
        arena = Arena(backend)
        inputs = [
            arena.put(a, memory_strides(mg.TensorSpec(a.shape, DType.of(a.dtype)), 2))
            for a in arrays
        ]
        specs_out = op.infer(*(slot.spec for slot in inputs))
        outputs = [arena.slot(spec, memory_strides(spec, 3)) for spec in specs_out]
        arena.run_op(op, inputs, outputs)
        results = [arena.array(slot).copy() for slot in outputs]
        for result, reference in zip(results, references, strict=True):
            step = {"float32": 2e-6, "float16": 2e-3}.get(str(reference.dtype), 0.0)
            bound = step * max(float(np.abs(reference.astype(float)).max(initial=0.0)), 1.0)
            np.testing.assert_allclose(
                result.astype(float), reference.astype(float), rtol=0, atol=bound
            )
        for slot, array in zip(inputs, arrays, strict=True):
            np.testing.assert_array_equal(arena.array(slot), array)
        for slot in (*inputs, *outputs):
            arena.erase(slot)
        assert arena.is_untouched
        found.append(results)
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
