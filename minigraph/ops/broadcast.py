"""Reshape, expand and sum: what broadcasting and its gradient are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from minigraph.ir.errors import SpecError
from minigraph.ir.footprint import Footprint, broadcast_footprint
from minigraph.ir.op import Cost, Cotangents, Footprints, Op, Tensors, memory_cost
from minigraph.ir.spec import DType, TensorSpec, broadcast_shapes
from minigraph.ir.tensor import Tensor
from minigraph.ops.arguments import integer, integers, is_integer


def normalise_axes(axes: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """Axes as sorted non-negative numbers; None means all. Raises SpecError."""
    if axes is None:
        return tuple(range(ndim))
    listed = (integer(axes, "an axis"),) if is_integer(axes) else integers(axes, "axes")
    for axis in listed:
        if not -ndim <= axis < ndim:
            raise SpecError(f"Expected an axis in [{-ndim}, {ndim}), got {axis}")
    wrapped = sorted({axis % ndim for axis in listed})
    if len(wrapped) != len(listed):
        raise SpecError(f"Expected different axes, got {list(listed)}")
    return tuple(wrapped)


@dataclass(frozen=True)
class Reshape(Op):
    """The same elements in another shape; one size may be -1. A view: nothing is copied."""

    shape: tuple[int, ...]

    is_view = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", integers(self.shape, "a shape"))
        if self.shape.count(-1) > 1 or any(size < -1 for size in self.shape):
            raise SpecError(f"Expected sizes with at most one -1, got {list(self.shape)}")

    @property
    def absolute_attributes(self) -> tuple[str, ...]:
        return () if -1 in self.shape else ("shape",)

    def infer(self, x: TensorSpec) -> tuple[TensorSpec, ...]:
        known = math.prod(size for size in self.shape if size != -1)
        if -1 in self.shape:
            if known == 0 or x.size % known:
                raise SpecError(f"Expected a shape for {x.size} elements, got {list(self.shape)}")
            return (x.with_shape(tuple(x.size // known if s == -1 else s for s in self.shape)),)
        if known != x.size:
            raise SpecError(
                f"Expected a shape for {x.size} elements, got {list(self.shape)} for {known}"
            )
        return (x.with_shape(self.shape),)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        return (reshape(grads[0], inputs[0].shape),)

    def footprints(self, axis: int, x: TensorSpec) -> Footprints:
        return kept_axis(axis, x.shape, self.infer(x)[0].shape)

    def cost(self, *inputs: TensorSpec) -> Cost:
        return Cost(0, 0, 0)


@dataclass(frozen=True)
class Expand(Op):
    """NumPy's ``broadcast_to``, materialised."""

    shape: tuple[int, ...]

    absolute_attributes = ("shape",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", integers(self.shape, "a shape"))

    def infer(self, x: TensorSpec) -> tuple[TensorSpec, ...]:
        if broadcast_shapes(x.shape, self.shape) != self.shape:
            raise SpecError(
                f"Expected a shape that broadcasts to {list(self.shape)}, got {list(x.shape)}"
            )
        return (x.with_shape(self.shape),)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        return (sum_to(grads[0], inputs[0].shape),)

    def footprints(self, axis: int, x: TensorSpec) -> Footprints:
        return (broadcast_footprint(axis, x.shape, self.shape),)


@dataclass(frozen=True)
class Sum(Op):
    """Sum over some axes (negative axes count from the end; None means all)."""

    axes: tuple[int, ...] | None = None
    keepdims: bool = False

    def infer(self, x: TensorSpec) -> tuple[TensorSpec, ...]:
        if x.dtype is DType.BOOL:
            raise SpecError("Expected numbers to sum, got bool: cast them first")
        return (x.with_shape(reduced_shape(x.shape, self.axes, self.keepdims)),)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        return (spread(grads[0], inputs[0].shape, self.axes),)

    def footprints(self, axis: int, x: TensorSpec) -> Footprints:
        return unreduced_axis(axis, x.ndim, self.axes, self.keepdims)

    def cost(self, x: TensorSpec) -> Cost:
        return memory_cost(x.size, (x,), self.infer(x))


def reduced_shape(
    shape: tuple[int, ...], axes: tuple[int, ...] | None, keepdims: bool
) -> tuple[int, ...]:
    """Shape after a reduction. Raises SpecError for axes that do not exist."""
    reduced = normalise_axes(axes, len(shape))
    if keepdims:
        return tuple(1 if axis in reduced else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in reduced)


def kept_axis(axis: int, before: tuple[int, ...], after: tuple[int, ...]) -> Footprints:
    """Footprints of a change of shape that leaves this axis of the result as it was."""
    # Elements keep their row-major order, so an axis survives where as many elements lie before it.
    for own, size in enumerate(before):
        if size == after[axis] and math.prod(before[:own]) == math.prod(after[:axis]):
            return (Footprint(own),)
    return None


def unreduced_axis(
    axis: int, ndim: int, axes: tuple[int, ...] | None, keepdims: bool
) -> Footprints:
    """Footprints of a reduction over ``axes`` along another axis of its result."""
    reduced = normalise_axes(axes, ndim)
    left = range(ndim) if keepdims else [a for a in range(ndim) if a not in reduced]
    return None if left[axis] in reduced else (Footprint(left[axis]),)


def reshape(x: Tensor, shape: Sequence[int], name: str | None = None) -> Tensor:
    """The same elements in another shape; one size may be -1."""
    return x if tuple(shape) == x.shape else x.builder.emit(Reshape(tuple(shape)), x, name=name)[0]


def expand(x: Tensor, shape: Sequence[int], name: str | None = None) -> Tensor:
    """Repeat axes of size 1 (and add leading ones) to reach ``shape``, as NumPy broadcasts."""
    return x if tuple(shape) == x.shape else x.builder.emit(Expand(tuple(shape)), x, name=name)[0]


def spread(reduced: Tensor, shape: tuple[int, ...], axes: tuple[int, ...] | None) -> Tensor:
    """Undo a reduction's change of shape: every element gets its group's value."""
    with_ones = reduced_shape(shape, axes, keepdims=True)
    return expand(reshape(reduced, with_ones), shape)


def sum_to(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Sum over the axes along which ``shape`` was broadcast to ``x.shape``: broadcast's adjoint."""
    if x.shape == shape:
        return x
    lead = x.ndim - len(shape)
    repeated = [
        axis for axis, size in enumerate(x.shape) if axis < lead or shape[axis - lead] != size
    ]
    total = x.builder.emit(Sum(tuple(repeated), keepdims=True), x)[0]
    return reshape(total, shape)
