"""Dense layers as convolutions: what makes a classifier fully convolutional.

A dense layer over a flattened map (N,C,H,W) is a convolution whose kernel covers the whole map,
and a dense layer over its (N,units,1,1) is one of 1x1 (Long, Shelhamer and Darrell 2015,
arXiv:1411.4038, section 3.1). Over a larger image the same weights then slide.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minigraph.ir.errors import SpecError
from minigraph.ir.graph import Graph, Node, Value
from minigraph.ir.tensor import Tensor
from minigraph.ops import new_builder
from minigraph.ops.broadcast import reshape
from minigraph.ops.conv import Conv2d
from minigraph.ops.elementwise import Elementwise
from minigraph.ops.matmul import MatMul
from minigraph.ops.random import Dropout
from minigraph.ops.shape import Flatten
from minigraph.passes.dead_nodes import eliminate_dead_nodes
from minigraph.passes.rewrite import Emitter, rewrite


def dense_to_convolution(graph: Graph) -> Graph:
    """Dense layers that follow ``flatten``, and all between and after them, on maps.

    Parameters and outputs keep their shapes: a weight is read as (units,C,H,W), a result is
    flattened at the end. The values are equal but for rounding.
    """
    return eliminate_dead_nodes(rewrite(graph, _Maps().rule))


def to_fully_convolutional(graph: Graph) -> Graph:
    """``dense_to_convolution`` with outputs (N,units,1,1) in place of (N,units).

    Changes the interface. Replayed at a larger image, an output is a map of what the classifier
    says of each window.
    """
    converted = dense_to_convolution(graph)
    builder = new_builder(converted)
    for name, value in converted.outputs.items():
        node = converted.producer.get(value)
        if node is not None and isinstance(node.op, Flatten) and _is_of_units(node.inputs[0]):
            builder.output(name, builder.wrap(node.inputs[0]))
    return eliminate_dead_nodes(builder.build())


def convert_dense_to_convolution(
    weight: np.ndarray, channels: int, height: int, width: int
) -> np.ndarray:
    """A dense weight (units, channels*height*width) as a convolution's (units,C,H,W).

    For weights of a classifier that go into a model written with convolutions. Raises SpecError.
    """
    if weight.ndim != 2 or weight.shape[1] != channels * height * width:
        raise SpecError(
            f"Expected a weight (units, {channels * height * width}) for maps of {channels} x "
            f"{height} x {width}, got {list(weight.shape)}"
        )
    return weight.reshape(weight.shape[0], channels, height, width)


@dataclass
class _Maps:
    """What old values (N,features) are as maps (N,C,H,W): old values, or new tensors."""

    found: dict[Value, Value | Tensor] = field(default_factory=dict)

    def rule(self, emitter: Emitter, graph: Graph, node: Node) -> tuple[Tensor, ...] | None:
        op = node.op
        if isinstance(op, Flatten) and op.start_axis == 1 and node.inputs[0].spec.ndim == 4:
            self.found[node.outputs[0]] = node.inputs[0]
            return None
        if not any(value in self.found for value in node.inputs):
            return None
        builder = emitter.resolve(node.inputs[0]).builder
        with builder.absolute_scope(node.name):
            operands = self._operands(emitter, node)
        if operands is None:
            return None
        (y,) = emitter.emit(Conv2d() if isinstance(op, MatMul) else op, *operands)
        self.found[node.outputs[0]] = y
        return emitter.emit(Flatten(), y)

    def _operands(self, emitter: Emitter, node: Node) -> list[Any] | None:
        """The operands of the node on maps, or None where it stays as it is."""
        first, *rest = node.inputs
        if isinstance(node.op, MatMul):
            if node.op != MatMul(transpose_b=True) or first not in self.found:
                return None
            x = emitter.resolve(self.found[first])
            return [x, reshape(emitter.resolve(rest[0]), (-1, *x.shape[1:]))]
        if isinstance(node.op, Dropout):  # its mask goes by the elements' order, which is the same
            return [self.found[first], *rest] if first in self.found else None
        if not isinstance(node.op, Elementwise) or node.outputs[0].spec.ndim != 2:
            return None
        maps = [emitter.resolve(self.found[v]) for v in node.inputs if v in self.found]
        if any(m.shape[2:] != (1, 1) for m in maps):
            return None  # between flatten and the first dense layer: features, not yet units
        return [
            self.found[v] if v in self.found else _as_channels(emitter.resolve(v))
            for v in node.inputs
        ]


def _is_of_units(value: Value) -> bool:
    """(N,units,1,1)"""
    return value.spec.ndim == 4 and value.spec.shape[2:] == (1, 1)


def _as_channels(x: Tensor) -> Tensor:
    """A scalar, (units,) or (N,units) beside maps (N,units,1,1)."""
    return reshape(x, (*x.shape, 1, 1)) if x.ndim else x
