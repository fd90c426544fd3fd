"""One row an op case, and what is computed from a row.

A row names its inputs with their domain (positive, no ties, labels, ...), the function of tensors,
an independent NumPy reference in float64 and, where one exists, torch's counterpart.
``test_ops.py`` draws every check from it. The rows themselves are in the ``op_rows_*`` modules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import minigraph as mg
from minigraph import Tensor
from minigraph.backend import Backend
from minigraph.compiler import build_graph
from minigraph.executable import Executable

try:
    import torch
    import torch.nn.functional as F
except ImportError:  # the torch checks are then skipped
    torch = F = None  # type: ignore[assignment]

Domain = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]

# ---- domains


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Any numbers."""
    return rng.standard_normal(shape)


def positive(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers in [0.5, 2): for logarithms, roots and divisors."""
    return rng.uniform(0.5, 2.0, shape)


def off_zero(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of both signs, 0.2 or more away from 0, where many functions have a kink."""
    return rng.uniform(0.2, 2.0, shape) * rng.choice([-1.0, 1.0], shape)


def distinct(offset: float = 0.0, gap: float = 0.1) -> Domain:
    """Numbers that are ``gap`` apart, in random order: no ties, and none with another offset."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        size = int(np.prod(shape, dtype=int))
        return (rng.permutation(size) - size // 2).reshape(shape) * gap + offset

    return draw


def integers(low: int, high: int) -> Domain:
    """Integers in [low, high)."""
    return lambda rng, shape: rng.integers(low, high, shape)


def labels(classes: int, void: int | None = None) -> Domain:
    """Class numbers, about a quarter of them void."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        drawn = rng.integers(0, classes, shape)
        return drawn if void is None else np.where(rng.random(shape) < 0.25, void, drawn)

    return draw


def booleans(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.random(shape) < 0.5


def exactly(values: Any) -> Domain:
    """These values."""
    return lambda rng, shape: np.broadcast_to(np.asarray(values), shape)


# ---- rows


@dataclass(frozen=True)
class Input:
    """One operand. Without a dtype it has the floating dtype under test."""

    shape: tuple[int, ...]
    domain: Domain = normal
    dtype: str | None = None

    def spec(self, dtype: str) -> mg.TensorSpec:
        return mg.TensorSpec(self.shape, mg.DType.of(self.dtype or dtype))


@dataclass(frozen=True)
class Row:
    """One case of one op (or public function)."""

    name: str
    ops: tuple[type, ...]  # the graph must contain these: what the row is a row of
    inputs: tuple[Input, ...]
    function: Callable[..., Any]  # tensors to a tensor, or a tuple of them
    reference: Callable[..., Any]  # float64 arrays to an array, or a tuple of them
    torch: Callable[..., Any] | None = None  # torch tensors to a tensor, or a tuple of them
    gradient: bool = True  # finite differences give the gradient (False: it is defined otherwise)
    half: bool = True  # 16-bit floats make sense
    exact: bool = False  # elements are only moved: equality to the last bit
    tolerance32: float = 3e-6  # of max|reference|
    half_steps: float = 4.0  # rounding steps of the 16-bit type, of max|reference|

    @property
    def floating(self) -> list[int]:
        """Positions of the inputs that have the dtype under test."""
        return [i for i, operand in enumerate(self.inputs) if operand.dtype is None]

    def draw(self, dtype: str = "float64", seed: int = 0) -> list[np.ndarray]:
        """Inputs of the row's domains, rounded to the dtype under test."""
        rng = np.random.default_rng([seed, *self.name.encode()])
        return [
            np.asarray(operand.domain(rng, operand.shape)).astype(operand.spec(dtype).dtype.numpy)
            for operand in self.inputs
        ]

    def expected(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The reference on these inputs, in float64 whatever their dtype."""
        wide = [
            array.astype(np.float64) if i in self.floating else array
            for i, array in enumerate(arrays)
        ]
        return [np.asarray(result) for result in listed(self.reference(*wide))]


def listed(results: Any) -> list[Any]:
    return list(results) if isinstance(results, tuple | list) else [results]


# ---- what is compiled from a row


def feed(arrays: Sequence[np.ndarray], prefix: str = "x") -> dict[str, np.ndarray]:
    return {f"{prefix}{i}": array for i, array in enumerate(arrays)}


def run(executable: Executable, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A call with those of the arrays that the executable takes."""
    return executable(**{name: arrays[name] for name in executable.inputs})


def compile_forward(
    row: Row, dtype: str, passes: tuple[Any, ...] | None = None, backend: str | Backend = "numpy"
) -> Executable:
    """Outputs y0, y1, ... from inputs x0, x1, ..."""
    threads = 2 if backend == "numpy" else None
    model, specs = partial(outputs_by_name, row), input_specs(row, dtype)
    return mg.compile(model, specs, backend=backend, threads=threads, passes=passes)


def outputs_by_name(row: Row, **tensors: Tensor) -> dict[str, Tensor]:
    return {f"y{i}": y for i, y in enumerate(listed(row.function(*tensors.values())))}


def input_specs(row: Row, dtype: str) -> dict[str, mg.TensorSpec]:
    return {f"x{i}": operand.spec(dtype) for i, operand in enumerate(row.inputs)}


class Differentiated:
    """A row's gradient, and its gradient's gradient, with random arguments for both.

    ``first`` gives ``value = sum <y_i, c_i>`` over the floating outputs and its gradient for each
    floating input. ``second`` gives ``value = sum <gradient_j, v_j>`` and *its* gradient for each
    floating input and each cotangent ``c_i``.
    """

    def __init__(self, row: Row, dtype: str = "float64") -> None:
        self.row = row
        inputs = input_specs(row, dtype)
        outputs = build_graph(partial(outputs_by_name, row), inputs).outputs
        cotangents = {
            f"c{name[1:]}": value.spec
            for name, value in outputs.items()
            if value.spec.dtype.is_floating
        }
        directions = {f"v{i}": inputs[f"x{i}"] for i in row.floating}
        self.cotangents = tuple(cotangents)
        self.specs = {**inputs, **cotangents, **directions}
        rng = np.random.default_rng(1)
        self.arrays = feed(row.draw(dtype))
        for name, spec in {**cotangents, **directions}.items():
            self.arrays[name] = rng.standard_normal(spec.shape).astype(spec.dtype.numpy)

    def first(self, backend: str | Backend = "numpy") -> Executable:
        specs = {name: spec for name, spec in self.specs.items() if name[0] != "v"}
        threads = 1 if backend == "numpy" else None
        return mg.compile(self._gradient, specs, backend=backend, threads=threads)

    def second(self) -> Executable:
        return mg.compile(self._gradient_of_gradient, self.specs, backend="numpy", threads=1)

    def _gradient(self, **tensors: Tensor) -> dict[str, Tensor]:
        xs = [tensor for name, tensor in tensors.items() if name[0] == "x"]
        ys = listed(self.row.function(*xs))
        value = total([(ys[int(name[1:])], tensors[name]) for name in self.cotangents])
        wanted = {f"x{i}": xs[i] for i in self.row.floating}
        return {"value": value, **gradients_by_name(value, wanted)}

    def _gradient_of_gradient(self, **tensors: Tensor) -> dict[str, Tensor]:
        names = [f"x{i}" for i in self.row.floating]
        grads = self._gradient(**{n: t for n, t in tensors.items() if n[0] != "v"})
        value = total([(grads[name], tensors[f"v{name[1:]}"]) for name in names])
        wanted = {name: tensors[name] for name in (*names, *self.cotangents)}
        return {"value": value, **gradients_by_name(value, wanted)}


def gradients_by_name(value: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    found = mg.gradients(value, list(tensors.values()))
    return dict(zip(tensors, found, strict=True))


def total(pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """The sum of the inner products of all pairs."""
    products = [mg.reduce_sum(a * b) for a, b in pairs]
    result = products[0]
    for product in products[1:]:
        result = result + product
    return result


# ---- finite differences

_STEP = 1e-3


def check_gradients(executable: Executable, arrays: dict[str, np.ndarray]) -> None:
    """Every output but "value" is the gradient of "value" for the input of the same name.

    Five-point differences (error of order step^4) along two random directions and, so that a
    mistake can be placed, along a few single elements.
    """
    rng = np.random.default_rng(7)
    found = run(executable, arrays)
    for name, gradient in found.items():
        if name == "value" or gradient.size == 0:
            continue
        assert np.isfinite(gradient).all()
        directions = [rng.standard_normal(gradient.shape) for _ in range(2)]
        for element in rng.choice(gradient.size, min(gradient.size, 4), replace=False):
            one = np.zeros(gradient.size)
            one[element] = 1.0
            directions.append(one.reshape(gradient.shape))
        scale = max(float(np.abs(gradient).max()), 1.0)
        for direction in directions:
            expected = _derivative(executable, arrays, name, direction)
            got = float((gradient * direction).sum())
            bound = 2e-9 * scale * max(float(np.abs(direction).sum()), 1.0)
            assert abs(got - expected) <= bound, (
                f"d/d{name} along {np.flatnonzero(direction)[:4]}: got {got}, expected {expected}"
            )


def _derivative(
    executable: Executable, arrays: dict[str, np.ndarray], name: str, direction: np.ndarray
) -> float:
    def value(steps: int) -> float:
        moved = arrays[name] + steps * _STEP * direction
        return float(run(executable, {**arrays, name: moved})["value"])

    if name not in executable.inputs:
        return 0.0
    return (8 * (value(1) - value(-1)) - (value(2) - value(-2))) / (12 * _STEP)
