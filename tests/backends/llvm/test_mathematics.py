"""Elementary functions of the LLVM backend, in units of the last place, to the ends of float32."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import minigraph as mg
from minigraph.backends.llvm import LlvmBackend
from minigraph.backends.llvm.target import host

SPECIAL = np.array(
    [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1e-40, 1.2e-38, 3.4e38, -3.4e38, 1.0, -1.0,
     88.7, 88.73, -87.5, -103.2, -104.5, 0.92, -0.92, 4.0, 1e6, 1e7, 1e30, 0.5, -7.0, 2.5],
    np.float32,
)  # fmt: skip

SMALLEST = np.finfo(np.float32).tiny  # of the normal numbers

FUNCTIONS: dict[str, tuple[Callable, Callable, float]] = {
    "exp": (mg.exp, np.exp, 1.5),
    "log": (mg.log, np.log, 1.5),
    "tanh": (mg.tanh, np.tanh, 3.0),
    "sigmoid": (mg.sigmoid, lambda x: 1 / (1 + np.exp(-x)), 3.0),
    "erf": (mg.erf, np.vectorize(math.erf, otypes=[float]), 2.0),
    "sin": (mg.sin, np.sin, 2.0),
    "cos": (mg.cos, np.cos, 2.0),
    "elu": (mg.elu, lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))), 2.0),
    "softplus": (mg.softplus, lambda x: np.logaddexp(0, x), 3.0),
    "x^2.5": (lambda x: mg.power(x, 2.5), lambda x: np.power(x, 2.5), 1.0),
    "x^-3": (lambda x: mg.power(x, -3.0), lambda x: np.power(x, -3.0), 1.0),
    "x^7": (lambda x: mg.power(x, 7.0), lambda x: np.power(x, 7.0), 1.0),
}
"""Function, reference in float64, and the error allowed in units of the last place."""


def arguments() -> np.ndarray:
    rng = np.random.default_rng(0)
    small, large = rng.standard_normal((2, 5000))
    positive = np.exp(rng.uniform(-100, 88, 5000))
    parts = [small, 30 * large, positive, -positive, rng.uniform(-1e6, 1e6, 5000)]
    return np.concatenate([SPECIAL, *parts]).astype(np.float32)


@pytest.mark.parametrize("target", ["host", "avx2", "sse4"])
def test_errors_and_special_numbers(target: str) -> None:
    if target != "host" and not host().is_x86:
        pytest.skip("older x86 processors")
    x = arguments()
    model = mg.compile(
        lambda x: {name: f(x) for name, (f, _, _) in FUNCTIONS.items()},
        {"x": mg.TensorSpec(x.shape)},
        backend=LlvmBackend(2, target),
    )
    got = model(x=x)
    for name, (_, reference, bound) in FUNCTIONS.items():
        with np.errstate(all="ignore"):
            exact = reference(x.astype(np.float64))
            rounded = exact.astype(np.float32)
            step = np.spacing(np.maximum(np.abs(rounded), np.float32(1.2e-38)))
            finite = np.isfinite(rounded)
            off = np.abs(got[name].astype(np.float64) - exact)
            # Subnormal numbers become zero, results and steps on the way to slightly larger ones.
            off = np.where(off < 2 * SMALLEST, 0, off)
            error = off[finite] / step[finite]
        np.testing.assert_array_equal(got[name][~finite], rounded[~finite], err_msg=name)
        worst = int(error.argmax())
        assert error[worst] <= bound, (name, x[finite][worst], error[worst])


def test_powers_of_special_numbers() -> None:
    numbers = np.array([0.0, -0.0, 1, -1, 2, -2, 0.5, -0.5, 3, -3, np.inf, -np.inf, np.nan], "f")
    base, exponent = (np.ravel(axis) for axis in np.meshgrid(numbers, numbers))
    spec = mg.TensorSpec(base.shape)
    model = mg.compile(mg.power, {"base": spec, "exponent": spec}, backend=LlvmBackend(1))
    with np.errstate(all="ignore"):
        expected = np.power(base.astype(np.float64), exponent).astype(np.float32)
    (got,) = model(base=base, exponent=exponent).values()
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(np.signbit(got[got == 0]), np.signbit(expected[got == 0]))
