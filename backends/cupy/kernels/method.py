"""What every way of computing a convolution offers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from minigraph.backend import Algorithm
from minigraph.backends.cupy.call import AnyCall, Binding, Context
from minigraph.ir.spec import DType, TensorSpec
from minigraph.lowering.epilogue import anchor_of, anchor_operands
from minigraph.ops.geometry import ConvGeometry


@dataclass(frozen=True)
class Problem:
    """A convolution in one of its directions: what methods decide by."""

    node: Any  # the op, fused or not
    op: Any  # the anchor
    inputs: tuple[TensorSpec, ...]  # of the node
    geometry: ConvGeometry

    @property
    def dtype(self) -> DType:
        return anchor_operands(self.node, self.inputs)[0].dtype

    @staticmethod
    def of(node: Any, inputs: Sequence[TensorSpec]) -> Problem:
        anchor, operands = anchor_of(node), anchor_operands(node, inputs)
        return Problem(node, anchor, tuple(inputs), anchor.geometry(*operands))


@dataclass(frozen=True)
class Method:
    """One way to run an op, fused or not: its name, when it can, and its calls."""

    name: str
    algorithm: Callable[[Problem, Context], Algorithm | None]
    """What it needs and takes, or None where it cannot."""
    calls: Callable[[Binding], Sequence[AnyCall]]
