"""Convolution, bias, activation: one node, where that is legal."""

from __future__ import annotations

import numpy as np
import pytest

import minigraph as mg
from minigraph.backend import load_backend
from minigraph.ops import conv
from minigraph.ops.broadcast import reshape
from minigraph.ops.conv import Conv2d, ConvTranspose2d
from minigraph.ops.elementwise import Add, Mul, Relu
from minigraph.ops.fused import Body, Fused, Instruction
from minigraph.passes import FuseEpilogue
from minigraph.testing import assert_rewrite, assert_unchanged, graph_of

FUSE = FuseEpilogue(load_backend("numpy", 1).can_fuse)
SPECS = {"x": "float32[2,3,6,6]", "w": "float32[4,3,3,3]", "b": "float32[1,4,1,1]"}
BIAS_RELU = Body(
    3,
    (
        Instruction(Conv2d(), (0, 1)),
        Instruction(Add(), (3, 2)),
        Instruction(Relu(), (4,)),
    ),
    (5,),
)


def test_bias_and_relu_are_fused():
    def before(x, w, b):
        return {"y": mg.relu(conv.conv2d(x, w) + b)}

    def after(x, w, b):
        return {"y": x.builder.emit(Fused(BIAS_RELU), x, w, b)[0]}

    result = assert_rewrite(FUSE, graph_of(before, **SPECS), graph_of(after, **SPECS))
    (node,) = result.nodes
    lines = {location.line for location in result.locations[node.outputs[0]]}
    assert before.__code__.co_firstlineno + 1 in lines


def test_locations_of_all_that_was_fused_survive():
    def before(x, w, b):
        y = conv.conv2d(x, w)
        y = y + b
        return {"y": mg.relu(y)}

    result = FUSE(graph_of(before, **SPECS))
    (node,) = result.nodes
    first = before.__code__.co_firstlineno
    lines = {place.line for place in result.locations[node.outputs[0]]}
    assert {first + 1, first + 2, first + 3} <= lines


@pytest.mark.parametrize(
    "function",
    [mg.sigmoid, mg.tanh, mg.exp, mg.hard_sigmoid, mg.relu6, lambda x: mg.clip(x, -0.1, 0.3)],
)
def test_what_runs_in_place_is_fused_to_the_same_bits(function):
    graph = graph_of(lambda x, w, b: {"y": function(conv.conv2d(x, w) + b)}, **SPECS)
    fused = FUSE(graph)
    assert [type(node.op) for node in fused.nodes if node.inputs] == [Fused]
    assert_rewrite(FUSE, graph, fused)


def test_a_transposed_convolution_and_a_scalar():
    def before(x, w, b):
        return {"y": conv.conv_transpose2d(x, w, 2) * 0.5 + b}

    def after(x, w, b):
        body = Body(
            4,
            (
                Instruction(ConvTranspose2d(stride=(2, 2)), (0, 1)),
                Instruction(Mul(), (4, 2)),
                Instruction(Add(), (5, 3)),
            ),
            (6,),
        )
        return {"y": x.builder.emit(Fused(body), x, w, x.builder.tensor(0.5, x), b)[0]}

    specs = {"x": "float32[2,3,4,4]", "w": "float32[3,4,2,2]", "b": "float32[4,1,1]"}
    assert_rewrite(FUSE, graph_of(before, **specs), graph_of(after, **specs))


def test_an_operand_that_comes_later_is_waited_for():
    def before(x, w, b):
        y = conv.conv2d(x, w)
        late = mg.tanh(mg.exp(b))
        return {"y": mg.relu(y + late)}

    def after(x, w, b):
        return {"y": x.builder.emit(Fused(BIAS_RELU), x, w, mg.tanh(mg.exp(b)))[0]}

    assert_rewrite(FUSE, graph_of(before, **SPECS), graph_of(after, **SPECS))


def test_a_second_user_ends_the_chain():
    def before(x, w, b):
        biased = conv.conv2d(x, w) + b
        return {"y": mg.relu(biased), "z": mg.tanh(biased)}

    def after(x, w, b):
        body = Body(3, BIAS_RELU.instructions[:2], (4,))
        (biased,) = x.builder.emit(Fused(body), x, w, b)
        return {"y": mg.relu(biased), "z": mg.tanh(biased)}

    assert_rewrite(FUSE, graph_of(before, **SPECS), graph_of(after, **SPECS))


def second_user(x, w, b):
    y = conv.conv2d(x, w)
    return {"y": mg.relu(y), "z": y * 2.0}


def graph_output(x, w, b):
    y = conv.conv2d(x, w)
    return {"y": y, "z": mg.relu(y)}


def wider_output(x, w, b):
    return {"y": conv.conv2d(x[:1], w) + reshape(mg.concat([b, b], 0), (2, 4, 1, 1))}


def not_elementwise(x, w, b):
    return {"y": mg.reduce_mean(conv.conv2d(x, w), (2, 3))}


def not_supported(x, w, b):
    return {"y": mg.silu(conv.conv2d(x, w))}


@pytest.mark.parametrize(
    "model",
    [second_user, graph_output, wider_output, not_elementwise, not_supported],
    ids=lambda model: model.__name__,
)
def test_must_not_fire(model):
    assert_unchanged(FUSE, graph_of(model, **SPECS))


