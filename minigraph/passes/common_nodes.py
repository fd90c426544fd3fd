"""Common subexpression elimination."""

from __future__ import annotations

from minigraph.ir.graph import Graph, Node, Value
from minigraph.ir.op import Op
from minigraph.ir.tensor import Tensor
from minigraph.passes.dead_nodes import eliminate_dead_nodes
from minigraph.passes.rewrite import Emitter, rewrite


def merge_common_nodes(graph: Graph) -> Graph:
    """Let nodes of equal op and equal (merged) inputs be one.

    Attributes are normalised at construction, so ``(op, inputs)`` is the key. Two dropouts differ
    by their stream and are never merged.
    """
    seen: dict[tuple[Op, tuple[Value, ...]], Node] = {}

    def rule(emitter: Emitter, graph: Graph, node: Node) -> tuple[Value | Tensor, ...] | None:
        key = (node.op, tuple(emitter.resolve(value).value for value in node.inputs))
        first = seen.setdefault(key, node)
        return None if first is node else first.outputs

    return eliminate_dead_nodes(rewrite(graph, rule))
