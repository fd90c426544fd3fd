"""Functions of floats that are no instruction of the processor.

In float32 all are computed here, on vectors, with errors of one or two units in the last place. In
float64 (which checks, and does not have to be fast) erf, sine, cosine and power are the C
library's, lane by lane.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.types import FLOAT32, FLOAT64, INT32, INT64, memory_type
from minigraph.backends.llvm.language.value import Value
from minigraph.backends.llvm.language.view import rounded_to_bfloat16
from minigraph.ir.spec import DType


@dataclass(frozen=True)
class _Precision:
    """What the algorithms below need to know of a float type."""

    fraction_bits: int
    bias: int  # of the exponent
    smallest: float  # the exponential of this is 0
    largest: float  # and of this it is infinite
    ln2_high: float  # ln 2 with zeros at the end: a whole number times this is exact
    ln2_low: float  # what is left of it
    exp_degree: int  # of the Taylor polynomials
    log_terms: int
    log1p_terms: int
    sqrt_half: int  # the bits of sqrt(1/2)
    one: int  # the bits of 1


_SINGLE = _Precision(
    23, 127, -104.0, 89.0, 0.693359375, -2.12194440e-4, 7, 5, 8, 0x3F3504F3, 0x3F800000
)
_DOUBLE = _Precision(
    52, 1023, -746.0, 710.0, 6.93147180369123816490e-01, 1.90821492927058770002e-10, 13, 11, 17,
    0x3FE6A09E667F3BCD, 0x3FF0000000000000,
)  # fmt: skip


def _precision(x: Value) -> _Precision:
    return _SINGLE if x.type.bits == 32 else _DOUBLE


def polynomial(k: Kernel, x: Value, coefficients: tuple[float, ...]) -> Value:
    """``c0 + c1 x + c2 x^2 + ...`` by Horner's rule."""
    result = k.constant(coefficients[-1], x.type)
    for coefficient in reversed(coefficients[:-1]):
        result = k.fma(result, x, k.constant(coefficient, x.type))
    return result


# ---- exponentials and logarithms


def exp(k: Kernel, x: Value) -> Value:
    """``e ** x``, also where it overflows (inf) or is too small (0)."""
    p = _precision(x)
    clamped = k.minimum(k.maximum(x, p.smallest), p.largest)  # not a number stays so
    n, r = _without_powers_of_two(k, clamped)
    taylor = tuple(1 / math.factorial(i) for i in range(p.exp_degree + 1))
    # 2^n in two factors: 2^128 is no float32.
    half = k.floor(n * 0.5)
    return polynomial(k, r, taylor) * _power_of_two(half) * _power_of_two(n - half)


def _without_powers_of_two(k: Kernel, x: Value) -> tuple[Value, Value]:
    """x = n ln 2 + r with n whole and |r| <= ln 2 / 2, ln 2 in two parts so that r is exact."""
    p = _precision(x)
    n = k.round(x * (1 / math.log(2)))
    r = k.fma(n, x.like(-p.ln2_high), x)
    return n, k.fma(n, x.like(-p.ln2_low), r)


def _power_of_two(n: Value) -> Value:
    """2 to a whole power, of which the result is a normal number (or 0, just below those)."""
    p = _precision(n)
    integer = INT32 if n.type.bits == 32 else INT64
    return ((n.to(INT32).to(integer) + p.bias) << p.fraction_bits).bits_as(n.type)


def expm1_of_negative(k: Kernel, x: Value) -> Value:
    """``e ** x - 1`` for x of 0 or less, without cancellation near 0.

    With x = n ln 2 + r it is 2^n (e^r - 1) + (2^n - 1), where nothing cancels for n <= 0.
    """
    p = _precision(x)
    n, r = _without_powers_of_two(k, k.maximum(x, -80.0))
    taylor = tuple(1 / math.factorial(i) for i in range(1, p.exp_degree + 2))
    scale = _power_of_two(n)
    return k.fma(polynomial(k, r, taylor) * r, scale, scale - 1.0)


