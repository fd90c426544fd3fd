"""Remove what nothing needs."""

from __future__ import annotations

from minigraph.ir.constant import Constant
from minigraph.ir.graph import Graph


def eliminate_dead_nodes(graph: Graph) -> Graph:
    """Drop nodes that no output and no update depends on, and constants that no node names.

    Inputs and state stay: they are the interface. A graph without dead nodes is returned itself.
    """
    live = set(graph.results)
    kept = []
    for node in reversed(graph.nodes):
        if any(value in live for value in node.outputs):
            kept.append(node)
            live.update(node.inputs)
    kept.reverse()
    digests = {node.op.digest for node in kept if isinstance(node.op, Constant)}
    if len(kept) == len(graph.nodes) and digests.issuperset(graph.constants):
        return graph
    return graph.replace(
        nodes=tuple(kept),
        constants={key: array for key, array in graph.constants.items() if key in digests},
        locations={
            value: graph.locations[value]
            for node in kept
            for value in node.outputs
            if value in graph.locations
        },
    )
