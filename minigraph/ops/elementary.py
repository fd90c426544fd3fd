"""Elementary functions beyond arithmetic: powers, clipping, rounding, erf, sine and cosine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from minigraph.ir.errors import SpecError
from minigraph.ir.op import Cotangents, Tensors
from minigraph.ir.spec import DType
from minigraph.ir.tensor import Tensor
from minigraph.ops.broadcast import sum_to
from minigraph.ops.elementwise import (
    Binary,
    Unary,
    equal,
    exp,
    greater_equal,
    less_equal,
    log,
    logical_and,
    operands,
    sqrt,
    where,
)
from minigraph.ops.elementwise import maximum as larger
from minigraph.ops.elementwise import minimum as smaller


class Pow(Binary):
    """``a ** b`` of floating tensors; NaN for a negative base with a broken exponent."""

    def result(self, dtype: DType) -> DType:
        if not dtype.is_floating:
            raise SpecError(
                f"Expected a floating dtype for a power, got {dtype}: use mg.cast first"
            )
        return dtype

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        # dy/da = b a^(b-1),  dy/db = y log(a).
        # As in torch: at b = 0, dy/da is 0 even for a = 0; and at a = 0, dy/db is 0 for b >= 0,
        # where y log(a) has the limit 0. The operands are replaced there, and not the results:
        # 0 times an infinite derivative would make the second gradient NaN.
        (a, b), (y,), (g,) = inputs, outputs, grads
        zero = equal(a, 0.0)
        ga = g * (b * power(a, where(logical_and(zero, equal(b, 0.0)), 1.0, b - 1.0)))
        flat = logical_and(zero, greater_equal(b, 0.0))
        gb = where(flat, 0.0, g * (y * log(where(flat, 1.0, a))))
        return sum_to(ga, a.shape), sum_to(gb, b.shape)


@dataclass(frozen=True)
class PowScalar(Unary):
    """``x ** exponent`` with a number as the exponent; at 0 the gradient is 0, even of 0."""

    exponent: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "exponent", float(self.exponent) + 0.0)
        if not math.isfinite(self.exponent):
            raise SpecError(f"Expected a finite exponent, got {self.exponent}")

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        if self.exponent == 0.0:
            return (None,)
        return (grads[0] * (power(inputs[0], self.exponent - 1.0) * self.exponent),)


@dataclass(frozen=True)
class Clip(Unary):
    """``x`` held within bounds; None is no bound. Gradient 1 within and at them, 0 beyond."""

    minimum: float | None = None
    maximum: float | None = None

    def __post_init__(self) -> None:
        for name in ("minimum", "maximum"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, float(value) + 0.0)
                if math.isnan(value):
                    raise SpecError(f"Expected a number as the {name}, got {value}")

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        (x,), (g,) = inputs, grads
        inside = [greater_equal(x, self.minimum)] if self.minimum is not None else []
        if self.maximum is not None:
            inside.append(less_equal(x, self.maximum))
        for condition in inside:
            g = where(condition, g, 0.0)
        return (g,)


class Erf(Unary):
    """The error function, ``2 / sqrt(pi)`` times the integral of ``e ** -t^2`` from 0 to x."""

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        (x,), (g,) = inputs, grads
        return (g * (exp(-(x * x)) * (2.0 / math.sqrt(math.pi))),)


class Sin(Unary):
    """Sine of radians."""

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        return (grads[0] * cos(inputs[0]),)


class Cos(Unary):
    """Cosine of radians."""

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        return (-(grads[0] * sin(inputs[0])),)


class Stepwise(Unary):
    """A function that is constant between its jumps: gradient 0."""

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        return (None,)


class Floor(Stepwise):
    """The largest integer that is not above ``x``."""


class Ceil(Stepwise):
    """The smallest integer that is not below ``x``."""


class Round(Stepwise):
    """The nearest integer; of two, the even one."""


# ---- functions


def power(base: Any, exponent: Any) -> Tensor:
    """``base ** exponent`` with broadcasting, of tensors and numbers.

    Exponents of 1, 2, 3 and 4 multiply (any dtype of numbers), 0.5 is ``mg.sqrt``; other powers
    need floating tensors. A negative base with an exponent that is no integer gives NaN, as in
    NumPy and torch. As in torch, the base's gradient is 0 where the exponent is 0, and the
    exponent's is 0 where the base is 0 and the exponent is not negative.
    """
    if isinstance(base, Tensor) and isinstance(exponent, int | float):
        if exponent in (1, 2, 3, 4):
            return _product(base, int(exponent))
        if base.dtype.is_floating:
            return sqrt(base) if exponent == 0.5 else _power(base, exponent)
    a, b = operands(base, exponent)
    return a.builder.emit(Pow(), a, b)[0]


def _power(x: Tensor, exponent: float) -> Tensor:
    return x.builder.emit(PowScalar(exponent), x)[0]


def _product(x: Tensor, factors: int) -> Tensor:
    result = x
    for _ in range(factors - 1):
        result = result * x
    return result


def clip(x: Tensor, minimum: float | None = None, maximum: float | None = None) -> Tensor:
    """``x`` held within ``[minimum, maximum]``; None is no bound. NaN stays NaN.

    The gradient is 1 within and *at* the bounds (torch's ``clamp``) and 0 beyond. Where the minimum
    is above the maximum, everything is the maximum. Bounds that are tensors: ``mg.minimum`` and
    ``mg.maximum``. Raises SpecError.
    """
    for bound in (minimum, maximum):
        if isinstance(bound, Tensor):
            raise SpecError(
                f"Expected a number as a bound, got {bound!r}: use mg.maximum and mg.minimum"
            )
    if minimum is None and maximum is None:
        raise SpecError("Expected a minimum, a maximum or both, got neither")
    if x.dtype.is_integer:
        x = x if minimum is None else larger(x, minimum)
        return x if maximum is None else smaller(x, maximum)
    return x.builder.emit(Clip(minimum, maximum), x)[0]


def reciprocal(x: Tensor) -> Tensor:
    """``1 / x``"""
    return 1.0 / x


def erf(x: Tensor) -> Tensor:
    """The error function."""
    return x.builder.emit(Erf(), x)[0]


def sin(x: Tensor) -> Tensor:
    """Sine of radians."""
    return x.builder.emit(Sin(), x)[0]


def cos(x: Tensor) -> Tensor:
    """Cosine of radians."""
    return x.builder.emit(Cos(), x)[0]


def floor(x: Tensor) -> Tensor:
    """The largest integer that is not above ``x``, as a float; gradient 0."""
    return x.builder.emit(Floor(), x)[0]


def ceil(x: Tensor) -> Tensor:
    """The smallest integer that is not below ``x``, as a float; gradient 0."""
    return x.builder.emit(Ceil(), x)[0]


def round(x: Tensor) -> Tensor:
    """The nearest integer as a float, of two the even one (as in IEEE 754); gradient 0."""
    return x.builder.emit(Round(), x)[0]
