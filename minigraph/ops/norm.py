"""Channel moments, and batch normalisation built on them."""

from __future__ import annotations

from dataclasses import dataclass

from minigraph.ir.errors import SpecError
from minigraph.ir.op import Cost, Cotangents, Op, Tensors, memory_cost
from minigraph.ir.spec import TensorSpec
from minigraph.ir.tensor import Tensor
from minigraph.ops.broadcast import expand, reshape
from minigraph.ops.elementwise import cast, maximum, sqrt
from minigraph.ops.reduce import count


@dataclass(frozen=True)
class ChannelMoments(Op):
    """Mean and biased variance of each channel: (N,C,...) gives (C,) twice.

    The variance is the mean of squared differences from the mean (two passes), not
    ``E[x^2] - E[x]^2``, which cancels. 16-bit floats give float32 moments.
    """

    def infer(self, x: TensorSpec) -> tuple[TensorSpec, ...]:
        if x.ndim < 2 or not x.dtype.is_floating:
            raise SpecError(f"Expected a floating tensor (N,C,...), got {x}")
        if x.size == 0:
            raise SpecError(f"Expected at least one element, got {x}")
        moment = TensorSpec((x.shape[1],), x.dtype.accumulator)
        return moment, moment

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        # mean = sum(x) / m          dmean/dx = 1 / m
        # var = sum((x - mean)^2)/m  dvar/dx = 2 (x - mean) / m  (the mean's own share sums to 0)
        (x,), (mean, _), (g_mean, g_variance) = inputs, outputs, grads
        m = count(x, _all_but_channels(x), mean.dtype)
        shape = channel_shape(x)
        if g_variance is None:
            share = reshape(g_mean / m, shape)
            return (cast(expand(share, x.shape), x.dtype),)
        centred = cast(x, mean.dtype) - reshape(mean, shape)
        result = centred * reshape(g_variance * 2.0 / m, shape)
        if g_mean is not None:
            result = result + reshape(g_mean / m, shape)
        return (cast(result, x.dtype),)

    def cost(self, x: TensorSpec) -> Cost:
        return memory_cost(4 * x.size, (x,), self.infer(x))


def channel_shape(x: Tensor) -> tuple[int, ...]:
    """The shape in which a vector of channels broadcasts over ``x``."""
    return (1, -1, *(1,) * (x.ndim - 2))


def _all_but_channels(x: Tensor) -> tuple[int, ...]:
    return tuple(axis for axis in range(x.ndim) if axis != 1)


def channel_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel of (N,C,...)."""
    mean, variance = x.builder.emit(ChannelMoments(), x)
    return mean, variance


def unbiased(variance: Tensor, x: Tensor) -> Tensor:
    """The variance of a population estimated from ``x``: times ``m / (m - 1)``."""
    m = count(x, _all_but_channels(x), variance.dtype)
    return variance * (m / maximum(m - 1.0, 1.0))


def normalise(
    x: Tensor, mean: Tensor, variance: Tensor, scale: Tensor, shift: Tensor, epsilon: float
) -> Tensor:
    """``(x - mean) / sqrt(variance + epsilon) * scale + shift`` for each channel."""
    shape = channel_shape(x)
    factor = scale / sqrt(variance + epsilon)
    centred = x - reshape(mean, shape)
    return cast(centred * reshape(factor, shape) + reshape(shift, shape), x.dtype)
