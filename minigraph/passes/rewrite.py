"""The rule engine: rebuild a graph node by node, letting a rule replace some."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from minigraph.ir.builder import Builder
from minigraph.ir.graph import Graph, Node, Value
from minigraph.ir.location import Location
from minigraph.ir.op import Op
from minigraph.ir.tensor import Tensor
from minigraph.ops import new_builder

Rule = Callable[["Emitter", Graph, Node], "tuple[Value | Tensor, ...] | None"]
"""Called with each node of the OLD graph, in order. It answers None to keep the node, or what
stands in for its outputs: old values, or tensors that it emitted."""


class Emitter:
    """What a rule emits with. Operands are values of the old graph or tensors emitted before."""

    def __init__(self, builder: Builder, environment: dict[Value, Tensor], node: Node) -> None:
        self._builder = builder
        self._environment = environment
        self._name = node.name

    def emit(
        self, op: Op, *operands: Value | Tensor, name: str | None = None
    ) -> tuple[Tensor, ...]:
        """Append a node; it takes the replaced node's name unless given another."""
        return self._builder.emit(op, *map(self.resolve, operands), name=name or self._name)

    def constant(self, array: object) -> Tensor:
        """A constant, for folded values."""
        return self._builder.constant(array, self._name)

    def full(self, shape: tuple[int, ...], value: float, like: Value) -> Tensor:
        """A tensor of one value with the dtype of ``like``."""
        return self._builder.full(shape, value, like.spec.dtype)

    def stand_in(self, value: Value, tensor: Tensor) -> None:
        """Let a tensor stand in for another node's value, for all that reads it from here on."""
        self._environment[value] = tensor

    def resolve(self, operand: Value | Tensor) -> Tensor:
        """What an old value has become."""
        return self._environment[operand] if isinstance(operand, Value) else operand


def rewrite(
    graph: Graph, rule: Rule, absorbed: Callable[[Node], Sequence[Node]] = lambda n: ()
) -> Graph:
    """Rebuild ``graph``, with ``rule`` applied once to every node, in order.

    Nodes that a replacement absorbs (given by ``absorbed``) hand their locations on to it. Nothing
    is removed: run ``eliminate_dead_nodes`` afterwards. Where the rule replaces nothing, the graph
    itself is returned.
    """
    source = Graph(
        inputs=graph.inputs,
        state=graph.state,
        constants=graph.constants,
        initializers=graph.initializers,
        locations={v: graph.locations.get(v, ()) for v in graph.inputs},
    )
    builder = new_builder(source)
    builder.reserve_names(value.name for node in graph.nodes for value in node.outputs)
    environment = {value: builder.wrap(value) for value in source.values()}
    for node in graph.nodes:
        builder.release_names(value.name for value in node.outputs)
        emitter = Emitter(builder, environment, node)
        with builder.at(_locations(graph, (node, *absorbed(node)))):
            replaced = rule(emitter, graph, node)
        if replaced is None:
            replaced = _keep(builder, graph, environment, node)
        for value, new in zip(node.outputs, replaced, strict=True):
            environment[value] = emitter.resolve(new)
    for name, value in graph.outputs.items():
        builder.output(name, environment[value])
    for name, value in graph.updates.items():
        builder.update(environment[graph.state_by_name[name].value], environment[value])
    built = builder.build()
    # Nodes and values are equal where they are the same object: all were kept, and none is new.
    found, given = ((g.nodes, g.outputs, g.updates) for g in (built, graph))
    return graph if found == given else built


def _keep(
    builder: Builder, graph: Graph, environment: dict[Value, Tensor], node: Node
) -> tuple[Tensor, ...]:
    """The node itself where its inputs are unchanged, else the same op on what they became."""
    inputs = tuple(environment[value].value for value in node.inputs)
    locations = _locations(graph, (node,))
    if inputs != node.inputs:
        outputs = tuple(Value(value.name, value.spec) for value in node.outputs)
        node = Node(node.op, inputs, outputs)
    return builder.keep(node, locations)


def _locations(graph: Graph, nodes: Sequence[Node]) -> tuple[Location, ...]:
    if len(nodes) == 1:
        return graph.locations.get(nodes[0].outputs[0], ())
    found: dict[Location, None] = {}
    for node in nodes:
        found.update(dict.fromkeys(graph.locations.get(node.outputs[0], ())))
    return tuple(found)
