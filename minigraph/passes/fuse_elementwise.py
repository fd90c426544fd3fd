"""Fuse elementwise ops of one shape: every tensor is then read and written once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from minigraph.ir.graph import Graph, Node, Value
from minigraph.ir.tensor import Tensor
from minigraph.ops.elementwise import Elementwise
from minigraph.ops.fused import Body, Fused, Instruction
from minigraph.passes.dead_nodes import eliminate_dead_nodes
from minigraph.passes.fuse_epilogue import CanFuse
from minigraph.passes.rewrite import Emitter, rewrite


@dataclass(frozen=True)
class FuseElementwise:
    """Groups of connected elementwise ops with results of one shape, each as one ``Fused``.

    A group is run where its last node stood. That is legal where nothing outside of it reads one of
    its values before: all it needs has then been computed, and all that reads it comes later.
    Values that are read outside become outputs. ``can_fuse`` is the backend's word; ``most`` bounds
    the operands and the instructions of a body. Preserves values to the last bit; 16-bit floats
    are rounded at the outputs instead of after each op.
    """

    can_fuse: CanFuse
    most: int = 24

    def __call__(self, graph: Graph) -> Graph:
        groups = _Grouping(graph, self.most).groups()
        last = {group[-1]: group for group in groups if self._can_fuse(graph, group)}

        def rule(emitter: Emitter, graph: Graph, node: Node) -> tuple[Value | Tensor, ...] | None:
            group = last.get(node)
            if group is None:
                return None
            body, operands, results = _body(graph, group)
            fused = dict(zip(results, emitter.emit(Fused(body), *operands), strict=True))
            for value, tensor in fused.items():
                emitter.stand_in(value, tensor)
            return tuple(fused.get(value, value) for value in node.outputs)

        rewritten = rewrite(graph, rule, absorbed=lambda node: last.get(node, ())[:-1])
        return eliminate_dead_nodes(rewritten)

    def _can_fuse(self, graph: Graph, group: Sequence[Node]) -> bool:
        body, operands, _ = _body(graph, group)
        return bool(self.can_fuse(body, tuple(value.spec for value in operands)))


class _Grouping:
    """Nodes in their order; each joins the groups of what it reads, where that is legal."""

    def __init__(self, graph: Graph, most: int) -> None:
        self.graph = graph
        self.most = most
        self.position = {node: i for i, node in enumerate(graph.nodes)}
        self.group_of: dict[Node, tuple[Node, ...]] = {}

    def groups(self) -> list[tuple[Node, ...]]:
        """Groups of two nodes or more."""
        for node in self.graph.nodes:
            if not isinstance(node.op, Elementwise):
                continue
            group: tuple[Node, ...] = (node,)
            for value in node.inputs:
                producer = self.graph.producer.get(value)
                other = self.group_of.get(producer) if producer is not None else None
                if other is None or other[0] in group or not self.fits(other, node):
                    continue
                joined = tuple(sorted({*other, *group}, key=self.position.__getitem__))
                if len(joined) <= self.most and self.is_legal(joined):
                    group = joined
            for member in group:
                self.group_of[member] = group
        found = dict.fromkeys(self.group_of.values())
        return [group for group in found if len(group) > 1]

    def fits(self, group: tuple[Node, ...], node: Node) -> bool:
        return group[0].outputs[0].spec.shape == node.outputs[0].spec.shape

    def is_legal(self, group: tuple[Node, ...]) -> bool:
        """Few enough operands, and no reader outside of the group before its last node."""
        if len(_operands(group)) > self.most:
            return False
        members, end = set(group), self.position[group[-1]]
        return not any(
            reader not in members and self.position[reader] < end
            for member in group
            for reader in self.graph.users.get(member.outputs[0], ())
        )


def _operands(group: Sequence[Node]) -> tuple[Value, ...]:
    """What a group reads from outside, in order."""
    inside = {node.outputs[0] for node in group}
    read = dict.fromkeys(value for node in group for value in node.inputs)
    return tuple(value for value in read if value not in inside)


def _body(graph: Graph, group: Sequence[Node]) -> tuple[Body, tuple[Value, ...], tuple[Value, ...]]:
    """The group as a body, what it reads, and which of its values others need."""
    operands, members = _operands(group), set(group)
    number = {value: i for i, value in enumerate(operands)}
    number |= {node.outputs[0]: len(operands) + i for i, node in enumerate(group)}
    instructions = tuple(
        Instruction(node.op, tuple(number[value] for value in node.inputs)) for node in group
    )
    results = tuple(
        node.outputs[0]
        for node in group
        if node.outputs[0] in graph.results
        or not members.issuperset(graph.users.get(node.outputs[0], ()))
    )
    body = Body(len(operands), instructions, tuple(number[value] for value in results))
    return body, operands, results
