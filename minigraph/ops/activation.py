"""Activations besides ReLU, sigmoid and tanh.

One op each where that is faster or more exact than what it is made of, and where a compiler can
fuse it with the convolution before; the rest are functions of other ops.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from minigraph.ir.errors import SpecError
from minigraph.ir.op import Cotangents, Tensors
from minigraph.ir.tensor import Tensor
from minigraph.ops.elementary import clip, erf
from minigraph.ops.elementwise import Unary, exp, minimum, relu, sigmoid, tanh, where

SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805
"""Klambauer et al. 2017, eq. 14: with them activations keep mean 0 and variance 1."""

TANH_FACTOR = math.sqrt(2.0 / math.pi)
TANH_CUBIC = 0.044715


@dataclass(frozen=True)
class Elu(Unary):
    """``x`` where positive, else ``alpha (e ** x - 1)`` (0 <= alpha, so that the sign survives)."""

    alpha: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "alpha", float(self.alpha) + 0.0)
        if not 0 <= self.alpha < math.inf:
            raise SpecError(f"Expected a finite alpha of zero or more, got {self.alpha}")

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        # Where x <= 0:  y = alpha e^x - alpha,  dy/dx = alpha e^x = y + alpha
        (y,), (g,) = outputs, grads
        return (where(y > 0.0, g, g * (y + self.alpha)),)


@dataclass(frozen=True)
class Softplus(Unary):
    """``log(1 + e ** (beta x)) / beta``, without overflow (0 < beta)."""

    beta: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", float(self.beta))
        if not 0 < self.beta < math.inf:
            raise SpecError(f"Expected a finite positive beta, got {self.beta}")

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        # 1 - e^(-beta y) would be the same in terms of the output, but cancels where y is small.
        return (grads[0] * sigmoid(inputs[0] * self.beta),)


class Silu(Unary):
    """``x sigmoid(x)``"""

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        # y = x s:  dy/dx = s + x s (1 - s) = s + y (1 - s)
        (x,), (y,), (g,) = inputs, outputs, grads
        s = sigmoid(x)
        return (g * (s + y * (1.0 - s)),)


class HardSwish(Unary):
    """``x clip(x / 6 + 1 / 2, 0, 1)``"""

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        (x,), (g,) = inputs, grads
        slope = where(x < 3.0, x * (1.0 / 3.0) + 0.5, 1.0)
        return (where(x > -3.0, g * slope, 0.0),)


@dataclass(frozen=True)
class Gelu(Unary):
    """``x Phi(x)`` with the normal distribution function Phi; ``approximate`` "none" or "tanh"."""

    approximate: str = "none"

    def __post_init__(self) -> None:
        if self.approximate not in ("none", "tanh"):
            raise SpecError(f"Expected 'none' or 'tanh' for approximate, got {self.approximate!r}")

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        (x,), (g,) = inputs, grads
        if self.approximate == "none":
            # Phi(x) = (1 + erf(x / sqrt 2)) / 2,  dPhi/dx = e^(-x^2 / 2) / sqrt(2 pi)
            phi = 0.5 + 0.5 * erf(x * math.sqrt(0.5))
            density = exp(x * x * -0.5) * (1.0 / math.sqrt(2.0 * math.pi))
            return (g * (phi + x * density),)
        # y = x (1 + t) / 2 with t = tanh(u), u = f (x + c x^3):  dt/dx = (1 - t^2) f (1 + 3 c x^2)
        square = x * x
        t = tanh(TANH_FACTOR * (x + TANH_CUBIC * (square * x)))
        inner = TANH_FACTOR * (1.0 + 3.0 * TANH_CUBIC * square)
        return (g * (0.5 + 0.5 * (t + x * ((1.0 - t * t) * inner))),)


# ---- functions


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """``x`` where positive, else ``alpha (e ** x - 1)`` (Clevert et al. 2015, arXiv:1511.07289)."""
    return x.builder.emit(Elu(alpha), x)[0]


def selu(x: Tensor) -> Tensor:
    """``1.0507 elu(x, 1.6733)``: the scaled ELU of Klambauer et al. 2017 (arXiv:1706.02515)."""
    return elu(x, SELU_ALPHA) * SELU_SCALE


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """``x`` times the normal distribution function (Hendrycks and Gimpel 2016, arXiv:1606.08415).

    Exact, through erf, or with ``approximate="tanh"`` their approximation (largest error 5e-4).
    """
    return x.builder.emit(Gelu(approximate), x)[0]


def softplus(x: Tensor, beta: float = 1.0) -> Tensor:
    """``log(1 + e ** (beta x)) / beta``, a smooth ReLU.

    Computed as ``max(x, 0) + log1p(e ** -|beta x|) / beta``, which neither overflows nor cancels:
    torch's ``threshold``, beyond which it gives ``x``, is not needed.
    """
    return x.builder.emit(Softplus(beta), x)[0]


def silu(x: Tensor) -> Tensor:
    """``x sigmoid(x)``, also called swish (Ramachandran et al. 2017, arXiv:1710.05941)."""
    return x.builder.emit(Silu(), x)[0]


def hard_sigmoid(x: Tensor, slope: float = 1.0 / 6.0, offset: float = 0.5) -> Tensor:
    """``clip(slope x + offset, 0, 1)``: torch's by default; ONNX's default slope is 0.2."""
    return clip(x * slope + offset, 0.0, 1.0)


def hard_swish(x: Tensor) -> Tensor:
    """``x hard_sigmoid(x)`` (MobileNetV3: Howard et al. 2019, arXiv:1905.02244)."""
    return x.builder.emit(HardSwish(), x)[0]


def mish(x: Tensor) -> Tensor:
    """``x tanh(softplus(x))`` (Misra 2019, arXiv:1908.08681)."""
    return x * tanh(softplus(x))


def relu6(x: Tensor) -> Tensor:
    """``min(max(x, 0), 6)`` (MobileNet: Howard et al. 2017, arXiv:1704.04861)."""
    return minimum(relu(x), 6.0)


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """``x`` where positive, else ``slope x``; the slope broadcasts (He et al. 2015, 1502.01852).

    ``mg.prelu`` makes the slope as a parameter.
    """
    return where(x > 0.0, x, x * slope)
