"""Where graphs come from: a model function, run again, or a loaded graph, replayed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from minigraph.compiler import ModelFunction, build_graph
from minigraph.ir.constant import Full
from minigraph.ir.errors import SpecError
from minigraph.ir.graph import Graph, Node, Value
from minigraph.ir.op import Op
from minigraph.ir.spec import TensorSpec
from minigraph.ops import new_builder
from minigraph.ops.broadcast import Expand

_UNBOUND = (Full, Expand)  # their sizes follow from the inputs' in ways that no operand shows


class Source(Protocol):
    """Makes a model's graph for given input specs."""

    def graph_for(self, specs: Mapping[str, TensorSpec]) -> Graph: ...


@dataclass(frozen=True)
class FunctionSource:
    """A model function: run again for every shape, so Python arithmetic on shapes stays right."""

    function: ModelFunction

    def graph_for(self, specs: Mapping[str, TensorSpec]) -> Graph:
        return build_graph(self.function, specs)


@dataclass(frozen=True)
class GraphSource:
    """A graph without its function: replayed, node by node, for another shape."""

    graph: Graph

    def graph_for(self, specs: Mapping[str, TensorSpec]) -> Graph:
        if all(value.spec == specs.get(value.name, value.spec) for value in self.graph.inputs):
            return self.graph
        return replay(self.graph, specs)


def replay(graph: Graph, specs: Mapping[str, TensorSpec]) -> Graph:
    """The same nodes on inputs of other specs.

    Raises SpecError naming a node whose attributes hold sizes of the original shape, or one that
    the new shapes do not fit.
    """
    inputs = tuple(Value(v.name, specs.get(v.name, v.spec)) for v in graph.inputs)
    source = Graph(inputs, graph.state, constants=graph.constants, initializers=graph.initializers)
    builder = new_builder(source)
    environment = {state.value: state.value for state in graph.state}
    environment |= dict(zip(graph.inputs, inputs, strict=True))
    makers: dict[Value, Node] = {}
    for node in graph.nodes:
        new = _replay_node(graph, makers, node, tuple(environment[value] for value in node.inputs))
        makers |= dict.fromkeys(new.outputs, new)
        builder.keep(new, graph.locations.get(node.outputs[0], ()))
        environment |= dict(zip(node.outputs, new.outputs, strict=True))
    for name, value in graph.outputs.items():
        builder.output(name, builder.wrap(environment[value]))
    for name, value in graph.updates.items():
        builder.update(
            builder.wrap(graph.state_by_name[name].value), builder.wrap(environment[value])
        )
    return builder.build()


def _sizes(node: Node, specs: Sequence[TensorSpec]) -> list[object]:
    """What of the operands the node's absolute attributes follow from."""
    axes = node.op.absolute_axes
    if axes is None:
        return list(specs)
    return [tuple(spec.shape[axis] for axis in axes) for spec in specs]


def _replay_node(
    graph: Graph, makers: Mapping[Value, Node], node: Node, inputs: tuple[Value, ...]
) -> Node:
    op = node.op
    if op.following([graph.producer.get(value) for value in node.inputs]) == op:
        op = op.following([makers.get(value) for value in inputs]) or op
        return _inferred(op, node, inputs)
    before, after = [v.spec for v in node.inputs], [v.spec for v in inputs]
    changed = _sizes(node, before) != _sizes(node, after) or isinstance(node.op, _UNBOUND)
    if node.op.absolute_attributes and changed:
        raise SpecError(
            f"Expected {node.op.name} '{node.name}' to work at any shape, got "
            f"{', '.join(f'{a}={getattr(node.op, a)}' for a in node.op.absolute_attributes)} made "
            f"for {', '.join(map(str, before)) or 'another input'}: use the model function for "
            "other shapes"
        )
    return _inferred(op, node, inputs)


def _inferred(op: Op, node: Node, inputs: tuple[Value, ...]) -> Node:
    after = [value.spec for value in inputs]
    try:
        outputs = op.infer(*after)
    except SpecError as error:
        raise SpecError(
            f"{error}\n  in {node.op.name} '{node.name}', replayed on {', '.join(map(str, after))}"
        ) from None
    values = tuple(Value(v.name, spec) for v, spec in zip(node.outputs, outputs, strict=True))
    return Node(op, inputs, values)
