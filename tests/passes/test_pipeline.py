"""Every pass is verified; a wrong one is named."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

import minigraph as mg
from minigraph.initializers import Constant
from minigraph.ir import Graph, Node, Role, State, TensorSpec, Value
from minigraph.ir.errors import VerifyError
from minigraph.ops import new_builder
from minigraph.ops.elementwise import Exp, Tanh
from minigraph.passes import eliminate_dead_nodes, fold_constants, rewrite, run_passes


def graph() -> Graph:
    builder = new_builder()
    x = builder.input("x", "float32[3]")
    w = builder.state("w", TensorSpec((3,)), Role.PARAMETER, Constant(1.0))
    builder.update(w, w + x)
    builder.output("y", mg.tanh(x) * w)
    return builder.build()


def drops_a_node(graph: Graph) -> Graph:
    return graph.replace(nodes=graph.nodes[1:])


def reverses(graph: Graph) -> Graph:
    return graph.replace(nodes=graph.nodes[::-1])


def forgets_updates(graph: Graph) -> Graph:
    return graph.replace(updates={})


def forgets_state(graph: Graph) -> Graph:
    (state,) = graph.state
    value = Value("w", state.value.spec)
    moved = graph.replace(inputs=(*graph.inputs, state.value), state=(), updates={})
    assert value.name == state.name
    return moved


def renames_an_output(graph: Graph) -> Graph:
    return graph.replace(outputs={"z": graph.outputs["y"]})


def adds_an_input(graph: Graph) -> Graph:
    return graph.replace(inputs=(*graph.inputs, Value("more", TensorSpec((1,)))))


def renames_an_input(graph: Graph) -> Graph:
    new = Value("renamed", graph.inputs[0].spec)
    swap = {graph.inputs[0]: new}
    nodes = tuple(
        Node(n.op, tuple(swap.get(v, v) for v in n.inputs), n.outputs) for n in graph.nodes
    )
    return graph.replace(inputs=(new,), nodes=nodes)


def changes_a_role(graph: Graph) -> Graph:
    (state,) = graph.state
    return graph.replace(state=(State(state.value, Role.FROZEN),))


def changes_a_shape(graph: Graph) -> Graph:
    node = graph.nodes[0]
    wrong = Value(node.outputs[0].name, TensorSpec((4,)))
    return graph.replace(nodes=(Node(node.op, node.inputs, (wrong,)), *graph.nodes[1:]))


@pytest.mark.parametrize(
    "bad",
    [drops_a_node, reverses, forgets_updates, forgets_state, renames_an_output, adds_an_input,
     renames_an_input, changes_a_role, changes_a_shape],
    ids=lambda bad: bad.__name__,
)  # fmt: skip
def test_a_bad_pass_is_named(bad):
    with pytest.raises(VerifyError, match=f"^after pass {bad.__name__}: "):
        run_passes(graph(), (eliminate_dead_nodes, bad, fold_constants))


@dataclass(frozen=True)
class BadClass:
    option: int = 1

    def __call__(self, graph: Graph) -> Graph:
        return drops_a_node(graph)


def test_a_pass_with_options_goes_by_its_class():
    with pytest.raises(VerifyError, match=r"^after pass BadClass: "):
        run_passes(graph(), (BadClass(),))


def test_a_bad_graph_is_not_blamed_on_a_pass():
    with pytest.raises(VerifyError) as caught:
        run_passes(drops_a_node(graph()), (eliminate_dead_nodes,))
    assert "after pass" not in str(caught.value)


def test_a_bad_pass_of_a_user_is_named_by_compile():
    with pytest.raises(VerifyError, match="after pass drops_a_node"):
        mg.compile(
            lambda x: {"y": mg.tanh(x) * 2.0}, {"x": "float32[3]"},
            passes=(drops_a_node,), backend="numpy",
        )  # fmt: skip


def test_reports_say_what_each_pass_did():
    def tanh_to_exp(graph: Graph) -> Graph:
        def rule(emitter, graph, node):
            return emitter.emit(Exp(), *node.inputs) if isinstance(node.op, Tanh) else None

        return rewrite(graph, rule)

    result, reports = run_passes(graph(), (tanh_to_exp, eliminate_dead_nodes))
    first, second = reports
    assert (first.name, first.removed, first.added) == ("tanh_to_exp", {"Tanh": 1}, {"Exp": 1})
    assert first.nodes_before == first.nodes_after == 3
    assert "-1 Tanh, +1 Exp" in str(first) and "no change" in str(second)
    assert [node.op.name for node in result.nodes].count("Exp") == 1
