"""Elements chosen by integer tensors: gather, take along an axis, their adjoints, and one-hot.

An index may be negative, as in NumPy. One outside of its axis is refused at run time with its value
and place, before any state is written. Sums are taken in the order of the indices, whatever the
number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from minigraph.ir.errors import SpecError
from minigraph.ir.footprint import Footprint
from minigraph.ir.op import Cost, Cotangents, Footprints, Op, Tensors, memory_cost
from minigraph.ir.spec import DType, DTypeLike, TensorSpec
from minigraph.ir.tensor import Tensor
from minigraph.ops.arguments import integer
from minigraph.ops.broadcast import normalise_axes
from minigraph.ops.shape import zeros_like


@dataclass(frozen=True)
class Indexed(Op):
    """What the ops share: indices along one axis."""

    axis: int

    may_refuse = True

    def check_indices(self, indices: TensorSpec) -> None:
        if not indices.dtype.is_integer:
            raise SpecError(f"Expected integer indices, got {indices.dtype}: use mg.cast first")

    def check_elements(self, x: TensorSpec, indices: TensorSpec) -> None:
        """Indices of single elements have the shape of ``x`` but for the axis."""
        self.check_indices(indices)
        (axis,) = normalise_axes(self.axis, x.ndim)
        if _without(x.shape, axis) != _without(indices.shape, axis) or x.ndim != indices.ndim:
            raise SpecError(
                f"Expected indices of the shape {list(x.shape)} but for axis {axis}, "
                f"got {list(indices.shape)}"
            )


class Gather(Indexed):
    """(x, indices) gives ``numpy.take``: the axis is replaced by those of the indices."""

    def infer(self, x: TensorSpec, indices: TensorSpec) -> tuple[TensorSpec, ...]:
        self.check_indices(indices)
        (axis,) = normalise_axes(self.axis, x.ndim)
        return (x.with_shape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])),)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        x, indices = inputs
        axis = self.axis % x.ndim
        return index_add(zeros_like(x), indices, grads[0], axis), None

    def footprints(self, axis: int, x: TensorSpec, indices: TensorSpec) -> Footprints:
        own = self.axis % x.ndim
        if axis < own:
            return Footprint(axis), None
        if axis < own + indices.ndim:
            return None, Footprint(axis - own)
        return Footprint(axis - indices.ndim + 1), None

    def cost(self, x: TensorSpec, indices: TensorSpec) -> Cost:
        return _moves(self.infer(x, indices)[0], indices)


class IndexAdd(Indexed):
    """(x, indices, updates) gives x with slices added: the adjoint of Gather."""

    def infer(
        self, x: TensorSpec, indices: TensorSpec, updates: TensorSpec
    ) -> tuple[TensorSpec, ...]:
        (expected,) = Gather(self.axis).infer(x, indices)
        if updates != expected:
            raise SpecError(f"Expected updates {expected}, got {updates}")
        _check_numbers(x)
        return (x,)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        return grads[0], None, gather(grads[0], inputs[1], self.axis)

    def footprints(
        self, axis: int, x: TensorSpec, indices: TensorSpec, updates: TensorSpec
    ) -> Footprints:
        own = self.axis % x.ndim
        if axis == own:
            return None
        beside = axis if axis < own else axis + indices.ndim - 1
        return Footprint(axis), None, Footprint(beside)

    def cost(self, x: TensorSpec, indices: TensorSpec, updates: TensorSpec) -> Cost:
        return memory_cost(updates.size, (x, indices, updates), (x,))


class TakeAlongAxis(Indexed):
    """(x, indices) gives ``numpy.take_along_axis``: element by element, along one axis."""

    def infer(self, x: TensorSpec, indices: TensorSpec) -> tuple[TensorSpec, ...]:
        self.check_elements(x, indices)
        return (x.with_shape(indices.shape),)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        x, indices = inputs
        return scatter_add(zeros_like(x), indices, grads[0], self.axis), None

    def footprints(self, axis: int, x: TensorSpec, indices: TensorSpec) -> Footprints:
        return None if axis == self.axis % x.ndim else Footprint(axis), Footprint(axis)

    def cost(self, x: TensorSpec, indices: TensorSpec) -> Cost:
        return _moves(self.infer(x, indices)[0], indices)


class ScatterAdd(Indexed):
    """(x, indices, updates) gives x with elements added: the adjoint of TakeAlongAxis."""

    def infer(
        self, x: TensorSpec, indices: TensorSpec, updates: TensorSpec
    ) -> tuple[TensorSpec, ...]:
        self.check_elements(x, indices)
        if updates != x.with_shape(indices.shape):
            raise SpecError(f"Expected updates {x.with_shape(indices.shape)}, got {updates}")
        _check_numbers(x)
        return (x,)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        return grads[0], None, take_along_axis(grads[0], inputs[1], self.axis)

    def footprints(
        self, axis: int, x: TensorSpec, indices: TensorSpec, updates: TensorSpec
    ) -> Footprints:
        return None if axis == self.axis % x.ndim else (Footprint(axis),) * 3

    def cost(self, x: TensorSpec, indices: TensorSpec, updates: TensorSpec) -> Cost:
        return memory_cost(updates.size, (x, indices, updates), (x,))


@dataclass(frozen=True)
class OneHot(Op):
    """1 where the new axis's position is the label, else 0; no gradient."""

    classes: int
    axis: int = 1
    dtype: DType = DType.FLOAT32

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", DType.of(self.dtype))
        if self.classes < 1:
            raise SpecError(f"Expected one class or more, got {self.classes}")

    def infer(self, labels: TensorSpec) -> tuple[TensorSpec, ...]:
        if not labels.dtype.is_integer:
            raise SpecError(f"Expected integer labels, got {labels.dtype}: use mg.cast first")
        (axis,) = normalise_axes(self.axis, labels.ndim + 1)
        shape = (*labels.shape[:axis], self.classes, *labels.shape[axis:])
        return (TensorSpec(shape, self.dtype),)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        return (None,)

    def footprints(self, axis: int, labels: TensorSpec) -> Footprints:
        own = self.axis % (labels.ndim + 1)
        return None if axis == own else (Footprint(axis - (axis > own)),)


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], *shape[axis + 1 :])


