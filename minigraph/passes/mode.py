"""Training and inference are the same user function: these passes pick one of the two.

Both change the interface on purpose, and run before anything is differentiated.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from minigraph.ir.errors import BuilderError
from minigraph.ir.graph import Graph, Node, Value
from minigraph.ir.tensor import Tensor
from minigraph.ops.control import WhenTraining
from minigraph.passes.dead_nodes import eliminate_dead_nodes
from minigraph.passes.rewrite import Emitter, rewrite


def to_training(graph: Graph) -> Graph:
    """Batch statistics, dropout, updates: what a training step computes."""

    def rule(emitter: Emitter, graph: Graph, node: Node) -> tuple[Value | Tensor, ...] | None:
        return (node.inputs[0],) if isinstance(node.op, WhenTraining) else None

    return eliminate_dead_nodes(rewrite(graph, rule))


def to_inference(graph: Graph) -> Graph:
    """Running statistics, no dropout, no updates."""

    def rule(emitter: Emitter, graph: Graph, node: Node) -> tuple[Value | Tensor, ...] | None:
        return (node.inputs[1],) if isinstance(node.op, WhenTraining) else None

    return eliminate_dead_nodes(rewrite(graph.replace(updates={}), rule))


def keep_outputs(graph: Graph, names: Iterable[str]) -> Graph:
    """Only these outputs, with the inputs and the state that they and the updates need.

    A name is that of an output, or of any value of the graph. Raises BuilderError.
    """
    outputs = {}
    for name in names:
        value = graph.outputs.get(name, graph.by_name.get(name))
        if value is None:
            raise BuilderError(_unknown(graph, name))
        outputs[name] = value
    graph = eliminate_dead_nodes(graph.replace(outputs=outputs))
    used = set(graph.results).union(*(node.inputs for node in graph.nodes))
    return graph.replace(
        inputs=tuple(value for value in graph.inputs if value in used),
        state=tuple(s for s in graph.state if s.value in used or s.name in graph.updates),
    )


def with_outputs(graph: Graph, names: Iterable[str]) -> Graph:
    """Values of these names as outputs as well, where there are such values."""
    named = {name: graph.by_name[name] for name in names if name in graph.by_name}
    return graph.replace(outputs={**named, **graph.outputs})


def _unknown(graph: Graph, name: str) -> str:
    close = get_close_matches(name, [*graph.outputs, *graph.by_name], n=5, cutoff=0.4)
    return (
        f"Expected the name of an output or a value, got {name!r}"
        f"{': did you mean ' + ', '.join(close) + '?' if close else ''} "
        f"(outputs: {', '.join(graph.outputs)})"
    )