def test_a_result_that_an_op_reads_twice_is_fused():
    def model(x, w, b):
        y = conv.conv2d(x, w)
        return {"y": y * y}

    result = FUSE(graph_of(model, **SPECS))
    assert [node.op.name for node in result.nodes] == ["Fused"]
    assert_rewrite(FUSE, graph_of(model, **SPECS), result)


def everything(body, inputs):
    return True


def test_the_update_of_a_parameter_is_fused_with_its_gradient():
    """Two results, and an op beside the anchor: the velocity's decay."""

    def before(a, b, velocity, weight):
        decayed = velocity * 0.9
        gradient = mg.matmul(a, b)
        new = decayed - gradient * 0.01
        return {"velocity": new, "weight": weight + new}

    specs = dict.fromkeys(("a", "b", "velocity", "weight"), "float32[4,4]")
    fuse = FuseEpilogue(everything)
    result = fuse(graph_of(before, **specs))
    (node,) = (node for node in result.nodes if node.inputs)
    assert len(node.op.body.instructions) == 5 and not node.op.body.is_chain
    assert [node.outputs.index(value) for value in result.outputs.values()] == [0, 1]
    chains = FuseEpilogue(lambda body, inputs: body.is_chain)(graph_of(before, **specs))
    assert sorted(node.op.name for node in chains.nodes if node.inputs) == ["Add", "Fused", "Mul"]


def test_what_is_read_before_the_last_node_is_not_fused_beyond_it():
    """The sum would have to wait for a node that needs the product."""

    def model(a, b):
        product = mg.matmul(a, b)
        doubled = product * 2.0
        return {"y": product + mg.transpose(doubled), "z": doubled}

    result = FuseEpilogue(everything)(graph_of(model, a="float32[4,4]", b="float32[4,4]"))
    assert [n.op.name for n in result.nodes if n.inputs] == ["Fused", "Transpose", "Add"]


def test_of_two_products_whose_results_are_added_the_later_one_adds():
    def model(a, b):
        return {"y": mg.matmul(a, b) + mg.matmul(b, a)}

    result = FuseEpilogue(everything)(graph_of(model, a="float32[4,4]", b="float32[4,4]"))
    assert [n.op.name for n in result.nodes] == ["MatMul", "Fused"]


def test_an_operand_of_the_image_is_not_fused():
    def model(x, w, b):
        return {"y": conv.conv2d(x, w) + x[:, :1, 1:5, 1:5]}

    assert_unchanged(FUSE, graph_of(model, **SPECS))


def test_an_update_is_a_user():
    def model(x, w, b):
        kept = mg.parameter(x, "kept", (2, 4, 4, 4), mg.initializers.Constant(0.0))
        y = conv.conv2d(x, w)
        x.builder.update(kept, y)
        return {"y": mg.relu(y) + kept}

    assert_unchanged(FUSE, graph_of(model, **SPECS))


def test_the_backend_has_the_last_word():
    def model(x, w, b):
        return {"y": mg.relu(conv.conv2d(x, w) + b)}

    assert_unchanged(FuseEpilogue(lambda body, inputs: False), graph_of(model, **SPECS))
    bias_alone = FuseEpilogue(lambda body, inputs: len(body.instructions) == 2)
    result = bias_alone(graph_of(model, **SPECS))
    assert [node.op.name for node in result.nodes] == ["Fused", "Relu"]


def test_a_chain_keeps_its_spec():
    def model(x, w, b):
        return {"y": conv.conv2d(x, w) > 0.0, "z": mg.cast(conv.conv2d(x, w) * 2.0, "float64")}

    result = FuseEpilogue(lambda body, inputs: True)(graph_of(model, **SPECS))
    assert sorted(node.op.name for node in result.nodes if node.inputs) == [
        "Cast", "Conv2d", "Fused", "Greater",
    ]  # fmt: skip


def test_chains_have_a_longest_length():
    def model(x, w, b):
        y = conv.conv2d(x, w)
        for _ in range(40):
            y = mg.relu(y * 0.5)
        return {"y": y}

    graph = graph_of(model, **SPECS)
    result = FuseEpilogue(FUSE.can_fuse, most=5)(graph)
    (fused,) = [node for node in result.nodes if isinstance(node.op, Fused)]
    assert len(fused.op.body.instructions) == 5
    assert_rewrite(FuseEpilogue(FUSE.can_fuse, most=5), graph, result)


def test_it_fires_in_a_training_step():
    def model(image, label):
        x = mg.relu(mg.conv2d(image, 4, 3, name="a"))
        return {"loss": mg.softmax_cross_entropy(mg.conv2d(x, 3, 1, name="b"), label)}

    step = mg.compile(
        model, {"image": "float32[2,3,8,8]", "label": "uint8[2,6,6]"},
        optimizer=mg.SGD(0.1), backend="numpy",
    )  # fmt: skip
    bodies = [node.op.body for node in step.graph.nodes if isinstance(node.op, Fused)]
    ops = [[type(i.op).__name__ for i in body.instructions] for body in bodies]
    assert ["Conv2d", "Add", "Relu"] in ops and ["Conv2d", "Add"] in ops
    assert np.isfinite(
        step(image=np.ones((2, 3, 8, 8), np.float32), label=np.zeros((2, 6, 6), np.uint8))["loss"]
    )
