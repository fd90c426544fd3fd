"""Random shapes, axes, broadcasting and dtypes: values against torch, gradients by differences.

Sixty examples each by default; ``-m slow`` makes it a thousand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import op_table
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigraph as mg

if op_table.torch is None:
    pytest.skip("torch is not installed", allow_module_level=True)
torch, F = op_table.torch, op_table.F

QUICK = settings(max_examples=60, deadline=None, derandomize=True)
LONG = settings(max_examples=1000, deadline=None)
both = pytest.mark.parametrize(
    "options", [QUICK, pytest.param(LONG, marks=pytest.mark.slow)], ids=["quick", "long"]
)

SHAPES = st.lists(st.integers(0, 4), min_size=0, max_size=4).map(tuple)
FILLED = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)
SEEDS = st.integers(0, 2**32 - 1)
DTYPES = st.sampled_from(["float64", "float32", "float16", "bfloat16"])
STEP = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}


@dataclass(frozen=True)
class Function:
    """One of ours, torch's, and where its gradient is smooth enough for differences."""

    ours: Callable[..., Any]
    theirs: Callable[..., Any]
    draw: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray] = op_table.normal


UNARY = {
    "elu": Function(mg.elu, lambda x: F.elu(x), op_table.off_zero),
    "selu": Function(mg.selu, lambda x: F.selu(x), op_table.off_zero),
    "gelu": Function(mg.gelu, lambda x: F.gelu(x)),
    "gelu-tanh": Function(
        lambda x: mg.gelu(x, "tanh"), lambda x: F.gelu(x, approximate="tanh")
    ),
    "silu": Function(mg.silu, lambda x: F.silu(x)),
    "mish": Function(mg.mish, lambda x: F.mish(x)),
    "softplus": Function(mg.softplus, lambda x: F.softplus(x)),
    "hard_swish": Function(mg.hard_swish, lambda x: F.hardswish(x)),
    "erf": Function(mg.erf, lambda x: torch.erf(x)),
    "sin": Function(mg.sin, lambda x: torch.sin(x)),
    "cos": Function(mg.cos, lambda x: torch.cos(x)),
    "clip": Function(
        lambda x: mg.clip(x, -0.1, 2.5), lambda x: x.clamp(-0.1, 2.5), op_table.off_zero
    ),
    "power": Function(lambda x: x**1.5, lambda x: x**1.5, op_table.positive),
    "reciprocal": Function(mg.reciprocal, lambda x: 1 / x, op_table.positive),
}  # fmt: skip

BINARY = {
    "power": Function(mg.power, lambda a, b: a**b, op_table.positive),
    "maximum": Function(mg.maximum, lambda a, b: torch.maximum(a, b)),
    "divide": Function(lambda a, b: a / b, lambda a, b: a / b, op_table.positive),
    "prelu": Function(
        mg.ops.activation.prelu, lambda x, a: torch.where(x > 0, x, x * a), op_table.off_zero
    ),
}  # fmt: skip

REDUCED = {
    "variance": (mg.variance, lambda x, axes, keep: torch.var(x, axes, correction=0, keepdim=keep)),
    "logsumexp": (mg.logsumexp, lambda x, axes, keep: torch.logsumexp(x, axes, keep)),
    "reduce_min": (mg.reduce_min, lambda x, axes, keep: torch.amin(x, axes, keep)),
    "l2_norm": (mg.l2_norm, lambda x, axes, keep: torch.linalg.vector_norm(x, 2, axes, keep)),
}


def compiled(function: Callable[..., Any], arrays: list[np.ndarray]) -> dict[str, np.ndarray]:
    """``y``, and in float64 its gradients ``g0``, ... under the cotangent ``cos(position)``."""

    def model(**tensors: mg.Tensor) -> dict[str, mg.Tensor]:
        inputs = list(tensors.values())
        y = function(*inputs)
        if arrays[0].dtype != np.float64:
            return {"y": y}
        seed = y.builder.constant(np.cos(np.arange(y.spec.size, dtype=float)).reshape(y.shape))
        grads = mg.gradients(mg.reduce_sum(y * seed), inputs)
        return {"y": y, **{f"g{i}": g for i, g in enumerate(grads)}}

    specs = {
        f"x{i}": mg.TensorSpec(array.shape, mg.DType.of(array.dtype))
        for i, array in enumerate(arrays)
    }
    exe = mg.compile(model, specs, backend="numpy", threads=1)
    return exe(dict(zip(specs, arrays, strict=True)))


def check(function: Function, arrays: list[np.ndarray]) -> None:
    """Against torch in float64, within a few rounding steps; gradients against differences."""
    got = compiled(function.ours, arrays)
    wide = [torch.from_numpy(array.astype(np.float64)) for array in arrays]
    expected = function.theirs(*wide).numpy()
    assert got["y"].shape == expected.shape
    bound = 16 * STEP[str(mg.DType.of(arrays[0].dtype))]
    np.testing.assert_allclose(got["y"].astype(np.float64), expected, rtol=bound, atol=bound)
    for index, gradient in ((int(name[1:]), g) for name, g in got.items() if name[0] == "g"):
        assert gradient.shape == arrays[index].shape
        if gradient.size:
            check_derivative(function, arrays, index, gradient)


