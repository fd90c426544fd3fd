"""What nothing needs goes; what an output or an update needs stays."""

from __future__ import annotations

import numpy as np

import minigraph as mg
from minigraph.initializers import Constant
from minigraph.ir import Role, TensorSpec
from minigraph.ops import new_builder
from minigraph.passes import eliminate_dead_nodes
from minigraph.testing import assert_rewrite, assert_unchanged, graph_of


def test_unused_nodes_and_constants_go():
    table = np.arange(4, dtype=np.float32)

    def before(x):
        unused = mg.exp(x + x.builder.constant(table))
        mg.sqrt(unused)
        return {"y": mg.tanh(x) * 2.0}

    after = graph_of(lambda x: {"y": mg.tanh(x) * 2.0}, x="float32[4]")
    result = assert_rewrite(eliminate_dead_nodes, graph_of(before, x="float32[4]"), after)
    assert not result.constants
    assert set(result.locations) == {node.outputs[0] for node in result.nodes}


def test_one_used_output_keeps_the_node():
    def model(x):
        left, _ = mg.split(x, 2)
        return {"y": left}

    assert_unchanged(eliminate_dead_nodes, graph_of(model, x="float32[2,4]"))


def test_updates_keep_their_nodes_and_the_interface_stays():
    builder = new_builder()
    x = builder.input("x", "float32[3]")
    builder.input("ignored", "float32[2]")
    builder.state("idle", TensorSpec((2,)), Role.FROZEN, Constant(1.0))
    count = builder.state("count", TensorSpec((3,)), Role.STATISTIC, Constant(0.0))
    builder.update(count, count + x)
    builder.output("y", x * 3.0)
    assert_unchanged(eliminate_dead_nodes, builder.build())
