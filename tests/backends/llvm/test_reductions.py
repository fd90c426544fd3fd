"""Reductions of the LLVM backend over tails, folded rows, chunks, gaps and flipped axes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import minigraph as mg
from minigraph.backends.llvm import LlvmBackend
from minigraph.ops import norm

BACKENDS = [LlvmBackend(threads) for threads in (1, 2, 5)]

CASES = [
    ((4, 3, 128, 128), (0, 2, 3)),  # few columns: rows are folded
    ((4, 21, 33, 65), (0, 2, 3)),  # rows that cannot be folded
    ((2, 130, 20, 31), (2, 3)),  # several blocks of columns, the last one not whole
    ((4, 32, 64, 64), (0, 2, 3)),  # chunks
    ((4, 12, 33, 16), (1,)),  # short lines
    ((2, 130, 20, 31), (1, 3)),
    ((2, 130, 20, 31), (3,)),
    ((7, 11, 13, 17, 3), (0, 2, 4)),
    ((7, 11, 13, 17, 3), (1, 3)),
    ((100003,), (0,)),
    ((5, 20003), (1,)),
    ((20003, 5), (0,)),
]


def run_everywhere(model: Callable, x: np.ndarray) -> dict[str, np.ndarray]:
    """Results on some numbers of threads, which must be equal to the last bit."""
    specs = {"x": mg.TensorSpec(x.shape, mg.DType.of(x.dtype))}
    first, *others = [mg.compile(model, specs, backend=backend)(x=x) for backend in BACKENDS]
    for other in others:
        for name in first:
            np.testing.assert_array_equal(first[name], other[name])
    return first


@pytest.mark.parametrize(("shape", "axes"), CASES)
def test_sums_are_rounded_once(shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32) * 10 + 5

    def model(x: mg.Tensor) -> dict[str, mg.Tensor]:
        return {"sum": mg.reduce_sum(x, axes), "mean": mg.reduce_mean(x, axes, keepdims=True),
                "max": mg.reduce_max(x, axes)}  # fmt: skip

    got, wide = run_everywhere(model, x), x.astype(np.float64)
    np.testing.assert_array_equal(got["max"], x.max(axes))
    for name, exact in (("sum", wide.sum(axes)), ("mean", wide.mean(axes, keepdims=True))):
        assert np.abs(got[name] - exact).max() <= 6e-8 * np.abs(exact).max()


def test_integers_wrap_and_compare() -> None:
    x = np.random.default_rng(1).integers(-(2**31), 2**31 - 1, (3, 70, 40, 11)).astype(np.int32)

    def model(x: mg.Tensor) -> dict[str, mg.Tensor]:
        return {"sum": mg.reduce_sum(x, (0, 2, 3)), "min": mg.reduce_min(x, (1, 2))}

    got = run_everywhere(model, x)
    np.testing.assert_array_equal(got["sum"], x.sum((0, 2, 3), dtype=np.int32))
    np.testing.assert_array_equal(got["min"], x.min((1, 2)))


@pytest.mark.parametrize("axes", [(0, 2, 3), (1,), (2, 3), None])
def test_slices_and_flips_are_read_where_they_lie(axes: tuple[int, ...] | None) -> None:
    x = np.random.default_rng(2).standard_normal((3, 40, 24, 18)).astype(np.float32)

    def model(x: mg.Tensor) -> dict[str, mg.Tensor]:
        return {"slice": mg.reduce_sum(x[:, 5:18, 2:, :-3], axes),
                "flip": mg.reduce_max(mg.flip(x, (1, 3)), axes)}  # fmt: skip

    got, wide = run_everywhere(model, x), x.astype(np.float64)
    exact = wide[:, 5:18, 2:, :-3].sum(axes)
    assert np.abs(got["slice"] - exact).max() <= 1e-7 * np.abs(exact).max()
    np.testing.assert_array_equal(got["flip"], x[:, ::-1, :, ::-1].max(axes))


def test_not_a_number_is_the_largest_and_the_smallest() -> None:
    x = np.random.default_rng(3).standard_normal((4, 6, 10, 9)).astype(np.float32)
    x[1, 2, 3, 4] = np.nan

    def model(x: mg.Tensor) -> dict[str, mg.Tensor]:
        return {"max": mg.reduce_max(x, (0, 2, 3)), "min": mg.reduce_min(x, (1, 2, 3))}

    got = run_everywhere(model, x)
    np.testing.assert_array_equal(got["max"], x.max((0, 2, 3)))
    np.testing.assert_array_equal(got["min"], x.min((1, 2, 3)))


@pytest.mark.parametrize(
    "shape", [(4, 3, 40, 40), (4, 12, 33, 16), (6, 64, 48, 48), (3, 8, 1000), (100, 4)]
)
@pytest.mark.parametrize("first", [0.0, 1e6])
def test_moments_lose_nothing_beside_large_means(shape: tuple[int, ...], first: float) -> None:
    """Neither where means are large beside deviations, nor where the first element stands out."""
    rng = np.random.default_rng(4)
    x = rng.standard_normal(shape) + 1e4 * rng.standard_normal((1, shape[1], *shape[2:]))[..., :1]
    x[0] += first
    x = x.astype(np.float32)
    groups = {"channel": shape[1], "group": shape[1] // 4 or 1}

    def model(x: mg.Tensor) -> dict[str, mg.Tensor]:
        results = dict(zip(("mean", "variance"), norm.channel_moments(x), strict=True))
        for name, number in groups.items():
            pair = x.builder.emit(norm.GroupMoments(number), x)
            results |= {f"{name}-mean": pair[0], f"{name}-variance": pair[1]}
        return results

    got, wide = run_everywhere(model, x), x.astype(np.float64)
    axes = (0, *range(2, x.ndim))
    expected = {"mean": wide.mean(axes), "variance": wide.var(axes)}
    for name, number in groups.items():
        rows = wide.reshape(shape[0], number, -1)
        for moment in ("mean", "var"):
            values = np.repeat(getattr(rows, moment)(-1), shape[1] // number, axis=1)
            key = f"{name}-{'variance' if moment == 'var' else 'mean'}"
            expected[key] = values.reshape(got[key].shape)
    for name, exact in expected.items():
        np.testing.assert_allclose(got[name], exact, rtol=2e-7, atol=1e-7 * np.abs(exact).max())
