"""Softmax and log-softmax over one axis."""

from __future__ import annotations

from dataclasses import dataclass

from minigraph.ir.errors import SpecError
from minigraph.ir.footprint import Footprint
from minigraph.ir.op import Cost, Cotangents, Footprints, Op, Tensors, memory_cost
from minigraph.ir.spec import TensorSpec
from minigraph.ir.tensor import Tensor
from minigraph.ops.arguments import integer
from minigraph.ops.broadcast import normalise_axes
from minigraph.ops.elementwise import exp
from minigraph.ops.reduce import reduce_sum


@dataclass(frozen=True)
class AlongAxis(Op):
    """A floating op that works along one axis and keeps the spec."""

    axis: int = 1

    def infer(self, x: TensorSpec) -> tuple[TensorSpec, ...]:
        if not x.dtype.is_floating:
            raise SpecError(f"Expected a floating dtype, got {x.dtype}: use mg.cast first")
        (axis,) = normalise_axes(self.axis, x.ndim)
        if x.shape[axis] == 0:
            raise SpecError(f"Expected elements along axis {axis}, got shape {list(x.shape)}")
        return (x,)

    def footprints(self, axis: int, x: TensorSpec) -> Footprints:
        return None if axis == self.axis % x.ndim else (Footprint(axis),)

    def cost(self, x: TensorSpec) -> Cost:
        return memory_cost(5 * x.size, (x,), (x,))


@dataclass(frozen=True)
class Softmax(AlongAxis):
    """``exp(x - max) / sum(exp(x - max))``"""

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        # dy_i/dx_j = y_i (delta_ij - y_j), so gx = y * (g - sum(g * y)).
        (y,), (g,) = outputs, grads
        return (y * (g - reduce_sum(g * y, self.axis, keepdims=True)),)


@dataclass(frozen=True)
class LogSoftmax(AlongAxis):
    """``x - max - log(sum(exp(x - max)))``"""

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        (y,), (g,) = outputs, grads
        return (g - exp(y) * reduce_sum(g, self.axis, keepdims=True),)


def softmax(x: Tensor, axis: int = 1) -> Tensor:
    """Probabilities along one axis (classes by default)."""
    return x.builder.emit(Softmax(integer(axis, "an axis")), x)[0]


def log_softmax(x: Tensor, axis: int = 1) -> Tensor:
    """Logarithms of the softmax along one axis (classes by default)."""
    return x.builder.emit(LogSoftmax(integer(axis, "an axis")), x)[0]