def check_derivative(
    function: Function, arrays: list[np.ndarray], index: int, gradient: np.ndarray
) -> None:
    """One random direction, by central differences of torch's value."""
    direction = np.asarray(np.random.default_rng(index).standard_normal(gradient.shape))
    wide = [torch.from_numpy(array) for array in arrays]

    def value(step: float) -> float:
        moved = list(wide)
        moved[index] = wide[index] + step * torch.from_numpy(direction)
        y = function.theirs(*moved).numpy()
        return float((y * np.cos(np.arange(y.size)).reshape(y.shape)).sum())

    expected = (8 * (value(1e-4) - value(-1e-4)) - (value(2e-4) - value(-2e-4))) / 12e-4
    scale = 1.0 + float(np.abs(gradient * direction).sum())
    assert float((gradient * direction).sum()) == pytest.approx(expected, abs=1e-8 * scale)


def drawn(draw: Any, seed: int, shape: tuple[int, ...], dtype: str = "float64") -> np.ndarray:
    values = np.asarray(draw(np.random.default_rng(seed), shape))
    return values.astype(mg.DType.of(dtype).numpy)


@both
def test_functions_of_one_tensor(options: settings) -> None:
    @options
    @given(name=st.sampled_from(list(UNARY)), shape=SHAPES, dtype=DTYPES, seed=SEEDS)
    def holds(name: str, shape: tuple[int, ...], dtype: str, seed: int) -> None:
        check(UNARY[name], [drawn(UNARY[name].draw, seed, shape, dtype)])

    holds()


@st.composite
def broadcast_shapes(draw: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two shapes that broadcast: axes of a common one made 1, leading ones left out."""
    common = draw(st.lists(st.integers(0, 3), max_size=4))
    shapes = []
    for _ in range(2):
        kept = [size if draw(st.booleans()) else 1 for size in common]
        shapes.append(tuple(kept[draw(st.integers(0, len(kept))) :]))
    return shapes[0], shapes[1]


@both
def test_functions_of_two_tensors_that_broadcast(options: settings) -> None:
    @options
    @given(name=st.sampled_from(list(BINARY)), shapes=broadcast_shapes(), dtype=DTYPES, seed=SEEDS)
    def holds(name: str, shapes: tuple[tuple[int, ...], ...], dtype: str, seed: int) -> None:
        function = BINARY[name]
        check(function, [drawn(function.draw, seed + i, s, dtype) for i, s in enumerate(shapes)])

    holds()


@both
def test_reductions_over_any_axes(options: settings) -> None:
    @options
    @given(
        name=st.sampled_from(list(REDUCED)), shape=FILLED, keep=st.booleans(), seed=SEEDS,
        data=st.data(),
    )  # fmt: skip
    def holds(name: str, shape: tuple[int, ...], keep: bool, seed: int, data: Any) -> None:
        ours, theirs = REDUCED[name]
        order = data.draw(st.permutations(range(len(shape))))
        count = data.draw(st.integers(1, len(shape)))
        axes = tuple(a - len(shape) * data.draw(st.booleans()) for a in order[:count])
        function = Function(lambda x: ours(x, axes, keepdims=keep), lambda x: theirs(x, axes, keep))
        check(function, [drawn(op_table.distinct(0.03), seed, shape)])

    holds()


@both
def test_gathers_along_any_axis(options: settings) -> None:
    @options
    @given(shape=FILLED, picked=SHAPES, seed=SEEDS, data=st.data())
    def holds(shape: tuple[int, ...], picked: tuple[int, ...], seed: int, data: Any) -> None:
        axis = data.draw(st.integers(-len(shape), len(shape) - 1))
        size = shape[axis]
        indices = np.random.default_rng(seed).integers(-size, size, picked)
        wrapped = torch.from_numpy(np.asarray(indices % size)).reshape(-1)
        at = axis % len(shape)
        full = (*shape[:at], *picked, *shape[at + 1 :])
        function = Function(
            lambda x: mg.gather(x, indices, axis),
            lambda x: torch.index_select(x, at, wrapped).reshape(full),
        )
        check(function, [drawn(op_table.normal, seed, shape)])

    holds()


@both
def test_groups_are_normalised_as_in_torch(options: settings) -> None:
    @options
    @given(
        images=st.integers(1, 3), groups=st.integers(1, 3), each=st.integers(1, 3),
        rest=st.lists(st.integers(2, 4), min_size=1, max_size=2), seed=SEEDS,
    )  # fmt: skip
    def holds(images: int, groups: int, each: int, rest: list[int], seed: int) -> None:
        channels = groups * each
        function = Function(
            lambda x, w, b: mg.ops.norm.group_norm(x, groups, w, b, 1e-2),
            lambda x, w, b: F.group_norm(x, groups, w, b, 1e-2),
        )
        shapes = ((images, channels, *rest), (channels,), (channels,))
        arrays = [drawn(op_table.normal, seed + i, shape) for i, shape in enumerate(shapes)]
        check(function, arrays)

    holds()
