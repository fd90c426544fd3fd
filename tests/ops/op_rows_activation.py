"""Rows of elementary functions (powers, clipping, rounding, erf, ...) and of activations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from op_rows_elementwise import binary, sigmoid
from op_rows_elementwise import unary as of_several_sizes
from op_table import F, Input, Row, distinct, exactly, integers, normal, off_zero, positive, torch

import minigraph as mg
from minigraph.ops import activation, elementary

erf = np.vectorize(math.erf, otypes=[float])


def between_integers(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers 0.1 or more away from any integer and any half."""
    return rng.integers(-6, 6, shape) * 0.5 + rng.uniform(0.1, 0.4, shape)


def wide(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return 3.0 * rng.standard_normal(shape)


def unary(*arguments: Any, **options: Any) -> list[Row]:
    """The row of a matrix."""
    return of_several_sizes(*arguments, **options)[:1]


def named(rows: list[Row], suffix: str) -> list[Row]:
    return [Row(**{**vars(row), "name": f"{row.name}-{suffix}"}) for row in rows]


def powers(exponent: float, domain: Any, **options: Any) -> list[Row]:
    rows = unary(
        elementary.PowScalar,
        lambda x: x**exponent,
        lambda x: np.power(x, exponent),
        lambda x: x**exponent,
        domain,
        **options,
    )
    return named(rows, f"{exponent:g}")


def clips(low: float | None, high: float | None) -> list[Row]:
    rows = unary(
        elementary.Clip,
        lambda x: mg.clip(x, low, high),
        lambda x: np.clip(x, low, high),
        lambda x: torch.clamp(x, low, high),
        distinct(),
        exact=True,
    )
    return named(rows, f"{low}-{high}")


ELEMENTARY = [
    *binary(elementary.Pow, mg.power, np.power, lambda a, b: torch.pow(a, b), left=positive,
            shapes=("outer", "scalar")),
    Row("Pow-number-base", (elementary.Pow,), (Input((2, 3)),), lambda x: 2.0**x,
        lambda x: 2.0**x, lambda x: 2.0**x),
    Row("Pow-negative-base", (elementary.Pow,), (Input((4, 6), off_zero),
        Input((6,), exactly([-3.0, -1, 0, 1, 2, 5]))), mg.power, np.power,
        lambda a, b: torch.pow(a, b), gradient=False),
    *powers(2.5, positive),
    *powers(-1.0, off_zero),
    *powers(0.0, normal),
    *powers(7.0, off_zero, tolerance32=1e-5),
    *clips(-0.375, 0.25),
    *clips(None, 0.25),
    *clips(0.0625, None),
    *clips(0.25, -0.375),
    Row("Clip-large", (elementary.Clip,), (Input((3, 40000)),), lambda x: mg.clip(x, -0.5, 0.5),
        lambda x: np.clip(x, -0.5, 0.5), gradient=False, exact=True),
    Row("Clip-int32", (), (Input((5, 2), integers(-9, 9), "int32"),),
        lambda x: mg.clip(x, -2, 3), lambda x: np.clip(x, -2, 3), gradient=False, half=False),
    *of_several_sizes(elementary.Erf, mg.erf, erf, lambda x: torch.erf(x)),
    Row("Erf-large", (elementary.Erf,), (Input((3, 40001), wide),), mg.erf, erf,
        lambda x: torch.erf(x), gradient=False),
    *of_several_sizes(elementary.Sin, mg.sin, np.sin, lambda x: torch.sin(x)),
    *unary(elementary.Cos, mg.cos, np.cos, lambda x: torch.cos(x)),
    *unary(elementary.Floor, mg.floor, np.floor, lambda x: torch.floor(x), between_integers,
           exact=True),
    *unary(elementary.Ceil, mg.ceil, np.ceil, lambda x: torch.ceil(x), between_integers,
           exact=True),
    *unary(elementary.Round, mg.round, np.rint, lambda x: torch.round(x), between_integers,
           exact=True),
    Row("Round-halves", (elementary.Round,), (Input((6,), exactly(np.arange(6) - 2.5)),),
        mg.round, lambda x: np.array([-2.0, -2, 0, 0, 2, 2]), gradient=False),
    Row("reciprocal", (), (Input((2, 3), positive),), mg.reciprocal, lambda x: 1 / x,
        lambda x: torch.reciprocal(x)),
]  # fmt: skip


# ---- activations


def elu(alpha: float) -> list[Row]:
    rows = unary(
        activation.Elu,
        lambda x: mg.elu(x, alpha),
        lambda x: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))),
        lambda x: F.elu(x, alpha),
        off_zero,
    )
    return named(rows, f"alpha-{alpha:g}")


