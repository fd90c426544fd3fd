"""Activations of several NumPy calls: how each is computed on a piece."""

from __future__ import annotations

import math

import numpy as np

from minigraph.backends.numpy.error_function import ERF_ROWS, erf
from minigraph.backends.numpy.kernel import Kernel
from minigraph.backends.numpy.pieces import Rows, in_pieces
from minigraph.ops import activation, elementary


def _elu(op: activation.Elu, x: np.ndarray, out: np.ndarray, rows: Rows) -> None:
    """max(x, 0) + alpha * expm1(min(x, 0))"""
    (negative,) = rows[:1]
    np.minimum(x, 0, out=negative)
    np.expm1(negative, out=negative)
    np.multiply(negative, op.alpha, out=negative)
    np.maximum(x, 0, out=out)
    np.add(out, negative, out=out)


def _softplus(op: activation.Softplus, x: np.ndarray, out: np.ndarray, rows: Rows) -> None:
    """max(x, 0) + log1p(e ** -|beta x|) / beta"""
    (power,) = rows[:1]
    np.absolute(x, out=power)
    np.multiply(power, -op.beta, out=power)
    np.exp(power, out=power)
    np.log1p(power, out=power)
    np.divide(power, op.beta, out=power)
    np.maximum(x, 0, out=out)
    np.add(out, power, out=out)


def _silu(op: activation.Silu, x: np.ndarray, out: np.ndarray, rows: Rows) -> None:
    """x / (1 + e ** -x): where the power overflows to infinity the result is 0, as it should be."""
    (power,) = rows[:1]
    np.negative(x, out=power)
    np.exp(power, out=power)
    np.add(power, 1, out=power)
    np.divide(x, power, out=out)


def _hard_swish(op: activation.HardSwish, x: np.ndarray, out: np.ndarray, rows: Rows) -> None:
    (gate,) = rows[:1]
    np.multiply(x, 1 / 6, out=gate)
    np.add(gate, 0.5, out=gate)
    np.maximum(gate, 0, out=gate)
    np.minimum(gate, 1, out=gate)
    np.multiply(x, gate, out=out)


def _gelu(op: activation.Gelu, x: np.ndarray, out: np.ndarray, rows: Rows) -> None:
    """x (1 + erf(x / sqrt 2)) / 2, or with tanh(f (x + c x^3)) for the error function."""
    bell, *scratch = rows[: ERF_ROWS + 1]
    if op.approximate == "none":
        np.multiply(x, math.sqrt(0.5), out=bell)
        erf(bell, bell, scratch)
    else:
        np.multiply(x, x, out=bell)
        np.multiply(bell, activation.TANH_CUBIC, out=bell)
        np.add(bell, 1, out=bell)
        np.multiply(bell, x, out=bell)
        np.multiply(bell, activation.TANH_FACTOR, out=bell)
        np.tanh(bell, out=bell)
    np.add(bell, 1, out=bell)
    np.multiply(bell, 0.5, out=bell)
    np.multiply(bell, x, out=out)


def _erf(op: elementary.Erf, x: np.ndarray, out: np.ndarray, rows: Rows) -> None:
    erf(x, out, rows[:ERF_ROWS])


KERNELS: dict[type, Kernel] = {
    activation.Elu: in_pieces(_elu, 1),
    activation.Softplus: in_pieces(_softplus, 1),
    activation.Silu: in_pieces(_silu, 1),
    activation.HardSwish: in_pieces(_hard_swish, 1),
    activation.Gelu: in_pieces(_gelu, ERF_ROWS + 1),
    elementary.Erf: in_pieces(_erf, ERF_ROWS),
}
