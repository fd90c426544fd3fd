"""Where the elements of each value lie: strides, and which values lie within another's memory.

Shapes are logical (images are N,C,H,W); memory order is the backend's choice. A node whose op only
renames axes (``Op.is_view``) costs nothing where the operand's elements already lie as the
result's should; elsewhere it is run, as a copy. A backend whose kernels take tensors with gaps
between pixels gets two more: slices that are views, and concatenations whose operands are computed
in place, side by side.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from minigraph.backend import Backend, Slot, Strides, dense_strides
from minigraph.ir.graph import Graph, Node, Value
from minigraph.ops.shape import Concat, Slice, Split


@dataclass(frozen=True, slots=True)
class Alias:
    """A value within the memory of another: whose, and how many bytes from its start."""

    base: Value
    offset: int


@dataclass(frozen=True)
class Layouts:
    """Strides of every value in elements; what lies where; the nodes with nothing left to do."""

    strides: Mapping[Value, Strides]
    aliases: Mapping[Value, Alias]  # bases have memory of their own
    done: frozenset[Node]  # not run

    def root(self, value: Value) -> Value:
        """The value whose memory this one lies in; itself for most."""
        alias = self.aliases.get(value)
        return value if alias is None else alias.base

    def slot(self, slot: Slot, value: Value) -> Slot:
        """The slot of this value's root, as the value sees it."""
        alias = self.aliases.get(value)
        offset = slot.offset + (0 if alias is None else alias.offset)
        return Slot(slot.memory, value.spec, offset, slot.state, self.strides[value])


def assign_layouts(graph: Graph, backend: Backend) -> Layouts:
    """Give every value the backend's memory order, and find what need not be run."""
    return _Assignment(graph, backend).layouts()


class _Assignment:
    def __init__(self, graph: Graph, backend: Backend) -> None:
        self.graph = graph
        self.dense = {v: dense_strides(v.spec, backend.axis_order(v.spec)) for v in graph.values()}
        self.strides = dict(self.dense)
        self.aliases: dict[Value, Alias] = {}
        self.done: set[Node] = set()
        self.takes_gaps = backend.takes_gaps
        self.states = {state.value for state in graph.state}

    def layouts(self) -> Layouts:
        if self.takes_gaps:
            self.place_concatenated()
        for node in self.graph.nodes:
            if node.op.is_view:
                self.see_as_another_shape(node)
            elif self.takes_gaps and isinstance(node.op, Slice | Split):
                self.see_as_slices(node)
        return Layouts(self.strides, self.aliases, frozenset(self.done))

    def see_as_another_shape(self, node: Node) -> None:
        (source,), (result,) = node.inputs, node.outputs
        shape = result.spec.shape
        if shape == source.spec.shape:
            self.strides[result] = self.strides[source]
            self.lie_within(result, source, 0)
            self.done.add(node)
            return
        found = reshaped_strides(source.spec.shape, self.strides[source], shape)
        if found == significant(shape, self.dense[result]):
            self.lie_within(result, source, 0)
            self.done.add(node)

    def see_as_slices(self, node: Node) -> None:
        """A slice of an image is a view where the channels of a pixel still adjoin."""
        (source,) = node.inputs
        places = list(_slices(node))
        channel_step = places[0][1][1] if source.spec.ndim == 4 else 0
        if channel_step != 1 or self.root(source) in self.states:
            return
        strides = self.strides[source]
        for result, (starts, steps) in zip(node.outputs, places, strict=True):
            offset = sum(s * stride for s, stride in zip(starts, strides, strict=True))
            self.strides[result] = tuple(s * t for s, t in zip(steps, strides, strict=True))
            self.lie_within(result, source, offset)
        self.done.add(node)

    def place_concatenated(self) -> None:
        """Operands of a concatenation are computed where they belong in its result.

        All of them must be made by nodes that are run in every call, for this one concatenation.
        """
        varying = set(self.graph.inputs)
        for node in self.graph.nodes:
            if any(value in varying for value in node.inputs):
                varying.update(node.outputs)
        for node in self.graph.nodes:
            if not isinstance(node.op, Concat) or node.outputs[0].spec.ndim != 4:
                continue
            if len(set(node.inputs)) < len(node.inputs):
                continue
            if all(value in varying and self.can_be_placed(value) for value in node.inputs):
                self.place_operands(node)

    def can_be_placed(self, value: Value) -> bool:
        producer = self.graph.producer.get(value)
        if producer is None or value in self.aliases or value in self.graph.updates.values():
            return False
        moves = producer.op.is_view or isinstance(producer.op, Slice | Split | Concat)
        return not moves and producer.outputs[0] is value

    def place_operands(self, node: Node) -> None:
        (result,), axis = node.outputs, node.op.axis % 4  # type: ignore[attr-defined]
        start, strides = 0, self.strides[result]
        for value in node.inputs:
            self.strides[value] = strides
            self.lie_within(value, result, start * strides[axis])
            start += value.spec.shape[axis]
        self.done.add(node)

    def lie_within(self, value: Value, base: Value, elements: int) -> None:
        alias = self.aliases.get(base, Alias(base, 0))
        offset = alias.offset + elements * value.spec.dtype.itemsize
        self.aliases[value] = Alias(alias.base, offset)

    def root(self, value: Value) -> Value:
        alias = self.aliases.get(value)
        return value if alias is None else alias.base


def _slices(node: Node) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Where each output of a slice or split starts, and its steps, along every axis."""
    (source,) = node.inputs
    ndim = source.spec.ndim
    if isinstance(node.op, Slice):
        ranges = node.op.ranges(source.spec)
        yield tuple(r.start for r in ranges), tuple(r.step for r in ranges)
    elif isinstance(node.op, Split):
        start, axis = 0, node.op.axis % ndim
        for size in node.op.sizes:
            yield tuple(start if a == axis else 0 for a in range(ndim)), (1,) * ndim
            start += size


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