def _check_numbers(x: TensorSpec) -> None:
    if x.dtype is DType.BOOL:
        raise SpecError("Expected numbers to add, got bool: cast them first")


def _moves(output: TensorSpec, indices: TensorSpec) -> Cost:
    return Cost(0, output.nbytes, output.nbytes) if output.nbytes else Cost(0, 0, 0)


# ---- functions


def _tensor(indices: Any, beside: Tensor) -> Tensor:
    """Indices as a tensor; those that are no tensor keep their own dtype and are a constant."""
    return indices if isinstance(indices, Tensor) else beside.builder.constant(indices)


def gather(x: Tensor, indices: Any, axis: int = 0) -> Tensor:
    """Slices of ``x`` along one axis, as ``numpy.take`` and ONNX's Gather: indices of any shape.

    An index in ``[-n, 0)`` counts from the end; any other outside ``[0, n)`` raises
    IllegalIndexError at run time.
    """
    return x.builder.emit(Gather(integer(axis, "an axis")), x, _tensor(indices, x))[0]


def index_add(x: Tensor, indices: Any, updates: Tensor, axis: int = 0) -> Tensor:
    """``x`` with slices added: update i at index i, one after the other. The adjoint of gather.

    As torch's ``index_add``, with indices of any shape. Raises IllegalIndexError at run time.
    """
    op = IndexAdd(integer(axis, "an axis"))
    return x.builder.emit(op, x, _tensor(indices, x), updates)[0]


def take_along_axis(x: Tensor, indices: Any, axis: int) -> Tensor:
    """``y[i, j, k] = x[i, indices[i, j, k], k]`` (here for axis 1), as NumPy's of that name.

    Torch's ``gather`` and ONNX's GatherElements. The indices have the shape of ``x`` but for the
    axis. Raises IllegalIndexError at run time.
    """
    return x.builder.emit(TakeAlongAxis(integer(axis, "an axis")), x, _tensor(indices, x))[0]


def scatter_add(x: Tensor, indices: Any, updates: Tensor, axis: int) -> Tensor:
    """``x`` after ``x[i, indices[i, j, k], k] += updates[i, j, k]`` for all places (here axis 1).

    Torch's ``scatter_add``; the adjoint of ``take_along_axis``. Raises IllegalIndexError at run
    time.
    """
    op = ScatterAdd(integer(axis, "an axis"))
    return x.builder.emit(op, x, _tensor(indices, x), updates)[0]


def one_hot(
    labels: Tensor, classes: int, axis: int = 1, dtype: DTypeLike = DType.FLOAT32
) -> Tensor:
    """Labels (N,...) as (N,classes,...): 1 at the label's class, else 0. No gradient.

    A label that is no class, void for one, gives zeros. ``axis=-1`` puts the classes last.
    """
    op = OneHot(integer(classes, "classes"), integer(axis, "an axis"), DType.of(dtype))
    return labels.builder.emit(op, labels)[0]
