"""Nodes that become one fused node, and the rewriting that makes them one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from minigraph.ir.graph import Graph, Node, Value
from minigraph.ir.spec import TensorSpec
from minigraph.ir.tensor import Tensor
from minigraph.ops.elementwise import Elementwise
from minigraph.ops.fused import Body, Fused, Instruction
from minigraph.passes.dead_nodes import eliminate_dead_nodes
from minigraph.passes.rewrite import Emitter, rewrite


def operands_of(nodes: Sequence[Node], more: Sequence[Node] = ()) -> tuple[Value, ...]:
    """What ``nodes``, and others that only read, need from outside of ``nodes``, in order."""
    inside = {node.outputs[0] for node in nodes}
    read = dict.fromkeys(value for node in (*nodes, *more) for value in node.inputs)
    return tuple(value for value in read if value not in inside)


def body_of(operands: Sequence[Value], nodes: Sequence[Node], outputs: Sequence[Value]) -> Body:
    """Nodes as a body: operands are numbered first, then the nodes' results."""
    made = (node.outputs[0] for node in nodes)
    number = {value: i for i, value in enumerate((*operands, *made))}
    instructions = tuple(
        Instruction(node.op, tuple(number[value] for value in node.inputs)) for node in nodes
    )
    return Body(len(operands), instructions, tuple(number[value] for value in outputs))


@dataclass(frozen=True, eq=False)
class Group:
    """Nodes of a graph in their order, but an anchor before all elementwise ones.

    A group is run where its last node stood. Values that are read outside become outputs.
    """

    graph: Graph
    nodes: tuple[Node, ...]

    def joined(self, *others: Node) -> Group:
        """With more nodes."""
        position = self.graph.position

        def order(node: Node) -> tuple[bool, int]:
            return isinstance(node.op, Elementwise), position[node]

        return Group(self.graph, tuple(sorted({*self.nodes, *others}, key=order)))

    @property
    def last(self) -> Node:
        return max(self.nodes, key=self.graph.position.__getitem__)

    @property
    def is_legal(self) -> bool:
        """Whether nothing outside of the group reads one of its values before its last node."""
        members, position = set(self.nodes), self.graph.position
        end = position[self.last]
        return not any(
            reader not in members and position[reader] < end
            for node in self.nodes
            for reader in self.graph.users.get(node.outputs[0], ())
        )

    @property
    def operands(self) -> tuple[Value, ...]:
        """What the group reads from outside, in order."""
        return operands_of(self.nodes)

    @property
    def results(self) -> tuple[Value, ...]:
        """Which of its values others need."""
        graph, members = self.graph, set(self.nodes)
        values = (node.outputs[0] for node in self.nodes)
        return tuple(
            value
            for value in values
            if value in graph.results or not members.issuperset(graph.users.get(value, ()))
        )

    @property
    def body(self) -> Body:
        return body_of(self.operands, self.nodes, self.results)

    @property
    def operand_specs(self) -> tuple[TensorSpec, ...]:
        return tuple(value.spec for value in self.operands)

    def emit(self, emitter: Emitter) -> tuple[Value | Tensor, ...]:
        """The fused node, in place of the group's last node; what stands in for its outputs."""
        emitted = emitter.emit(Fused(self.body), *self.operands)
        fused = dict(zip(self.results, emitted, strict=True))
        for value, tensor in fused.items():
            emitter.stand_in(value, tensor)
        return tuple(fused.get(value, value) for value in self.last.outputs)


def fuse_groups(graph: Graph, groups: Iterable[Group]) -> Graph:
    """Each group as one node, where its last node stood."""
    by_last = {group.last: group for group in groups}

    def rule(emitter: Emitter, graph: Graph, node: Node) -> tuple[Value | Tensor, ...] | None:
        return by_last[node].emit(emitter) if node in by_last else None

    def absorbed(node: Node) -> tuple[Node, ...]:
        return by_last[node].nodes if node in by_last else ()

    return eliminate_dead_nodes(rewrite(graph, rule, absorbed))
