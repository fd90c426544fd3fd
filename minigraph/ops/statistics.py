"""Variance, standard deviation, log-sum-exp and norms, as functions of other ops.

What is summed is summed in float32 at least: 16-bit squares would overflow at 256.
"""

from __future__ import annotations

import math

from minigraph.ir.errors import SpecError
from minigraph.ir.tensor import Tensor
from minigraph.ops.broadcast import normalise_axes
from minigraph.ops.control import stop_gradient
from minigraph.ops.elementwise import absolute, cast, equal, exp, log, sqrt, where
from minigraph.ops.reduce import (
    Axes,
    count,
    reduce_max,
    reduce_mean,
    reduce_sum,
)
from minigraph.ops.shape import squeeze


def variance(x: Tensor, axis: Axes = None, correction: int = 0, keepdims: bool = False) -> Tensor:
    """Mean of squared differences from the mean over some axes (all by default).

    The sum is divided by ``count - correction``: 0 gives the variance of the elements (NumPy's
    default), 1 the unbiased estimate (torch's default). Two passes, not ``E[x^2] - E[x]^2``, which
    cancels. Raises SpecError for another correction.
    """
    if correction not in (0, 1):
        raise SpecError(f"Expected a correction of 0 or 1, got {correction!r}")
    wide = cast(x, x.dtype.accumulator)
    centred = wide - reduce_mean(wide, axis, keepdims=True)
    total = reduce_sum(centred * centred, axis, keepdims)
    number = count(x, axis, wide.dtype)
    return cast(total / (number - float(correction)), x.dtype)


def standard_deviation(
    x: Tensor, axis: Axes = None, correction: int = 0, keepdims: bool = False
) -> Tensor:
    """Square root of the variance, which see; gradient 0 where all elements are equal."""
    wide = cast(x, x.dtype.accumulator)
    return cast(_root(variance(wide, axis, correction, keepdims)), x.dtype)


def logsumexp(x: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """``log(sum(e ** x))`` over some axes (all by default), without overflow."""
    # log sum e^x = m + log sum e^(x - m) for any m: the largest x, taken as a constant. Where it is
    # infinite, infinity minus infinity would be NaN, and 0 does as well.
    wide = cast(x, x.dtype.accumulator)
    largest = stop_gradient(reduce_max(wide, axis, keepdims=True))
    shift = where(absolute(largest) < math.inf, largest, 0.0)
    total = log(reduce_sum(exp(wide - shift), axis, keepdims=True)) + shift
    return cast(total if keepdims else squeeze(total, normalise_axes(axis, x.ndim)), x.dtype)


def l1_norm(x: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Sum of absolute values over some axes (all by default); gradient 0 at 0."""
    wide = cast(x, x.dtype.accumulator)
    return cast(reduce_sum(absolute(wide), axis, keepdims), x.dtype)


def l2_norm(x: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Root of the sum of squares over some axes (all by default); gradient 0 at 0."""
    wide = cast(x, x.dtype.accumulator)
    return cast(_root(reduce_sum(wide * wide, axis, keepdims)), x.dtype)


def _root(x: Tensor) -> Tensor:
    """Square root with gradient 0 at 0, where that of ``sqrt`` is infinite."""
    zero = equal(x, 0.0)
    return where(zero, 0.0, sqrt(where(zero, 1.0, x)))
