"""Functions of floats that are no instruction of the processor.

In float32 they are computed here, on vectors, with errors of one or two units in the last place; in
float64 (which checks, and does not have to be fast) they are the C library's, lane by lane.
"""

from __future__ import annotations

from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.types import INT32, memory_type
from minigraph.backends.llvm.language.value import Value
from minigraph.backends.llvm.language.view import rounded_to_bfloat16
from minigraph.ir.spec import DType


def polynomial(k: Kernel, x: Value, coefficients: tuple[float, ...]) -> Value:
    """``c0 + c1 x + c2 x^2 + ...`` by Horner's rule."""
    result = k.constant(coefficients[-1], x.type)
    for coefficient in reversed(coefficients[:-1]):
        result = k.fma(result, x, k.constant(coefficient, x.type))
    return result


def exp(k: Kernel, x: Value) -> Value:
    """``e ** x``, also where it overflows (inf) or is too small (0).

    x = n ln 2 + r with |r| <= ln 2 / 2, ln 2 in two parts so that r is exact; e^r by its Taylor
    polynomial of degree 7 (error below 1e-8); 2^n in two factors, since 2^128 is no float32.
    """
    if x.type.bits == 64:
        return k.intrinsic("llvm.exp", x)
    clamped = k.minimum(k.maximum(x, -104.0), 89.0)  # not a number stays so
    n = k.round(clamped * 1.4426950408889634)
    r = k.fma(n, k.constant(-0.693359375, x.type), clamped)
    r = k.fma(n, k.constant(2.12194440e-4, x.type), r)
    taylor = (1.0, 1.0, 1 / 2, 1 / 6, 1 / 24, 1 / 120, 1 / 720, 1 / 5040)
    return (
        polynomial(k, r, taylor)
        * _power_of_two(k, n * 0.5)
        * _power_of_two(k, n - k.floor(n * 0.5))
    )


def _power_of_two(k: Kernel, n: Value) -> Value:
    """2 to a whole power, rounded down, of which the result is a normal float32."""
    exponent = k.floor(n).to(INT32) + 127
    return (exponent << 23).bits_as(n.type)


def log(k: Kernel, x: Value) -> Value:
    """The natural logarithm: -inf at 0, not a number below."""
    return k.intrinsic("llvm.log", x)


def sigmoid(k: Kernel, x: Value) -> Value:
    """``1 / (1 + e ** -x)``, of both signs of x without overflow."""
    small = exp(k, -k.absolute(x))
    return (x < 0).select(small, small.like(1.0)) / (small + 1.0)


def tanh(k: Kernel, x: Value) -> Value:
    """The hyperbolic tangent."""
    return k.intrinsic("llvm.tanh", x)


def round_to(k: Kernel, x: Value, dtype: DType) -> Value:
    """A float32 rounded to what a 16-bit float can hold."""
    if x.type.bits != 32:
        raise TypeError(f"Expected float32 to round, got {x.type}")
    if dtype is DType.BFLOAT16:
        return (rounded_to_bfloat16(x) << 16).bits_as(x.type)
    half = memory_type(DType.FLOAT16, x.lanes)
    rounded = x.builder.fpext(x.builder.fptrunc(x.ir, half), x.type.ir)
    return Value(x.builder, rounded, x.type)
