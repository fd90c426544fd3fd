"""Ops that move elements without computing: transpose, concat, split, slice, pad, flip, flatten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from minigraph.ir.constant import check_holds
from minigraph.ir.errors import SpecError
from minigraph.ir.footprint import Footprint
from minigraph.ir.op import Cost, Cotangents, Footprints, Op, Tensors, memory_cost
from minigraph.ir.spec import DType, TensorSpec
from minigraph.ir.tensor import Tensor
from minigraph.ops.arguments import integer, integers, is_integer
from minigraph.ops.broadcast import kept_axis, normalise_axes, reshape


def _moves(op: Op, *inputs: TensorSpec) -> Cost:
    outputs = op.infer(*inputs)
    return memory_cost(0, outputs, outputs)


@dataclass(frozen=True)
class Flatten(Op):
    """Merge the axes from ``start_axis`` on into one. A view."""

    start_axis: int = 1

    is_view = True

    def infer(self, x: TensorSpec) -> tuple[TensorSpec, ...]:
        if not 0 <= self.start_axis <= x.ndim:
            raise SpecError(f"Expected a start axis in [0, {x.ndim}], got {self.start_axis}")
        tail = TensorSpec(x.shape[self.start_axis :]).size
        return (x.with_shape((*x.shape[: self.start_axis], tail)),)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        return (reshape(grads[0], inputs[0].shape),)

    def footprints(self, axis: int, x: TensorSpec) -> Footprints:
        return kept_axis(axis, x.shape, self.infer(x)[0].shape)

    def cost(self, *inputs: TensorSpec) -> Cost:
        return Cost(0, 0, 0)


@dataclass(frozen=True)
class Squeeze(Op):
    """Drop axes of size 1. A view."""

    axes: tuple[int, ...]

    is_view = True

    def infer(self, x: TensorSpec) -> tuple[TensorSpec, ...]:
        dropped = normalise_axes(self.axes, x.ndim)
        for axis in dropped:
            if x.shape[axis] != 1:
                raise SpecError(f"Expected size 1 on axis {axis}, got shape {list(x.shape)}")
        return (x.with_shape(tuple(s for axis, s in enumerate(x.shape) if axis not in dropped)),)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        return (reshape(grads[0], inputs[0].shape),)

    def footprints(self, axis: int, x: TensorSpec) -> Footprints:
        return kept_axis(axis, x.shape, self.infer(x)[0].shape)

    def cost(self, *inputs: TensorSpec) -> Cost:
        return Cost(0, 0, 0)


@dataclass(frozen=True)
class ExpandDims(Op):
    """Put axes of size 1 in these places of the *output*. A view."""

    axes: tuple[int, ...]

    is_view = True

    def infer(self, x: TensorSpec) -> tuple[TensorSpec, ...]:
        new = normalise_axes(self.axes, x.ndim + len(self.axes))
        rest = iter(x.shape)
        return (
            x.with_shape(
                tuple(1 if axis in new else next(rest) for axis in range(x.ndim + len(new)))
            ),
        )

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        return (squeeze(grads[0], self.axes),)

    def footprints(self, axis: int, x: TensorSpec) -> Footprints:
        return kept_axis(axis, x.shape, self.infer(x)[0].shape)

    def cost(self, *inputs: TensorSpec) -> Cost:
        return Cost(0, 0, 0)


@dataclass(frozen=True)
class Transpose(Op):
    """Permute the axes: output axis i is input axis ``permutation[i]``."""

    permutation: tuple[int, ...]

    def infer(self, x: TensorSpec) -> tuple[TensorSpec, ...]:
        if sorted(self.permutation) != list(range(x.ndim)):
            raise SpecError(
                f"Expected a permutation of {list(range(x.ndim))}, got {list(self.permutation)}"
            )
        return (x.with_shape(tuple(x.shape[axis] for axis in self.permutation)),)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        inverse = sorted(range(len(self.permutation)), key=self.permutation.__getitem__)
        return (transpose(grads[0], inverse),)

    def footprints(self, axis: int, x: TensorSpec) -> Footprints:
        return (Footprint(self.permutation[axis]),)

    def cost(self, *inputs: TensorSpec) -> Cost:
        return _moves(self, *inputs)


@dataclass(frozen=True)
class Concat(Op):
    """Join tensors along one axis."""

    axis: int = 1

    def infer(self, *inputs: TensorSpec) -> tuple[TensorSpec, ...]:
        if not inputs:
            raise SpecError("Expected at least one tensor to concatenate, got none")
        first = inputs[0]
        (axis,) = normalise_axes(self.axis, first.ndim)
        for position, spec in enumerate(inputs[1:], start=1):
            rest = (*spec.shape[:axis], *spec.shape[axis + 1 :])
            if (
                spec.ndim != first.ndim
                or rest != (*first.shape[:axis], *first.shape[axis + 1 :])
                or spec.dtype is not first.dtype
            ):
                raise SpecError(
                    f"Expected tensors that agree outside axis {axis}, got {first} and "
                    f"{spec} (operand {position})"
                )
        size = sum(spec.shape[axis] for spec in inputs)
        return (first.with_shape((*first.shape[:axis], size, *first.shape[axis + 1 :])),)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        axis = self.axis % outputs[0].ndim
        sizes = tuple(tensor.shape[axis] for tensor in inputs)
        return grads[0].builder.emit(Split(axis, sizes), grads[0])

    def footprints(self, axis: int, *inputs: TensorSpec) -> Footprints:
        joined = axis == self.axis % inputs[0].ndim
        return None if joined else (Footprint(axis),) * len(inputs)

    def cost(self, *inputs: TensorSpec) -> Cost:
        return _moves(self, *inputs)


@dataclass(frozen=True)
class Split(Op):
    """Take a tensor apart along one axis into pieces of the given sizes."""

    axis: int
    sizes: tuple[int, ...]

    absolute_attributes = ("sizes",)

    def infer(self, x: TensorSpec) -> tuple[TensorSpec, ...]:
        (axis,) = normalise_axes(self.axis, x.ndim)
        if sum(self.sizes) != x.shape[axis] or any(size < 0 for size in self.sizes):
            raise SpecError(
                f"Expected sizes that sum to {x.shape[axis]} (axis {axis} of {list(x.shape)}), "
                f"got {list(self.sizes)}"
            )
        head, tail = x.shape[:axis], x.shape[axis + 1 :]
        return tuple(x.with_shape((*head, size, *tail)) for size in self.sizes)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        pieces = [
            zeros_like(output) if grad is None else grad
            for output, grad in zip(outputs, grads, strict=True)
        ]
        return (concat(pieces, self.axis),)

    def footprints(self, axis: int, x: TensorSpec) -> Footprints:
        return None if axis == self.axis % x.ndim else (Footprint(axis),)

    def cost(self, *inputs: TensorSpec) -> Cost:
        return _moves(self, *inputs)


@dataclass(frozen=True)
class Slice(Op):
    """Python's slices, one ``(start, stop, step)`` an axis, step >= 1; None as in Python."""

    slices: tuple[tuple[int | None, int | None, int | None], ...]

    def __post_init__(self) -> None:
        for start, stop, step in self.slices:
            if step is not None and step < 1:
                raise SpecError(f"Expected a step of one or more, got {start}:{stop}:{step}")

    def ranges(self, x: TensorSpec) -> tuple[range, ...]:
        """The positions taken along every axis of ``x``."""
        full = (*self.slices, *[(None, None, None)] * (x.ndim - len(self.slices)))
        return tuple(
            range(*slice(*parts).indices(size)) for parts, size in zip(full, x.shape, strict=True)
        )

    def infer(self, x: TensorSpec) -> tuple[TensorSpec, ...]:
        if len(self.slices) > x.ndim:
            raise SpecError(f"Expected at most {x.ndim} slices, got {len(self.slices)}")
        return (x.with_shape(tuple(len(positions) for positions in self.ranges(x))),)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        # The adjoint puts each element back where it came from: zeros between and around.
        low, high, interior = [], [], []
        for positions, size in zip(self.ranges(inputs[0].spec), inputs[0].shape, strict=True):
            count, step = len(positions), positions.step
            reach = 0 if count == 0 else (count - 1) * step + 1
            low.append(positions.start if count else 0)
            high.append(size - low[-1] - reach)
            interior.append(step - 1)
        op = Pad(tuple(low), tuple(high), tuple(interior))
        return grads[0].builder.emit(op, grads[0])

    def footprints(self, axis: int, x: TensorSpec) -> Footprints:
        taken = self.ranges(x)[axis]
        return (Footprint(axis, taken.step, taken.start, taken.start),)

    def cost(self, *inputs: TensorSpec) -> Cost:
        return _moves(self, *inputs)


