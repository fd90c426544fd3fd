"""Fuse elementwise ops of one shape: every tensor is then read and written once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from minigraph.ir.graph import Graph, Node
from minigraph.ops.elementwise import Elementwise
from minigraph.passes.fuse_epilogue import CanFuse
from minigraph.passes.group import Group, fuse_groups


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
        return fuse_groups(graph, self._groups(graph))

    def _groups(self, graph: Graph) -> Iterator[Group]:
        """Each node, in order, joins the groups of what it reads, where that is legal."""
        group_of: dict[Node, Group] = {}
        for node in graph.nodes:
            if not isinstance(node.op, Elementwise):
                continue
            group = Group(graph, (node,))
            for value in node.inputs:
                producer = graph.producer.get(value)
                other = group_of.get(producer) if producer is not None else None
                if other is None or other.nodes[0] in group.nodes or not _fits(other, node):
                    continue
                joined = group.joined(*other.nodes)
                if self._is_small(joined) and joined.is_legal:
                    group = joined
            group_of.update(dict.fromkeys(group.nodes, group))
        for group in dict.fromkeys(group_of.values()):
            if len(group.nodes) > 1 and self.can_fuse(group.body, group.operand_specs):
                yield group

    def _is_small(self, group: Group) -> bool:
        return max(len(group.nodes), len(group.operands)) <= self.most


def _fits(group: Group, node: Node) -> bool:
    return group.nodes[0].outputs[0].spec.shape == node.outputs[0].spec.shape
