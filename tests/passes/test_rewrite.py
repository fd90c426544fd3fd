"""The rule engine: names, locations and untouched nodes survive."""

from __future__ import annotations

import numpy as np

import minigraph as mg
from minigraph.ir import verify
from minigraph.ops.elementwise import Add, Exp, Neg, Tanh
from minigraph.passes import eliminate_dead_nodes, rewrite
from minigraph.testing import assert_rewrite, assert_unchanged, graph_of


def remove_double_negation(graph):
    """The pass of the documentation: ``-(-x)`` is ``x``."""

    def rule(emitter, graph, node):
        inner = graph.producer.get(node.inputs[0]) if node.inputs else None
        if isinstance(node.op, Neg) and inner is not None and isinstance(inner.op, Neg):
            return (inner.inputs[0],)
        return None

    return eliminate_dead_nodes(rewrite(graph, rule))


def test_positive():
    before = graph_of(lambda x: {"y": -mg.ops.elementwise.neg(x) * 2.0}, x="float32[4]")
    after = graph_of(lambda x: {"y": x * 2.0}, x="float32[4]")
    assert_rewrite(remove_double_negation, before, after)


def test_second_user_keeps_the_inner_one():
    def before(x):
        inner = -x
        return {"y": -inner, "z": inner}

    after = graph_of(lambda x: {"y": x, "z": -x}, x="float32[4]")
    assert_rewrite(remove_double_negation, graph_of(before, x="float32[4]"), after)


def test_single_negation_is_left():
    assert_unchanged(remove_double_negation, graph_of(lambda x: {"y": -x}, x="float32[4]"))


def test_without_a_replacement_the_graph_itself_is_returned():
    graph = graph_of(lambda x: {"y": -x, "z": mg.exp(x)}, x="float32[4]")
    assert remove_double_negation(graph) is graph
    assert rewrite(graph, lambda emitter, graph, node: None) is graph


def test_what_stands_in_for_a_result_alone_is_a_replacement():
    """All nodes are kept: the outputs alone have changed places."""
    before = graph_of(lambda x: {"y": mg.exp(x), "z": mg.tanh(x)}, x="float32[4]")

    def rule(emitter, graph, node):
        if isinstance(node.op, Tanh):
            emitter.stand_in(graph.outputs["y"], emitter.resolve(graph.inputs[0]))

    after = rewrite(before, rule)
    assert after.nodes == before.nodes
    assert after.outputs == {"y": before.inputs[0], "z": before.outputs["z"]}


def double(graph):
    """tanh(x) becomes tanh(x) + 0 * exp(x): two nodes for one, in place of its name."""

    def rule(emitter, graph, node):
        if not isinstance(node.op, Tanh):
            return None
        (tanh,) = emitter.emit(node.op, *node.inputs)
        (exp,) = emitter.emit(Exp(), *node.inputs)
        return emitter.emit(Add(), tanh, exp)

    return rewrite(graph, rule)


def test_names_stay_unique_and_untouched_nodes_stay_the_same():
    def model(x):
        with mg.scope(x, "a"):
            y = mg.tanh(x)
        return {"z": mg.exp(x), "y": y * 2.0, "w": mg.sqrt(y)}

    before = graph_of(model, x="float32[4]")
    after = verify(double(before))
    kept = {node.name: node for node in after.nodes}
    assert kept["exp"] is next(node for node in before.nodes if node.name == "exp")
    assert {"a.tanh", "a.tanh_1", "a.tanh_2"} <= kept.keys()
    line = model.__code__.co_firstlineno + 2
    for name in ("a.tanh", "a.tanh_1", "a.tanh_2"):
        assert after.locations[kept[name].outputs[0]][0].line == line
    assert double(double(before)).by_name.keys() >= {"a.tanh", "a.tanh_1"}
    verify(double(double(before)))


def test_state_updates_and_initializers_survive():
    def model(x):
        w = mg.parameter(x, "w", (4,), mg.initializers.Constant(3.0))
        x.builder.update(w, mg.tanh(w))
        return {"y": w * x}

    before = graph_of(model, x="float32[4]")
    after = double(before)
    assert list(after.updates) == ["w"] and after.updates["w"] is not before.updates["w"]
    assert after.initializers == before.initializers
    assert after.state == before.state


def test_arrays_survive():
    table = np.arange(4, dtype=np.float32)
    before = graph_of(lambda x: {"y": mg.tanh(x) + table}, x="float32[4]")
    assert double(before).constants.keys() == before.constants.keys()