@dataclass(frozen=True)
class Pad(Op):
    """Put ``value`` before, after and (``interior`` of them) between the elements of each axis."""

    low: tuple[int, ...]
    high: tuple[int, ...]
    interior: tuple[int, ...]
    value: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", float(self.value) + 0.0)  # -0.0 equals 0.0: be one
        if min((*self.low, *self.high, *self.interior), default=0) < 0:
            raise SpecError(
                f"Expected paddings of zero or more, got low={list(self.low)}, "
                f"high={list(self.high)}, interior={list(self.interior)}"
            )

    def infer(self, x: TensorSpec) -> tuple[TensorSpec, ...]:
        if not len(self.low) == len(self.high) == len(self.interior) == x.ndim:
            raise SpecError(f"Expected {x.ndim} paddings, got {len(self.low)}")
        check_holds(x.dtype, self.value)
        sizes = zip(self.low, self.high, self.interior, x.shape, strict=True)
        return (
            x.with_shape(
                tuple(
                    low + size + max(size - 1, 0) * interior + high
                    for low, high, interior, size in sizes
                )
            ),
        )

    def slices(self, x: TensorSpec) -> tuple[tuple[int, int, int], ...]:
        """Where the elements of ``x`` lie in the output, as ``(start, stop, step)`` an axis."""
        return tuple(
            (low, low + size + max(size - 1, 0) * interior, interior + 1)
            for low, interior, size in zip(self.low, self.interior, x.shape, strict=True)
        )

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        return grads[0].builder.emit(Slice(self.slices(inputs[0].spec)), grads[0])

    def footprints(self, axis: int, x: TensorSpec) -> Footprints:
        # Element j is put at low + j (interior + 1): position i holds it, or the padding value.
        step = self.interior[axis] + 1
        at = Fraction(-self.low[axis], step)
        return (Footprint(axis, Fraction(1, step), at, at),)

    def cost(self, *inputs: TensorSpec) -> Cost:
        return _moves(self, *inputs)


