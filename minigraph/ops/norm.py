"""Moments of channels and of groups of channels, and the normalisations built on them."""

from __future__ import annotations

from dataclasses import dataclass

from minigraph.ir.errors import SpecError
from minigraph.ir.op import Cost, Cotangents, Op, Tensors, memory_cost
from minigraph.ir.spec import TensorSpec
from minigraph.ir.tensor import Tensor
from minigraph.ops.arguments import integer
from minigraph.ops.broadcast import expand, reshape
from minigraph.ops.elementwise import cast, maximum, sqrt
from minigraph.ops.reduce import count, reduce_mean
from minigraph.ops.shape import expand_dims


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


@dataclass(frozen=True)
class GroupMoments(Op):
    """Mean and biased variance of each image's groups of channels: (N,C,...) to (N,C,1,...) twice.

    Each channel gets its group's moments, so that they broadcast over the input. Two passes, in
    float32 at least, as ChannelMoments.
    """

    groups: int

    optional_outputs = (1,)

    def infer(self, x: TensorSpec) -> tuple[TensorSpec, ...]:
        if x.ndim < 2 or not x.dtype.is_floating:
            raise SpecError(f"Expected a floating tensor (N,C,...), got {x}")
        if self.groups < 1 or x.shape[1] % self.groups:
            raise SpecError(
                f"Expected a number of groups that divides {x.shape[1]} channels, got {self.groups}"
            )
        if TensorSpec(x.shape[1:]).size == 0:
            raise SpecError(f"Expected at least one element an image, got {x}")
        shape = (*x.shape[:2], *(1 for _ in x.shape[2:]))
        moment = TensorSpec(shape, x.dtype.accumulator)
        return moment, moment

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        # A group has c channels of p elements. Its mean, sum(x) / (c p), goes to c channels, whose
        # cotangents add up: sum(g_mean) / (c p) = M(g_mean) / p, M being the mean over the group.
        # So for the variance, sum((x - mean)^2) / (c p):
        #   g_x = (M(g_mean) + 2 (x - mean) M(g_variance)) / p
        # (the mean's own share in the variance sums to 0)
        (x,), (mean, _), (g_mean, g_variance) = inputs, outputs, grads
        p = count(x, tuple(range(2, x.ndim)), mean.dtype)
        result = None
        if g_variance is not None:
            centred = cast(x, mean.dtype) - mean
            result = centred * (self._mean(g_variance) * 2.0 / p)
        if g_mean is not None:
            share = self._mean(g_mean) / p
            result = expand(share, x.shape) if result is None else result + share
        assert result is not None
        return (cast(result, x.dtype),)

    def _mean(self, x: Tensor) -> Tensor:
        return x.builder.emit(self, x)[0]

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


def group_norm(
    x: Tensor, groups: int, scale: Tensor, shift: Tensor, epsilon: float = 1e-5
) -> Tensor:
    """Group normalisation of (N,C,...) with a scale and a shift (C,) of your own.

    ``mg.group_norm`` makes them as parameters. One group a channel is instance normalisation.
    """
    mean, variance = x.builder.emit(GroupMoments(integer(groups, "groups")), x)
    shape = channel_shape(x)
    factor = reshape(scale, shape) / sqrt(variance + epsilon)
    return cast((x - mean) * factor + reshape(shift, shape), x.dtype)


def layer_norm(
    x: Tensor, axes: tuple[int, ...], scale: Tensor, shift: Tensor, epsilon: float = 1e-5
) -> Tensor:
    """Layer normalisation over some axes (not negative), with a scale and a shift of their sizes.

    ``mg.layer_norm`` makes them as parameters.
    """
    wide = cast(x, x.dtype.accumulator)
    centred = wide - reduce_mean(wide, axes, keepdims=True)
    variance = reduce_mean(centred * centred, axes, keepdims=True)
    others = [axis for axis in range(x.ndim) if axis not in axes]
    normalised = centred / sqrt(variance + epsilon)
    scaled = normalised * expand_dims(scale, others) + expand_dims(shift, others)
    return cast(scaled, x.dtype)


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
