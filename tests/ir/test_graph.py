"""Graphs: immutable, compared by what they compute."""

from __future__ import annotations

import dataclasses

import networkx
import numpy as np
import pytest

import minigraph as mg
from minigraph.testing import graph_of


def model(x):
    w = mg.parameter(x, "w", (3, 4), mg.initializers.Constant(1.0))
    y = mg.tanh(x @ w)
    x.builder.update(w, w * 2.0)
    return {"y": y, "sum": mg.reduce_sum(y * y)}


def test_names_in_between_do_not_count():
    def renamed(x):
        w = mg.parameter(x, "w", (3, 4), mg.initializers.Constant(5.0))
        with mg.scope(x, "elsewhere"):
            y = mg.tanh(x @ w)
        x.builder.update(w, w * 2.0)
        return {"y": y, "sum": mg.reduce_sum(y * y)}

    a, b = graph_of(model, x="float32[2,3]"), graph_of(renamed, x="float32[2,3]")
    assert a == b and hash(a) == hash(b)
    assert str(a) != str(b)


@pytest.mark.parametrize(
    "other",
    [
        lambda x: {"y": x * 2.0},
        lambda x: {"z": x * 3.0},
        lambda x: {"y": 3.0 * x},
        lambda x: {"y": x * 3.0, "x": x},
        lambda x: {"y": x * -3.0},
    ],
)
def test_what_counts(other):
    assert graph_of(lambda x: {"y": x * 3.0}, x="float32[2]") != graph_of(other, x="float32[2]")
    assert graph_of(other, x="float32[2]") == graph_of(other, x="float32[2]")


def test_interface_counts():
    identity = lambda **inputs: inputs  # noqa: E731
    assert graph_of(identity, a="float32[2]") != graph_of(identity, b="float32[2]")
    assert graph_of(identity, a="float32[2]") != graph_of(identity, a="float32[3]")
    assert graph_of(identity, a="float32[2]") != "a graph"


def test_constants_count_by_content():
    def adding(table):
        return graph_of(lambda x: {"y": x + np.array(table, np.float32)}, x="float32[2]")

    assert adding([1, 2]) == adding([1, 2])
    assert adding([1, 2]) != adding([1, 3])


def test_queries():
    graph = graph_of(model, x="float32[2,3]")
    y = graph.outputs["y"]
    assert graph.producer[y].op.name == "Tanh"
    assert [node.op.name for node in graph.users[y]] == ["Mul"]
    assert not graph.has_single_use(y)  # an output, and read twice
    inner = graph.producer[y].inputs[0]
    assert graph.has_single_use(inner)
    w = graph.state_by_name["w"].value
    assert not graph.has_single_use(w) and len(graph.users[w]) == 2
    assert graph.by_name["x"] is graph.inputs[0]
    assert graph.results == {y, graph.outputs["sum"], graph.updates["w"]}
    assert [v.name for v in graph.values()][:2] == ["x", "w"]


def test_single_use_counts_operands():
    graph = graph_of(lambda x: {"y": mg.exp(mg.tanh(x) * 2.0) * 1.0}, x="float32[2]")
    assert graph.has_single_use(graph.by_name["tanh"])
    graph = graph_of(lambda x: (lambda t: {"y": t * t})(mg.tanh(x)), x="float32[2]")
    assert not graph.has_single_use(graph.by_name["tanh"])


def test_immutable():
    graph = graph_of(model, x="float32[2,3]")
    with pytest.raises(dataclasses.FrozenInstanceError):
        graph.nodes = ()
    with pytest.raises(dataclasses.FrozenInstanceError):
        graph.nodes[0].op = None
    changed = graph.replace(outputs={"y": graph.outputs["y"]})
    assert list(graph.outputs) == ["y", "sum"] and list(changed.outputs) == ["y"]
    assert list(changed.producer) == list(graph.producer)  # cached anew, not shared


def test_networkx_view():
    graph = graph_of(model, x="float32[2,3]")
    dag = graph.dag
    assert networkx.is_directed_acyclic_graph(dag)
    assert dag.nodes["x"]["kind"] == "input" and dag.nodes["w"]["kind"] == "state"
    tanh = graph.producer[graph.outputs["y"]]
    assert dag.nodes[tanh.name]["op"] is tanh.op
    assert networkx.has_path(dag, "w", graph.producer[graph.outputs["sum"]].name)
    square = graph.users[graph.outputs["y"]][0]
    edges = dag.get_edge_data(tanh.name, square.name).values()
    assert sorted(edge["operand"] for edge in edges) == [0, 1]
    assert dag.number_of_nodes() == 2 + len(graph.nodes)
