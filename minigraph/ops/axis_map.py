"""Sparse linear maps along one axis, and their adjoints: what resizing and padding are made of.

Output ``o`` of such a map is a weighted sum of a few inputs, its taps::

    y[..., o, ...] = sum_t weight[t][o] * x[..., source[t][o], ...]

The adjoint sends each cotangent back along the same taps, and the adjoint's gradient is the map:
the set is closed. A map of several axes is one op an axis.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np

from minigraph.ir.errors import SpecError
from minigraph.ir.footprint import Footprint
from minigraph.ir.op import Cost, Cotangents, Footprints, Op, Tensors, memory_cost
from minigraph.ir.spec import TensorSpec

Taps = tuple[np.ndarray, np.ndarray | None]
"""Sources (taps, outputs) as integers, and weights (taps, outputs) in float64.

No weights: one tap, weight 1, elements are only moved. A tap of weight 0 is no tap.
"""


@dataclass(frozen=True)
class AxisMap(Op):
    """What the maps share: the axis (from the front), and how the map is told its taps."""

    axis: int

    @abstractmethod
    def output_size(self, size: int) -> int:
        """The output's size along the axis. Raises SpecError for sizes that it cannot map."""

    @abstractmethod
    def taps(self, size: int) -> Taps:
        """The map for an input of this size along the axis."""

    @property
    def moves_only(self) -> bool:
        """True where every output is one input: then all dtypes will do."""
        return True

    def infer(self, x: TensorSpec) -> tuple[TensorSpec, ...]:
        _check_axis(self.axis, x)
        if not self.moves_only and not x.dtype.is_floating:
            raise SpecError(f"Expected a floating dtype, got {x.dtype}: use mg.cast first")
        return (_resized(x, self.axis, self.output_size(x.shape[self.axis])),)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        op = AxisMapAdjoint(self, inputs[0].shape[self.axis])
        return grads[0].builder.emit(op, grads[0])

    def footprints(self, axis: int, x: TensorSpec) -> Footprints:
        return (Footprint(axis),) if axis != self.axis else self.along_axis(x.shape[axis])

    def along_axis(self, size: int) -> Footprints:
        """The footprints along the axis itself, for an input of this size; None as everywhere."""
        return None

    def cost(self, x: TensorSpec) -> Cost:
        outputs = self.infer(x)
        return memory_cost(0 if self.moves_only else 4 * outputs[0].size, (x,), outputs)


@dataclass(frozen=True)
class AxisMapAdjoint(Op):
    """The adjoint of ``map`` for an input of ``size`` along its axis."""

    map: AxisMap
    size: int

    absolute_attributes = ("size",)

    @property
    def absolute_axes(self) -> tuple[int, ...]:
        return (self.map.axis,)

    def infer(self, gy: TensorSpec) -> tuple[TensorSpec, ...]:
        _check_axis(self.map.axis, gy)
        if not gy.dtype.is_floating:
            raise SpecError(f"Expected a floating dtype, got {gy.dtype}: use mg.cast first")
        expected = self.map.output_size(self.size)
        if gy.shape[self.map.axis] != expected:
            raise SpecError(
                f"Expected {expected} elements along axis {self.map.axis}, got {list(gy.shape)}"
            )
        return (_resized(gy, self.map.axis, self.size),)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        return grads[0].builder.emit(self.map, grads[0])

    def footprints(self, axis: int, gy: TensorSpec) -> Footprints:
        return (Footprint(axis),) if axis != self.map.axis else None

    def cost(self, gy: TensorSpec) -> Cost:
        outputs = self.infer(gy)
        return memory_cost(2 * max(gy.size, outputs[0].size), (gy,), outputs)


def _check_axis(axis: int, x: TensorSpec) -> None:
    if not 0 <= axis < x.ndim:
        raise SpecError(f"Expected an axis in [0, {x.ndim}), got {axis}")


def _resized(x: TensorSpec, axis: int, size: int) -> TensorSpec:
    return x.with_shape((*x.shape[:axis], size, *x.shape[axis + 1 :]))
