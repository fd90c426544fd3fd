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


def read_twice(x, w, b):
    y = conv.conv2d(x, w)
    return {"y": y * y}


def wider_output(x, w, b):
    return {"y": conv.conv2d(x[:1], w) + reshape(mg.concat([b, b], 0), (2, 4, 1, 1))}


def not_elementwise(x, w, b):
    return {"y": mg.reduce_mean(conv.conv2d(x, w), (2, 3))}


def not_supported(x, w, b):
    return {"y": mg.silu(conv.conv2d(x, w))}


@pytest.mark.parametrize(
    "model",
    [second_user, graph_output, read_twice, wider_output, not_elementwise, not_supported],
    ids=lambda model: model.__name__,
)
def test_must_not_fire(model):
    assert_unchanged(FUSE, graph_of(model, **SPECS))


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
    result = FuseEpilogue(FUSE.can_fuse, longest=5)(graph)
    (fused,) = [node for node in result.nodes if isinstance(node.op, Fused)]
    assert len(fused.op.body.instructions) == 5
    assert_rewrite(FuseEpilogue(FUSE.can_fuse, longest=5), graph, result)


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
