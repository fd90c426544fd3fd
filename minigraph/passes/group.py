"""Nodes that become one fused node."""

from __future__ import annotations

from dataclasses import dataclass

from minigraph.ir.graph import Graph, Node, Value
from minigraph.ir.spec import TensorSpec
from minigraph.ir.tensor import Tensor
from minigraph.ops.elementwise import Elementwise
from minigraph.ops.fused import Body, Fused, Instruction
from minigraph.passes.rewrite import Emitter


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
        inside = {node.outputs[0] for node in self.nodes}
        read = dict.fromkeys(value for node in self.nodes for value in node.inputs)
        return tuple(value for value in read if value not in inside)

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
        operands = self.operands
        number = {value: i for i, value in enumerate(operands)}
        number |= {node.outputs[0]: len(operands) + i for i, node in enumerate(self.nodes)}
        instructions = tuple(
            Instruction(node.op, tuple(number[value] for value in node.inputs))
            for node in self.nodes
        )
        return Body(len(operands), instructions, tuple(number[value] for value in self.results))

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
