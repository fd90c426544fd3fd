"""Where the elements of each value lie: strides for every value, and which nodes are views.

Shapes are logical (images are N,C,H,W); memory order is the backend's choice. A node whose op only
renames axes (``Op.is_view``) costs nothing where the operand's elements already lie as the
result's should; elsewhere it is run, as a copy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from minigraph.backend import AxisOrder, Slot, Strides, dense_strides
from minigraph.ir.graph import Graph, Node, Value


@dataclass(frozen=True)
class Layouts:
    """Strides of every value in elements, and the nodes that are views of their operand."""

    strides: Mapping[Value, Strides]
    views: frozenset[Node]

    def slot(self, slot: Slot, value: Value) -> Slot:
        """The slot, as this value sees it."""
        return Slot(slot.memory, value.spec, slot.offset, slot.state, self.strides[value])


def assign_layouts(graph: Graph, axis_order: AxisOrder) -> Layouts:
    """Give every value the backend's memory order, and find the views."""
    strides = {v: dense_strides(v.spec, axis_order(v.spec)) for v in graph.values()}
    views = frozenset(
        node
        for node in graph.nodes
        if node.op.is_view
        and reshaped_strides(
            node.inputs[0].spec.shape, strides[node.inputs[0]], node.outputs[0].spec.shape
        )
        == significant(node.outputs[0].spec.shape, strides[node.outputs[0]])
    )
    return Layouts(strides, views)


def significant(shape: tuple[int, ...], strides: Strides) -> Strides:
    """The strides, with 0 where they say nothing: along axes of one element, and of no elements."""
    if 0 in shape:
        return (0,) * len(shape)
    return tuple(0 if size == 1 else s for size, s in zip(shape, strides, strict=True))


def reshaped_strides(
    shape: tuple[int, ...], strides: Strides, new_shape: tuple[int, ...]
) -> Strides | None:
    """The strides of an array under another shape, or None where that takes a copy.

    Both shapes are cut into the shortest runs of axes with equal products. Within a run the axes
    must lie as one: each stride is the next one's times its size.
    """
    if 0 in shape:
        return (0,) * len(new_shape)
    old = [(size, s) for size, s in zip(shape, strides, strict=True) if size != 1]
    result = [0] * len(new_shape)
    pending = [axis for axis, size in enumerate(new_shape) if size != 1]
    while pending:
        run, group = [pending.pop(0)], [old.pop(0)]
        while (new := math.prod(new_shape[a] for a in run)) != (
            got := math.prod(s for s, _ in group)
        ):
            if new < got:
                run.append(pending.pop(0))
            else:
                group.append(old.pop(0))
        if any(a[1] != b[0] * b[1] for a, b in pairwise(group)):
            return None
        stride = group[-1][1]
        for axis in reversed(run):
            result[axis] = stride
            stride *= new_shape[axis]
    return tuple(result)
