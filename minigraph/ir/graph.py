"""The graph: immutable, in topological order, with state and its updates made explicit."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from minigraph.display import graph_html
from minigraph.ir.attributes import format_fields
from minigraph.ir.location import Location
from minigraph.ir.op import Op
from minigraph.ir.spec import TensorSpec

if TYPE_CHECKING:
    import networkx


NAME = r"[^\s,:(){}=%]+"  # the text form delimits names by what they may not contain


def is_output_name(name: str) -> bool:
    """Whether an output may be called so: its line in the text form stays one line."""
    return bool(name) and name.isprintable() and name == name.strip()


@dataclass(frozen=True, eq=False, slots=True)
class Value:
    """A named value. Identity only: it lives in the graphs that mention it."""

    name: str
    spec: TensorSpec

    def __str__(self) -> str:
        return f"%{self.name}: {self.spec}"


@dataclass(frozen=True, eq=False, slots=True)
class Node:
    """One application of an operation."""

    op: Op
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]

    @property
    def name(self) -> str:
        """A node goes by the name of its first output."""
        return self.outputs[0].name

    def __str__(self) -> str:
        outputs = ", ".join(str(value) for value in self.outputs)
        inputs = ", ".join(f"%{value.name}" for value in self.inputs)
        attributes = format_fields(self.op)
        tail = f" {{{attributes}}}" if attributes else ""
        return f"{outputs} = {self.op.name}({inputs}){tail}"


class Role(Enum):
    """What a state variable is for."""

    PARAMETER = "parameter"
    FROZEN = "frozen"  # a parameter that training leaves alone
    STATISTIC = "statistic"  # running mean or variance
    SLOT = "slot"  # the optimiser's memory of one parameter
    SCALAR = "scalar"  # learning rate, step count
    RANDOM = "random"  # key of the counter-based generator


@dataclass(frozen=True, eq=False, slots=True)
class State:
    """A variable that outlives a call: its value within the graph, and its role."""

    value: Value
    role: Role

    @property
    def name(self) -> str:
        return self.value.name


@dataclass(frozen=True, eq=False)
class Graph:
    """A pure function ``(inputs, state) -> (outputs, new state)``.

    ``updates`` is a parallel assignment: every new state is computed from the old ones. Side data
    (``locations``: where the user built a value; ``initializers``: how a state starts) takes no
    part in equality, text or saved files. Treat the mappings as read-only.
    """

    inputs: tuple[Value, ...] = ()
    state: tuple[State, ...] = ()
    nodes: tuple[Node, ...] = ()
    outputs: Mapping[str, Value] = field(default_factory=dict)
    updates: Mapping[str, Value] = field(default_factory=dict)  # state name -> new value
    constants: Mapping[str, np.ndarray] = field(default_factory=dict)  # content hash -> array
    locations: Mapping[Value, tuple[Location, ...]] = field(default_factory=dict, repr=False)
    initializers: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @cached_property
    def producer(self) -> Mapping[Value, Node]:
        """The node that makes each value (inputs and state have none)."""
        return {value: node for node in self.nodes for value in node.outputs}

    @cached_property
    def position(self) -> Mapping[Node, int]:
        """Each node's place in the order."""
        return {node: i for i, node in enumerate(self.nodes)}

    @cached_property
    def users(self) -> Mapping[Value, tuple[Node, ...]]:
        """The nodes that read each value, each once, in order."""
        users: dict[Value, dict[Node, None]] = {}
        for node in self.nodes:
            for value in node.inputs:
                users.setdefault(value, {})[node] = None
        return {value: tuple(nodes) for value, nodes in users.items()}

    @cached_property
    def results(self) -> frozenset[Value]:
        """Values that leave the graph: outputs and new states."""
        return frozenset(self.outputs.values()) | frozenset(self.updates.values())

    @cached_property
    def by_name(self) -> Mapping[str, Value]:
        """Every value of the graph under its own name."""
        return {value.name: value for value in self.values()}

    @cached_property
    def state_by_name(self) -> Mapping[str, State]:
        return {state.name: state for state in self.state}

    def values(self) -> Iterator[Value]:
        """Inputs, state, then what the nodes make, in order."""
        yield from self.inputs
        yield from (state.value for state in self.state)
        for node in self.nodes:
            yield from node.outputs

    def has_single_use(self, value: Value) -> bool:
        """True where exactly one node reads the value, once, and it does not leave the graph."""
        users = self.users.get(value, ())
        if len(users) != 1 or value in self.results:
            return False
        return users[0].inputs.count(value) == 1

    def replace(self, **changes: Any) -> Graph:
        """A copy with some fields changed."""
        return replace(self, **changes)

    @cached_property
    def dag(self) -> networkx.MultiDiGraph:
        """A networkx view: one vertex per input, state and node; one edge per use of a value.

        Vertices are names; attributes: ``kind`` ("input", "state" or "node"), ``op`` and ``spec``;
        edges carry ``value`` and ``operand`` (the position among the reader's inputs).
        """
        import networkx

        dag = networkx.MultiDiGraph()
        for kind, sources in (("input", self.inputs), ("state", [s.value for s in self.state])):
            for value in sources:
                dag.add_node(value.name, kind=kind, op=None, spec=str(value.spec))
        for node in self.nodes:
            dag.add_node(node.name, kind="node", op=node.op, spec=str(node.outputs[0].spec))
            for operand, value in enumerate(node.inputs):
                maker = self.producer.get(value)
                source = value.name if maker is None else maker.name
                dag.add_edge(source, node.name, value=value.name, operand=operand)
        return dag

    @cached_property
    def structure(self) -> Hashable:
        """All that decides what the graph computes, as nested tuples.

        Names of inputs, state and outputs count (they are the interface); names of the values in
        between do not.
        """
        index = {value: position for position, value in enumerate(self.values())}
        return (
            tuple((value.name, value.spec) for value in self.inputs),
            tuple((state.name, state.value.spec, state.role) for state in self.state),
            tuple(
                (node.op, tuple(index[v] for v in node.inputs), tuple(v.spec for v in node.outputs))
                for node in self.nodes
            ),
            tuple((name, index[value]) for name, value in self.outputs.items()),
            tuple(sorted((name, index[value]) for name, value in self.updates.items())),
            tuple(sorted(self.constants)),
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Graph):
            return NotImplemented
        return self.structure == other.structure

    def __hash__(self) -> int:
        return hash(self.structure)

    def __str__(self) -> str:
        lines = [f"  input {value}" for value in self.inputs]
        lines += [f"  state {state.value} {{role={state.role.value}}}" for state in self.state]
        lines += [f"  {node}" for node in self.nodes]
        lines += [f"  output {name} = %{value.name}" for name, value in self.outputs.items()]
        lines += [f"  update %{name} = %{value.name}" for name, value in self.updates.items()]
        return "\n".join(["graph {", *lines, "}"])

    def __repr__(self) -> str:
        return (
            f"<Graph: {len(self.inputs)} inputs, {len(self.state)} state variables, "
            f"{len(self.nodes)} nodes, {len(self.outputs)} outputs, {len(self.updates)} updates>"
        )

    def _repr_html_(self) -> str:
        return graph_html(self)


def interface(graph: Graph) -> tuple[Mapping[str, Any], ...]:
    """What a pass must keep: inputs, state and outputs by name, and which states change."""
    return (
        {value.name: value.spec for value in graph.inputs},
        {state.name: (state.value.spec, state.role) for state in graph.state},
        {name: value.spec for name, value in graph.outputs.items()},
        dict.fromkeys(graph.updates),
    )
