"""The verifier: every pass is checked by it, always."""

from __future__ import annotations

from collections.abc import Set

from minigraph.ir.constant import Constant
from minigraph.ir.errors import SpecError, VerifyError
from minigraph.ir.graph import Graph, Node, Value, is_output_name
from minigraph.ir.location import describe

_NEIGHBOURS = 3


def verify(graph: Graph, inferred: Set[Node] = frozenset()) -> Graph:
    """Check that a graph is well formed, and return it.

    Every value is defined once and before its use, names are unique, every node's outputs have
    the specs that its op infers, outputs and updates exist, constants are at hand. Of nodes in
    ``inferred``, which were verified in another graph, the specs are known: no node ever changes.
    Raises VerifyError with the node, its neighbours and the user's line.
    """
    bound: set[Value] = set()
    names: set[str] = set()
    for value in (*graph.inputs, *(state.value for state in graph.state)):
        if value.name in names:
            raise VerifyError(f"the name %{value.name} is used twice")
        bound.add(value)
        names.add(value.name)
    for position, node in enumerate(graph.nodes):
        problem = _check_place(graph, node, bound, names)
        if not problem and node not in inferred:
            problem = _check_specs(node)
        if problem:
            raise VerifyError(_show(graph, position, problem))
        bound.update(node.outputs)
        names.update(value.name for value in node.outputs)
    _check_results(graph, bound)
    return graph


def _check_place(graph: Graph, node: Node, bound: set[Value], names: set[str]) -> str:
    for value in node.inputs:
        if value not in bound:
            return f"%{value.name} is used before it is defined"
    own: set[str] = set()
    for value in node.outputs:
        if value in bound or value.name in names or value.name in own:
            return f"%{value.name} is defined twice"
        own.add(value.name)
    return _check_constant(graph, node.op) if isinstance(node.op, Constant) else ""


def _check_specs(node: Node) -> str:
    try:
        expected = node.op.infer(*(value.spec for value in node.inputs))
    except SpecError as error:
        return str(error)
    except Exception as error:  # too many operands, or attributes that no builder would accept
        return f"{node.op.name} cannot infer its outputs: {type(error).__name__}: {error}"
    got = tuple(value.spec for value in node.outputs)
    if got == expected:
        return ""
    return (
        f"Expected {', '.join(map(str, expected))} as {node.op.name} infers, "
        f"got {', '.join(map(str, got))}"
    )


def _check_constant(graph: Graph, op: Constant) -> str:
    array = graph.constants.get(op.digest)
    if array is None:
        return f"the constant {op.digest} is not in the graph's table"
    if array.shape == op.spec.shape and array.dtype == op.spec.dtype.numpy:
        return ""
    return f"Expected {op.spec} for the constant {op.digest}, got {array.dtype}{list(array.shape)}"


def _check_results(graph: Graph, bound: set[Value]) -> None:
    for name, value in graph.outputs.items():
        if not is_output_name(name):
            raise VerifyError(f"Expected a printable name of an output, got {name!r}")
        if value not in bound:
            raise VerifyError(f"output {name!r} is %{value.name}, which no node defines")
    for name, value in graph.updates.items():
        state = graph.state_by_name.get(name)
        if state is None:
            raise VerifyError(f"the update of %{name} has no state variable of that name")
        if value not in bound:
            raise VerifyError(f"the update of %{name} is %{value.name}, which no node defines")
        if value.spec != state.value.spec:
            raise VerifyError(
                f"Expected {state.value.spec} as the update of %{name}, got {value.spec}"
            )


def _show(graph: Graph, position: int, problem: str) -> str:
    first, last = max(0, position - _NEIGHBOURS), position + _NEIGHBOURS + 1
    lines = [problem]
    for index, node in enumerate(graph.nodes[first:last], start=first):
        lines.append(("-> " if index == position else "   ") + str(node))
    node = graph.nodes[position]
    lines.append(describe(graph.locations.get(node.outputs[0], ())) if node.outputs else "")
    return "\n".join(line for line in lines if line)