@dataclass(frozen=True)
class Flip(Op):
    """Reverse the order of the elements along some axes."""

    axes: tuple[int, ...]

    def infer(self, x: TensorSpec) -> tuple[TensorSpec, ...]:
        normalise_axes(self.axes, x.ndim)
        return (x,)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        return grads[0].builder.emit(self, grads[0])

    def footprints(self, axis: int, x: TensorSpec) -> Footprints:
        return None if axis in normalise_axes(self.axes, x.ndim) else (Footprint(axis),)

    def cost(self, *inputs: TensorSpec) -> Cost:
        return _moves(self, *inputs)


# ---- functions


def flip(x: Tensor, axes: int | Sequence[int]) -> Tensor:
    """Reverse the order of the elements along some axes."""
    return x.builder.emit(Flip(normalise_axes(axes, x.ndim)), x)[0]


def flatten(x: Tensor, start_axis: int = 1) -> Tensor:
    """Merge the axes from ``start_axis`` on: ``N,C,H,W`` becomes ``N,C*H*W``."""
    return x.builder.emit(Flatten(integer(start_axis, "a start axis")), x)[0]


def squeeze(x: Tensor, axes: int | Sequence[int]) -> Tensor:
    """Drop axes of size 1."""
    return x.builder.emit(Squeeze(normalise_axes(axes, x.ndim)), x)[0]