def log(k: Kernel, x: Value) -> Value:
    """The natural logarithm: -inf at 0, not a number below.

    x = 2^e (1 + f) with sqrt(1/2) <= 1 + f < sqrt 2, and with s = f / (2 + f) and R the rest of
    the series: log(1 + f) = 2 (s + s^3 / 3 + s^5 / 5 + ...) = f - (f^2 / 2 - s (f^2 / 2 + R)).
    """
    p = _precision(x)
    integer = (INT32 if x.type.bits == 32 else INT64).with_lanes(x.lanes)
    tiny = x < 2.0 ** (1 - p.bias)
    shift = p.fraction_bits + 1
    bits = tiny.select(x * 2.0**shift, x).bits_as(integer) + (p.one - p.sqrt_half)
    fraction = (bits & ((1 << p.fraction_bits) - 1)) + p.sqrt_half
    exponent = (bits >> p.fraction_bits) - p.bias - tiny.select(bits.like(shift), bits.like(0))
    e = exponent.to(INT32).to(x.type)
    f = fraction.bits_as(x.type) - 1.0
    s = f / (f + 2.0)
    square, half = s * s, f * f * 0.5
    rest = square * polynomial(k, square, _atanh_series(p.log_terms))
    inner = k.fma(s, half + rest, e * p.ln2_low)
    result = k.fma(e, x.like(p.ln2_high), f - (half - inner))
    beyond = x.equals(0).select(x.like(-math.inf), (x < 0).select(x.like(math.nan), x))
    return ((x > 0) & (x < math.inf)).select(result, beyond)


def log1p_below_one(k: Kernel, x: Value) -> Value:
    """``log(1 + x)`` for 0 <= x <= 1: 2 (s + s^3 / 3 + ...) with s = x / (2 + x) <= 1 / 3."""
    s = x / (x + 2.0)
    square = s * s
    series = polynomial(k, square, _atanh_series(_precision(x).log1p_terms))
    return k.fma(s * square, series, s * 2.0)


def _atanh_series(terms: int) -> tuple[float, ...]:
    """``2 / 3, 2 / 5, 2 / 7, ...``: of ``2 atanh(s) = 2 s + s^3 (2 / 3 + 2 / 5 s^2 + ...)``."""
    return tuple(2 / (2 * i + 3) for i in range(terms))


def power(k: Kernel, x: Value, y: Value) -> Value:
    """``x ** y`` as C has it: not a number where x is negative and y is not whole.

    Of float32 in float64, where |x|^y = e^(y log |x|) is right to the last bit and nothing
    overflows early.
    """
    if x.type.bits == 64:
        return k.intrinsic("llvm.pow", x, y)
    wide = exp(k, y.to(FLOAT64) * log(k, k.absolute(x).to(FLOAT64)))
    result = wide.to(FLOAT32)
    whole = k.floor(y).equals(y)
    odd = whole & k.floor(y * 0.5).differs(y * 0.5)
    signed = odd.select(k.copysign(result, x), result)
    refused = (x < 0) & (x > -math.inf) & ~whole & y.equals(y)
    result = refused.select(x.like(math.nan), signed)
    return (y.equals(0) | x.equals(1) | (x.equals(-1) & k.absolute(y).equals(math.inf))).select(
        x.like(1), result
    )


# ---- sigmoids


def sigmoid(k: Kernel, x: Value) -> Value:
    """``1 / (1 + e ** -x)``, of both signs of x without overflow."""
    small = exp(k, -k.absolute(x))
    return (x < 0).select(small, small.like(1.0)) / (small + 1.0)


def tanh(k: Kernel, x: Value) -> Value:
    """The hyperbolic tangent: -t / (2 + t) for positive x, with t = e^(-2 x) - 1."""
    t = expm1_of_negative(k, k.absolute(x) * -2.0)
    return k.copysign(t / (t + 2.0), x)


def erf(k: Kernel, x: Value) -> Value:
    """The error function.

    Up to 0.92 it is x + x P(x^2), from there on 1 - e^-Q(x). P is fitted to erf(x) / x - 1 and Q
    to -log(1 - erf(x)), for the smallest largest error of the result (1.8e-8 and 1.5e-9). From 4
    on the result is 1 to the last bit.
    """
    if x.type.bits == 64:
        return _of_each_lane(k, "erf", x)
    magnitude = k.absolute(x)
    near = k.fma(polynomial(k, x * x, _ERF_NEAR), x, x)
    far = 1.0 - exp(k, -polynomial(k, k.minimum(magnitude, 4.0), _ERF_FAR))
    return (magnitude < 0.92).select(near, k.copysign(far, x))