def gelu(approximate: str, reference: Callable[[Any], Any]) -> list[Row]:
    rows = unary(
        activation.Gelu,
        lambda x: mg.gelu(x, approximate),
        reference,
        lambda x: F.gelu(x, approximate=approximate),
    )
    return named(rows, approximate)


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0.0, x)


def spread(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """From well below -3 to well above 3, away from both."""
    return rng.choice([-4.5, -2.0, -0.5, 1.5, 4.0], shape) + rng.uniform(0.0, 0.5, shape)


EXTREME = exactly([-700.0, -40, -1e-9, 0, 1e-9, 40, 700])
SLOPE = Input((3, 1), positive)

ACTIVATIONS = [
    *elu(1.0),
    *elu(2.5),
    *elu(0.0),
    *gelu("none", lambda x: x * (1 + erf(x / np.sqrt(2))) / 2),
    *gelu("tanh", gelu_tanh),
    *unary(activation.Silu, mg.silu, lambda x: x * sigmoid(x), lambda x: F.silu(x)),
    *unary(activation.HardSwish, mg.hard_swish, lambda x: x * np.clip(x + 3, 0, 6) / 6,
           lambda x: F.hardswish(x), spread),
    *unary(activation.Softplus, mg.softplus, softplus, lambda x: F.softplus(x)),
    *named(unary(activation.Softplus, lambda x: mg.softplus(x, 3.0),
                 lambda x: softplus(3 * x) / 3, lambda x: F.softplus(x, 3.0)), "beta-3"),
    Row("Softplus-extreme", (activation.Softplus,), (Input((7,), EXTREME),), mg.softplus, softplus,
        half=False),
    Row("Silu-extreme", (activation.Silu,), (Input((7,), EXTREME),), mg.silu,
        lambda x: x * sigmoid(x), lambda x: F.silu(x), half=False),
    Row("Elu-extreme", (activation.Elu,), (Input((7,), EXTREME),), mg.elu,
        lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))), lambda x: F.elu(x),
        half=False, gradient=False),
    Row("Silu-several-tasks", (activation.Silu,), (Input((3, 40001)),), mg.silu,
        lambda x: x * sigmoid(x), lambda x: F.silu(x), gradient=False),
    Row("selu", (activation.Elu,), (Input((3, 4), off_zero),), mg.selu,
        lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)),
        lambda x: F.selu(x)),
    Row("hard_sigmoid", (elementary.Clip,), (Input((4, 5), spread),), mg.hard_sigmoid,
        lambda x: np.clip(x / 6 + 0.5, 0, 1), lambda x: F.hardsigmoid(x)),
    Row("mish", (activation.Softplus,), (Input((4, 5)),), mg.mish,
        lambda x: x * np.tanh(softplus(x)), lambda x: F.mish(x)),
    Row("relu6", (), (Input((4, 5), lambda rng, shape: 2 * spread(rng, shape)),), mg.relu6,
        lambda x: np.clip(x, 0, 6), lambda x: F.relu6(x), exact=True),
    Row("prelu", (), (Input((2, 3, 4), off_zero), SLOPE), activation.prelu,
        lambda x, a: np.where(x > 0, x, a * x), lambda x, a: F.prelu(x, a.reshape(3))),
]  # fmt: skip

ROWS = [*ELEMENTARY, *ACTIVATIONS]
