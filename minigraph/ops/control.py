"""Ops that say something about a value and compute nothing."""

from __future__ import annotations

from dataclasses import dataclass

from minigraph.ir.errors import SpecError
from minigraph.ir.footprint import Footprint
from minigraph.ir.op import Cost, Cotangents, Footprints, Op, Tensors
from minigraph.ir.spec import TensorSpec
from minigraph.ir.tensor import Tensor
from minigraph.ops.elementwise import cast


@dataclass(frozen=True)
class StopGradient(Op):
    """Its input, as a constant to autodiff."""

    is_view = True

    def infer(self, x: TensorSpec) -> tuple[TensorSpec, ...]:
        return (x,)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        return (None,)

    def footprints(self, axis: int, x: TensorSpec) -> Footprints:
        return (Footprint(axis),)

    def cost(self, *inputs: TensorSpec) -> Cost:
        return Cost(0, 0, 0)


@dataclass(frozen=True)
class WhenTraining(Op):
    """The first operand in training, the second in inference: how one function serves both.

    A pass replaces it before anything is run.
    """

    def infer(self, training: TensorSpec, inference: TensorSpec) -> tuple[TensorSpec, ...]:
        if training != inference:
            raise SpecError(f"Expected equal specs, got {training} and {inference}")
        return (training,)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        # Each operand gets the cotangent in its own mode: mg.gradients within a model function
        # is taken before it is known which of the two it will be.
        (g,) = grads
        zero = g.builder.full(g.shape, 0.0, g.dtype)
        emit = g.builder.emit
        return emit(WhenTraining(), g, zero)[0], emit(WhenTraining(), zero, g)[0]

    def cost(self, *inputs: TensorSpec) -> Cost:
        return Cost(0, 0, 0)


def stop_gradient(x: Tensor) -> Tensor:
    """``x`` without a gradient."""
    return x.builder.emit(StopGradient(), x)[0]


def when_training(training: Tensor, inference: Tensor) -> Tensor:
    """``training`` in a training step, ``inference`` otherwise (cast to the same dtype)."""
    return training.builder.emit(WhenTraining(), training, cast(inference, training.dtype))[0]