def expand_dims(x: Tensor, axes: int | Sequence[int]) -> Tensor:
    """Put axes of size 1 in these places of the result (torch's ``unsqueeze``)."""
    count = 1 if is_integer(axes) else len(integers(axes, "axes"))
    return x.builder.emit(ExpandDims(normalise_axes(axes, x.ndim + count)), x)[0] if count else x


def transpose(x: Tensor, permutation: Sequence[int] | None = None) -> Tensor:
    """Permute the axes (reverse them without a permutation)."""
    order = range(x.ndim)[::-1] if permutation is None else permutation
    return x.builder.emit(Transpose(integers(order, "a permutation")), x)[0]


def concat(tensors: Sequence[Tensor], axis: int = 1, name: str | None = None) -> Tensor:
    """Join tensors along one axis (channels by default)."""
    if not tensors:
        raise SpecError("Expected at least one tensor to concatenate, got none")
    return tensors[0].builder.emit(Concat(integer(axis, "an axis")), *tensors, name=name)[0]


def split(x: Tensor, sections: int | Sequence[int], axis: int = 1) -> tuple[Tensor, ...]:
    """Take a tensor apart into equal sections, or into pieces of the given sizes."""
    (axis,) = normalise_axes(axis, x.ndim)
    if is_integer(sections):
        sections = integer(sections, "sections")
        if sections < 1 or x.shape[axis] % sections:
            raise SpecError(
                f"Expected a number of sections that divides {x.shape[axis]}, got {sections}"
            )
        sections = (x.shape[axis] // sections,) * sections
    return x.builder.emit(Split(axis, integers(sections, "sections")), x)


def zeros_like(x: Tensor) -> Tensor:
    """Zeros of the same spec."""
    return full_like(x, 0)


def full_like(x: Tensor, value: bool | int | float) -> Tensor:
    """A tensor of one value with the spec of ``x``."""
    typed = bool(value) if x.dtype is DType.BOOL else value
    return x.builder.full(x.shape, typed, x.dtype)


def getitem(x: Tensor, index: Any) -> Tensor:
    """``x[...]`` with slices, integers and an ellipsis."""
    parts = list(index) if isinstance(index, tuple) else [index]
    if parts.count(Ellipsis) > 1:
        raise SpecError("Expected at most one ellipsis, got several")
    if Ellipsis in parts:
        at = parts.index(Ellipsis)
        parts[at : at + 1] = [slice(None)] * (x.ndim - len(parts) + 1)
    slices: list[tuple[int | None, int | None, int | None]] = []
    dropped = []
    for axis, part in enumerate(parts):
        if isinstance(part, slice):
            start, stop, step = (
                None if bound is None else integer(bound, "a slice")
                for bound in (part.start, part.stop, part.step)
            )
            slices.append((start, stop, step))
        elif is_integer(part) and not isinstance(part, bool):
            part = integer(part, "an index")
            if axis < x.ndim and not -x.shape[axis] <= part < x.shape[axis]:
                raise SpecError(
                    f"Expected an index in [{-x.shape[axis]}, {x.shape[axis]}) on axis {axis}, "
                    f"got {part}"
                )
            slices.append((part, None if part == -1 else part + 1, None))
            dropped.append(axis)
        else:
            raise SpecError(f"Expected slices and integers as an index, got {part!r}")
    (result,) = x.builder.emit(Slice(tuple(slices)), x)
    return squeeze(result, dropped) if dropped else result
