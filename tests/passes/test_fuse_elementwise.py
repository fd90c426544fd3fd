"""Elementwise ops of one shape: one node, where nothing outside comes between."""

from __future__ import annotations

import numpy as np

import minigraph as mg
from minigraph.backend import Supported
from minigraph.ops.elementwise import Add, Mul, Relu, Sub, Tanh
from minigraph.ops.fused import Body, Fused, Instruction
from minigraph.passes import FuseElementwise, eliminate_dead_nodes, rewrite
from minigraph.testing import evaluate, graph_of, random_arrays


def always(body, inputs):
    return Supported()


FUSE = FuseElementwise(always)
SPECS = {"a": "float32[4,5]", "b": "float32[4,5]"}


def ops(graph):
    return [node.op.name for node in graph.nodes]


def fused(graph):
    return [node for node in graph.nodes if isinstance(node.op, Fused)]


def test_a_chain_becomes_one_node():
    graph = FUSE(graph_of(lambda a, b: {"y": mg.relu(a + b) * b}, **SPECS))
    (node,) = graph.nodes
    assert node.op == Fused(
        Body(
            2,
            (
                Instruction(Add(), (0, 1)),
                Instruction(Relu(), (2,)),
                Instruction(Mul(), (3, 1)),
            ),
            (4,),
        )
    )
    assert node.name == "y" or graph.outputs["y"] is node.outputs[0]


def test_what_others_read_becomes_an_output():
    def model(a, b):
        total = a + b
        return {"total": total, "y": mg.tanh(total) - a, "matrix": total @ mg.transpose(b, (1, 0))}

    graph = FUSE(graph_of(model, **SPECS))
    (node,) = fused(graph)
    assert node.op.body.outputs == (2, 4)
    assert [i.op for i in node.op.body.instructions] == [Add(), Tanh(), Sub()]
    assert set(node.outputs) == {graph.outputs["total"], graph.outputs["y"]}


def test_nothing_is_fused_over_a_path_that_leaves_and_returns():
    def model(a, b):
        first = mg.relu(a)
        outside = first @ b  # must be computed between the two
        return {"y": first + outside}

    specs = {"a": "float32[4,4]", "b": "float32[4,4]"}
    graph = graph_of(model, **specs)
    assert ops(FUSE(graph)) == ops(graph)


def test_a_broadcast_operand_may_come_from_a_smaller_group():
    def model(x, s):
        return {"y": (x - s * 2.0 * s) * x}

    graph = FUSE(graph_of(model, x="float32[2,3,4,4]", s="float32[3,1,1]"))
    shapes = [node.outputs[0].spec.shape for node in fused(graph)]
    assert shapes == [(3, 1, 1), (2, 3, 4, 4)]


def test_the_backend_has_the_last_word():
    graph = graph_of(lambda a, b: {"y": mg.relu(a + b)}, **SPECS)
    assert ops(FuseElementwise(lambda body, inputs: False)(graph)) == ops(graph)


def test_bodies_are_bounded():
    def model(a, b):
        for _ in range(50):
            a = mg.relu(a + b)
        return {"y": a}

    graph = FuseElementwise(always, most=10)(graph_of(model, **SPECS))
    lengths = [len(node.op.body.instructions) for node in fused(graph)]
    assert sum(lengths) == 100 and max(lengths) <= 10


def test_it_is_idempotent_and_keeps_what_a_training_step_computes():
    """Run as NumPy would run the fused bodies' own instructions one by one."""

    def model(image, label):
        x = mg.batch_norm(mg.conv2d(image, 4, 3, name="c"), name="n")
        return {"loss": mg.softmax_cross_entropy(mg.global_avg_pool2d(mg.relu(x)), label)}

    step = mg.compile(
        model, {"image": "float32[2,3,8,8]", "label": "int32[2]"}, optimizer=mg.Adam(0.1),
        backend="numpy", passes=(),
    )  # fmt: skip
    graph = FUSE(step.graph)
    assert len(graph.nodes) < len(step.graph.nodes) / 2
    assert ops(FUSE(graph)) == ops(graph)
    inputs, state = random_arrays(step.graph)
    expected, after = evaluate(step.graph, inputs, state)
    got, then = evaluate(unfused(graph), inputs, state)
    assert got["loss"] == expected["loss"]
    for name, array in after.items():
        np.testing.assert_array_equal(then[name], array)


def unfused(graph):
    """Every body taken apart again."""

    def rule(emitter, graph, node):
        if not isinstance(node.op, Fused):
            return None
        values = list(node.inputs)
        for instruction in node.op.body.instructions:
            values += emitter.emit(instruction.op, *(values[i] for i in instruction.operands))
        return tuple(values[i] for i in node.op.body.outputs)

    return eliminate_dead_nodes(rewrite(graph, rule))