_ERF_NEAR = (
    0.1283791494637757, -0.37612490307169133, 0.11281759332985505,
    -0.026763956511116117, 0.004988584062942362, -0.000596457934701796,
)  # fmt: skip
_ERF_FAR = (
    0.0001956629500638532, 1.127675681191507, 0.6371821503582892, 0.10393168635240893,
    -0.022226965757861504, 0.0030432294088105403, -0.00019593853077926656,
)  # fmt: skip


def _of_each_lane(k: Kernel, name: str, x: Value) -> Value:
    """A function of the C library, from float64 to float64."""
    scalar = x.type.with_lanes(1)
    function = k.declare(name, scalar.ir, [scalar.ir])
    result = k.zero(x.type)
    for lane in range(x.lanes):
        value = Value(k.builder, k.builder.call(function, [x.lane(lane).ir]), scalar)
        result = result.with_lane(lane, value)
    return result


# ---- sine and cosine


def sin(k: Kernel, x: Value) -> Value:
    """The sine of radians."""
    return _sine(k, x, "llvm.sin", 0)


def cos(k: Kernel, x: Value) -> Value:
    """The cosine of radians: the sine a quarter turn further on."""
    return _sine(k, x, "llvm.cos", 1)


_HALF_PI_HIGH = 1.57079632673412561417  # the first 33 bits of pi / 2
_HALF_PI_LOW = 6.07710050650619224932e-11
_QUICK = 1e6  # up to here the quarter turns have 20 bits, and their product with 33 is exact


def _sine(k: Kernel, x: Value, of_library: str, quarters: int) -> Value:
    """x = n pi / 2 + r, subtracted in float64; then a polynomial for the sine or the cosine of r.

    n counts quarter turns: odd ones change sine for cosine, two change the sign. Numbers beyond
    _QUICK, which no one should have, are left to the C library.
    """
    if x.type.bits == 64:
        return k.intrinsic(of_library, x)
    wide = x.to(FLOAT64)
    n = k.round(wide * (2 / math.pi))
    r = ((wide - n * _HALF_PI_HIGH) - n * _HALF_PI_LOW).to(FLOAT32)
    turns = n.to(INT32) + quarters
    square = r * r
    sine = k.fma(r * square, polynomial(k, square, _alternating(3, 4)), r)
    cosine = k.fma(square, polynomial(k, square, _alternating(2, 5)), r.like(1.0))
    result = (turns & 1).equals(0).select(sine, cosine)
    result = (turns & 2).equals(0).select(result, -result)
    return _corrected(k, result, k.absolute(x) > _QUICK, lambda: k.intrinsic(of_library, x))


def _corrected(k: Kernel, usual: Value, rare: Value, correct: Callable[[], Value]) -> Value:
    """``correct()`` in the lanes where ``rare`` holds; it is run only where there are some."""
    before = k.builder.block
    with k.when(k.any(rare)):
        corrected = rare.select(correct(), usual)
        inside = k.builder.block
    phi = k.builder.phi(usual.type.ir)
    phi.add_incoming(usual.ir, before)
    phi.add_incoming(corrected.ir, inside)
    return Value(k.builder, phi, usual.type)


def _alternating(first: int, terms: int) -> tuple[float, ...]:
    """``-1 / first!, 1 / (first + 2)!, ...``"""
    return tuple((-1) ** (i + 1) / math.factorial(first + 2 * i) for i in range(terms))


# ---- rounding


def round_to(k: Kernel, x: Value, dtype: DType) -> Value:
    """A float32 rounded to what a 16-bit float can hold."""
    if x.type.bits != 32:
        raise TypeError(f"Expected float32 to round, got {x.type}")
    if dtype is DType.BFLOAT16:
        return (rounded_to_bfloat16(x) << 16).bits_as(x.type)
    half = memory_type(DType.FLOAT16, x.lanes)
    rounded = x.builder.fpext(x.builder.fptrunc(x.ir, half), x.type.ir)
    return Value(x.builder, rounded, x.type)
