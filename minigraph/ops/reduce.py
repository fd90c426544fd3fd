"""Reductions over axes: sum, mean, max, min, argmax, argmin; and the running sum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minigraph.ir.errors import SpecError
from minigraph.ir.footprint import Footprint
from minigraph.ir.op import Cost, Cotangents, Footprints, Op, Tensors, memory_cost
from minigraph.ir.spec import DType, TensorSpec
from minigraph.ir.tensor import Tensor
from minigraph.ops.arguments import integer, integers, is_integer
from minigraph.ops.broadcast import Sum, normalise_axes, reduced_shape, spread, unreduced_axis
from minigraph.ops.elementwise import cast, equal, where

Axes = int | Sequence[int] | None


@dataclass(frozen=True)
class Mean(Op):
    """Arithmetic mean over some axes (None: all)."""

    axes: tuple[int, ...] | None = None
    keepdims: bool = False

    def infer(self, x: TensorSpec) -> tuple[TensorSpec, ...]:
        if not x.dtype.is_floating:
            raise SpecError(f"Expected a floating dtype, got {x.dtype}: use mg.cast first")
        return (x.with_shape(reduced_shape(x.shape, self.axes, self.keepdims)),)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        (x,), (g,) = inputs, grads
        return (spread(g / count(x, self.axes, x.dtype), x.shape, self.axes),)

    def footprints(self, axis: int, x: TensorSpec) -> Footprints:
        return unreduced_axis(axis, x.ndim, self.axes, self.keepdims)

    def cost(self, x: TensorSpec) -> Cost:
        return memory_cost(x.size, (x,), self.infer(x))


@dataclass(frozen=True)
class Extreme(Op):
    """Largest or smallest element over some axes (None: all); equal ones share the gradient."""

    axes: tuple[int, ...] | None = None
    keepdims: bool = False

    def infer(self, x: TensorSpec) -> tuple[TensorSpec, ...]:
        if x.dtype is DType.BOOL:
            raise SpecError("Expected numbers, got bool: cast them first")
        for axis in normalise_axes(self.axes, x.ndim):
            if x.shape[axis] == 0:
                raise SpecError(f"Expected elements along axis {axis}, got shape {list(x.shape)}")
        return (x.with_shape(reduced_shape(x.shape, self.axes, self.keepdims)),)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        (x,), (y,), (g,) = inputs, outputs, grads
        chosen = equal(x, spread(y, x.shape, self.axes))
        count = reduce_sum(cast(chosen, x.dtype), self.axes, keepdims=self.keepdims)
        return (where(chosen, spread(g / count, x.shape, self.axes), 0.0),)

    def footprints(self, axis: int, x: TensorSpec) -> Footprints:
        return unreduced_axis(axis, x.ndim, self.axes, self.keepdims)

    def cost(self, x: TensorSpec) -> Cost:
        return memory_cost(x.size, (x,), self.infer(x))


class Max(Extreme):
    """Largest element over some axes."""


class Min(Extreme):
    """Smallest element over some axes."""


@dataclass(frozen=True)
class ArgExtreme(Op):
    """Position of the first largest or smallest element along one axis, as int64."""

    axis: int
    keepdims: bool = False

    def infer(self, x: TensorSpec) -> tuple[TensorSpec, ...]:
        (axis,) = normalise_axes(self.axis, x.ndim)
        if x.shape[axis] == 0:
            raise SpecError(f"Expected elements along axis {axis}, got shape {list(x.shape)}")
        return (TensorSpec(reduced_shape(x.shape, (axis,), self.keepdims), DType.INT64),)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        return (None,)

    def footprints(self, axis: int, x: TensorSpec) -> Footprints:
        return unreduced_axis(axis, x.ndim, (self.axis,), self.keepdims)


class ArgMax(ArgExtreme):
    """Position of the first largest element; a NaN is the largest."""


class ArgMin(ArgExtreme):
    """Position of the first smallest element; a NaN is the smallest."""


@dataclass(frozen=True)
class CumSum(Op):
    """Running sum along one axis, from the first element on or (``reverse``) from the last."""

    axis: int
    reverse: bool = False

    def infer(self, x: TensorSpec) -> tuple[TensorSpec, ...]:
        if x.dtype is DType.BOOL:
            raise SpecError("Expected numbers to sum, got bool: cast them first")
        normalise_axes(self.axis, x.ndim)
        return (x,)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        # Element j adds to all sums from j on.
        return (cumsum(grads[0], self.axis, not self.reverse),)

    def footprints(self, axis: int, x: TensorSpec) -> Footprints:
        return None if axis == self.axis % x.ndim else (Footprint(axis),)


@dataclass(frozen=True)
class Count(Op):
    """How many elements a reduction over ``axes`` takes together, as a scalar.

    It keeps a graph right when it is replayed at another shape, where a Python number would not.
    """

    axes: tuple[int, ...] | None = None
    dtype: DType = DType.FLOAT32

    def value(self, x: TensorSpec) -> int:
        return math.prod(x.shape[axis] for axis in normalise_axes(self.axes, x.ndim))

    def infer(self, x: TensorSpec) -> tuple[TensorSpec, ...]:
        normalise_axes(self.axes, x.ndim)
        return (TensorSpec((), self.dtype),)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        return (None,)

    def cost(self, *inputs: TensorSpec) -> Cost:
        return Cost(0, 0, 0)


def _axes(axes: Axes) -> tuple[int, ...] | None:
    if axes is None:
        return None
    return (integer(axes, "an axis"),) if is_integer(axes) else integers(axes, "axes")


def reduce_sum(x: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Sum over some axes (all by default); bool and uint8 are summed in int32."""
    if x.dtype in (DType.BOOL, DType.UINT8):
        x = cast(x, DType.INT32)
    return x.builder.emit(Sum(_axes(axis), keepdims), x)[0]


def reduce_mean(x: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Mean over some axes (all by default)."""
    return x.builder.emit(Mean(_axes(axis), keepdims), x)[0]


def reduce_max(x: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Largest element over some axes (all by default)."""
    return x.builder.emit(Max(_axes(axis), keepdims), x)[0]


def reduce_min(x: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Smallest element over some axes (all by default)."""
    return x.builder.emit(Min(_axes(axis), keepdims), x)[0]


def argmax(x: Tensor, axis: int = 1, keepdims: bool = False) -> Tensor:
    """Position of the first largest element along one axis (classes by default), int64."""
    return x.builder.emit(ArgMax(integer(axis, "an axis"), keepdims), x)[0]


def argmin(x: Tensor, axis: int = 1, keepdims: bool = False) -> Tensor:
    """Position of the first smallest element along one axis (classes by default), int64."""
    return x.builder.emit(ArgMin(integer(axis, "an axis"), keepdims), x)[0]


def cumsum(x: Tensor, axis: int, reverse: bool = False) -> Tensor:
    """Running sum along one axis; with ``reverse`` it begins at the last element."""
    return x.builder.emit(CumSum(integer(axis, "an axis"), bool(reverse)), x)[0]


def count(x: Tensor, axis: Axes = None, dtype: Any = DType.FLOAT32) -> Tensor:
    """The number of elements that a reduction over ``axis`` takes together, as a scalar."""
    return x.builder.emit(Count(_axes(axis), DType.of(dtype)), x)[0]
