"""Equal op on equal inputs is one node, and nothing else is."""

from __future__ import annotations

import numpy as np

import minigraph as mg
from minigraph.initializers import Constant
from minigraph.ir import DType, Role, TensorSpec
from minigraph.ops import new_builder
from minigraph.passes import merge_common_nodes, to_training
from minigraph.testing import assert_rewrite, assert_unchanged, evaluate, graph_of


def test_equal_chains_become_one():
    def before(x):
        return {"y": mg.tanh(x * x) + mg.tanh(x * x)}

    def after(x):
        once = mg.tanh(x * x)
        return {"y": once + once}

    assert_rewrite(
        merge_common_nodes, graph_of(before, x="float32[5]"), graph_of(after, x="float32[5]")
    )


def test_equal_outputs_become_two_names_of_one_value():
    before = graph_of(lambda x: {"a": mg.exp(x), "b": mg.exp(x)}, x="float32[3]")
    after = graph_of(lambda x: dict.fromkeys(("a", "b"), mg.exp(x)), x="float32[3]")
    assert_rewrite(merge_common_nodes, before, after)


def test_equal_updates_become_one_value():
    def build(merged):
        builder = new_builder()
        x = builder.input("x", "float32[3]")
        states = [
            builder.state(name, TensorSpec((3,)), Role.STATISTIC, Constant(1.0)) for name in "ab"
        ]
        news = [states[0] * x] * 2 if merged else [states[0] * x, states[0] * x]
        for state, new in zip(states, news, strict=True):
            builder.update(state, new)
        builder.output("y", x)
        return builder.build()

    assert_rewrite(merge_common_nodes, build(False), build(True))


def test_all_outputs_of_a_node_are_merged():
    def before(x):
        (a, _), (_, d) = mg.split(x, 2), mg.split(x, 2)
        return {"y": a * d}

    def after(x):
        a, d = mg.split(x, 2)
        return {"y": a * d}

    assert_rewrite(
        merge_common_nodes, graph_of(before, x="float32[2,6]"), graph_of(after, x="float32[2,6]")
    )


def test_other_attributes_operands_or_order_are_not_merged():
    def model(x, y):
        return {
            "slopes": mg.leaky_relu(x, 0.1) + mg.leaky_relu(x, 0.2),
            "order": (x - y) * (y - x),
            "axes": mg.reduce_sum(x, 0, keepdims=True) + mg.reduce_sum(x, 1, keepdims=True),
        }

    assert_unchanged(merge_common_nodes, graph_of(model, x="float32[3,3]", y="float32[3,3]"))


def test_two_dropouts_are_never_one():
    graph = to_training(graph_of(lambda x: {"y": mg.dropout(x) + mg.dropout(x)}, x="float32[64]"))
    assert_unchanged(merge_common_nodes, graph)


def test_zero_and_minus_zero_are_two_constants():
    def model(x):
        builder = x.builder
        zeros = [builder.full((2,), value, DType.FLOAT32) for value in (0.0, -0.0)]
        return {"plus": x / zeros[0], "minus": x / zeros[1]}

    graph = graph_of(model, x="float32[2]")
    ones = {"x": np.ones(2, np.float32)}
    got, _ = evaluate(merge_common_nodes(graph), ones, {})
    assert (got["plus"] == np.inf).all() and (got["minus"] == -np.inf).all()


def test_equal_constants_are_one():
    table = np.arange(3, dtype=np.float32)

    def before(x):
        return {"y": (x + table) * (x + table.copy())}

    def after(x):
        shifted = x + table
        return {"y": shifted * shifted}

    assert_rewrite(
        merge_common_nodes, graph_of(before, x="float32[3]"), graph_of(after, x="float32[3]")
    )
