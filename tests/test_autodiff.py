"""Gradients as graph nodes: what is visited, what flows, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import minigraph as mg
from minigraph.autodiff import add_gradients, gradients
from minigraph.initializers import Array, Constant
from minigraph.ir import Role, TensorSpec
from minigraph.ir.errors import GradientError
from minigraph.ops import new_builder
from minigraph.testing import evaluate, graph_of, random_arrays


def values(model, inputs, **specs):
    outputs, _ = evaluate(graph_of(model, **specs), inputs, {})
    return outputs


def test_only_the_path_is_visited():
    """Nothing is built for nodes that wrt does not reach, nor for those the loss does not need."""
    builder = new_builder()
    x, w = builder.input("x", "float32[3]"), builder.input("w", "float32[3]")
    frozen = mg.tanh(mg.exp(x))
    mg.sigmoid(w * 3.0)  # not needed
    loss = mg.reduce_sum(frozen * w)
    before = len(builder.nodes)
    (gradient,) = gradients(loss, [w])
    new = builder.nodes[before:]
    assert {node.op.name for node in new} <= {"Full", "Reshape", "Expand", "Mul"}
    assert gradient.spec == w.spec
    assert not any("grad.exp" in node.name or "grad.tanh" in node.name for node in new)


def test_gradients_to_frozen_parameters_are_not_built():
    def model(x):
        y = mg.dense(x, 4, name="backbone", trainable=False)
        return {"loss": mg.reduce_mean(mg.dense(mg.tanh(y), 2, name="head"))}

    graph = add_gradients(graph_of(model, x="float32[2,3]"), "loss")
    names = [name for name in graph.outputs if name.startswith("gradient")]
    assert names == ["gradient(head.weight)", "gradient(head.bias)"]
    assert not any(node.name.startswith("grad.backbone") for node in graph.nodes)


def test_a_shared_parameter_gets_the_sum():
    w0 = np.array([[0.5, -1.0], [2.0, 0.25]], np.float32)

    def model(x):
        w = mg.parameter(x, "w", (2, 2), Array(w0))
        return {"loss": mg.reduce_sum((x @ w) @ w)}

    graph = add_gradients(graph_of(model, x="float32[3,2]"), "loss")
    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    outputs, _ = evaluate(graph, {"x": x}, {"w": w0})
    ones = np.ones((3, 2), np.float32)
    expected = x.T @ (ones @ w0.T) + (x @ w0).T @ ones
    np.testing.assert_allclose(outputs["gradient(w)"], expected, rtol=1e-6)


def test_a_value_used_many_times():
    def model(x):
        y = x * x
        (g,) = mg.gradients(mg.reduce_sum(y * y + y - x), [x])
        return {"g": g}

    x = np.array([1.0, -2.0, 0.5], np.float32)
    got = values(model, {"x": x}, x="float32[3]")["g"]
    np.testing.assert_allclose(got, 4 * x**3 + 2 * x - 1, rtol=1e-6)


def test_gradients_of_inputs_and_of_intermediates():
    def model(x):
        middle = mg.tanh(x)
        gx, gm = mg.gradients(mg.reduce_sum(middle * middle), [x, middle])
        return {"gx": gx, "gm": gm}

    x = np.linspace(-1, 1, 5, dtype=np.float32)
    got = values(model, {"x": x}, x="float32[5]")
    np.testing.assert_allclose(got["gm"], 2 * np.tanh(x), rtol=1e-5)
    np.testing.assert_allclose(got["gx"], 2 * np.tanh(x) * (1 - np.tanh(x) ** 2), rtol=1e-5)


def test_the_loss_itself():
    builder = new_builder()
    loss = mg.reduce_sum(builder.input("x", "float32[3]"))
    (gradient,) = gradients(loss, [loss])
    assert gradient.spec == loss.spec


def test_gradients_of_gradients():
    def model(x):
        loss = mg.reduce_sum(mg.exp(x * 2.0) + x * x * x)
        (first,) = mg.gradients(loss, [x])
        (second,) = mg.gradients(mg.reduce_sum(first), [x])
        (third,) = mg.gradients(mg.reduce_sum(second), [x])
        return {"first": first, "second": second, "third": third}

    x = np.array([0.1, -0.7, 1.0], np.float32)
    got = values(model, {"x": x}, x="float32[3]")
    e = np.exp(2 * x)
    np.testing.assert_allclose(got["first"], 2 * e + 3 * x**2, rtol=1e-5)
    np.testing.assert_allclose(got["second"], 4 * e + 6 * x, rtol=1e-5)
    np.testing.assert_allclose(got["third"], 8 * e + 6, rtol=1e-5)


def test_gradient_penalty_trains():
    """The gradient with respect to the image is part of the loss: conv's vjp is differentiated."""

    def model(image):
        y = mg.reduce_sum(mg.tanh(mg.conv2d(image, 3, 3, padding=1, name="c")))
        (g,) = mg.gradients(y, [image])
        return {"loss": mg.reduce_mean(g * g)}

    step = mg.compile(model, {"image": "float32[2,2,5,5]"}, optimizer=mg.SGD(0.0), backend="numpy")
    x = np.random.default_rng(0).standard_normal((2, 2, 5, 5)).astype(np.float32)
    got = step(image=x, fetch=["gradient(c.weight)"])
    weight, h = step.state["c.weight"], 1e-2
    for index in [(0, 0, 0, 0), (2, 1, 1, 2)]:
        slope = []
        for sign in (1, -1):
            moved = weight.copy()
            moved[index] += sign * h
            step.state["c.weight"] = moved
            slope.append(float(step(image=x)["loss"]))
        numeric = (slope[0] - slope[1]) / (2 * h)
        assert got["gradient(c.weight)"][index] == pytest.approx(numeric, rel=0.02, abs=1e-4)


def test_stop_gradient():
    def model(x):
        (g,) = mg.gradients(mg.reduce_sum(x * mg.stop_gradient(x)), [x])
        return {"g": g}

    x = np.array([2.0, -3.0], np.float32)
    np.testing.assert_array_equal(values(model, {"x": x}, x="float32[2]")["g"], x)


def test_missing_cotangents_stay_none():
    """Of a node with several outputs only some reach the loss."""

    def model(x):
        a, _, c = mg.split(x, 3)
        (g,) = mg.gradients(mg.reduce_sum(a * 2.0 - c), [x])
        return {"g": g}

    x = np.zeros((1, 6), np.float32)
    got = values(model, {"x": x}, x="float32[1,6]")["g"]
    np.testing.assert_array_equal(got, [[2, 2, 0, 0, -1, -1]])


@pytest.mark.parametrize("which", [0, 1])
def test_one_moment_alone(which):
    def model(x):
        moments = mg.ops.norm.channel_moments(x)
        (g,) = mg.gradients(mg.reduce_sum(moments[which]), [x])
        return {"g": g}

    x = np.random.default_rng(0).standard_normal((4, 2, 3)).astype(np.float32)
    got = values(model, {"x": x}, x="float32[4,2,3]")["g"]
    mean = x.mean((0, 2), keepdims=True)
    expected = np.full_like(x, 1 / 12) if which == 0 else 2 * (x - mean) / 12
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


def test_what_the_loss_does_not_depend_on():
    def model(x, y):
        loss = mg.reduce_sum(x * 2.0)
        gx, gy = mg.gradients(loss, [x, y])
        return {"gx": gx, "gy": gy}

    ones = np.ones(2, np.float32)
    got = values(model, {"x": ones, "y": ones}, x="float32[2]", y="float32[2]")
    np.testing.assert_array_equal(got["gx"], [2, 2])
    np.testing.assert_array_equal(got["gy"], [0, 0])


def test_an_unconnected_parameter_has_no_gradient_and_no_update():
    def model(x):
        mg.parameter(x, "idle", (3,), Constant(1.0))
        return {"loss": mg.reduce_mean(mg.dense(x, 2, name="d"))}

    step = mg.compile(model, {"x": "float32[2,3]"}, optimizer=mg.Momentum(0.1), backend="numpy")
    step(x=np.ones((2, 3), np.float32))
    np.testing.assert_array_equal(step.state["idle"], [1, 1, 1])
    assert "optimizer.velocity.idle" not in step.state
    assert "gradient(idle)" not in step.compiled.built.outputs


def test_integers_carry_no_gradient():
    def model(x, i):
        scale = mg.cast(i * 2, "float32")
        position = mg.cast(mg.argmax(x), "float32")
        loss = mg.reduce_sum(x * scale) + mg.reduce_sum(position)
        (g,) = mg.gradients(loss, [x])
        return {"g": g}

    i = np.array([[1, 2, 3]], np.int32)
    got = values(
        model, {"x": np.ones((1, 3), np.float32), "i": i}, x="float32[1,3]", i="int32[1,3]"
    )["g"]
    np.testing.assert_array_equal(got, 2 * i)


def test_nothing_flows_through_integers():
    def model(x):
        rounded = mg.cast(mg.cast(x * 3.0, "int32") * 2, "float32")
        (g,) = mg.gradients(mg.reduce_sum(rounded * 5.0), [x])
        return {"g": g}

    assert not values(model, {"x": np.ones(3, np.float32)}, x="float32[3]")["g"].any()


def test_a_seed_weighs_the_outputs():
    def model(x, seed):
        (g,) = mg.gradients(x * x, [x], seed)
        return {"g": g}

    x, seed = np.array([1.0, 2.0], np.float32), np.array([10.0, -1.0], np.float32)
    got = values(model, {"x": x, "seed": seed}, x="float32[2]", seed="float32[2]")["g"]
    np.testing.assert_array_equal(got, [20, -4])


def test_half_precision_gradients_have_the_parameters_dtype():
    def model(x):
        w = mg.parameter(x, "w", (3,), Constant(2.0))
        loss = mg.reduce_sum(mg.cast(w * x, "float32"))
        return {"loss": loss}

    graph = add_gradients(graph_of(model, x="float16[3]"), "loss")
    assert graph.outputs["gradient(w)"].spec == TensorSpec((3,), "float16")


def test_locations_and_names_lead_back_to_the_forward_node():
    def model(x):
        y = mg.conv2d(x, 2, 3, name="c")
        return {"loss": mg.reduce_mean(y)}

    graph = add_gradients(graph_of(model, x="float32[1,1,5,5]"), "loss")
    gradient = graph.producer[graph.outputs["gradient(c.weight)"]]
    assert gradient.name.startswith("grad.c.conv2d.")
    assert gradient.op.name == "Conv2dGradWeight"
    assert graph.locations[gradient.outputs[0]][0].line == model.__code__.co_firstlineno + 1


# ---- refusals


def test_what_is_no_loss():
    builder = new_builder()
    x, i = builder.input("x", "float32[3]"), builder.input("i", "int32[3]")
    with pytest.raises(GradientError, match=r"Expected a scalar loss, got <Tensor x: float32\[3\]"):
        gradients(x, [x])
    with pytest.raises(GradientError, match="Expected a floating loss"):
        gradients(mg.reduce_sum(i), [x])
    with pytest.raises(GradientError, match=r"Expected a seed float32\[3\], got float32\[\]"):
        gradients(x, [x], mg.reduce_sum(x))


def test_training_without_a_loss_or_without_parameters():
    def model(x):
        return {"y": mg.dense(x, 1), "x": mg.reduce_sum(x)}

    for arguments, message in (
        ({}, "Expected an output called 'loss' to minimise, got y, x"),
        ({"loss": "x"}, "Expected 'x' to depend on a trainable parameter, got none among 2"),
        ({"loss": "y"}, "Expected a scalar loss"),
    ):
        with pytest.raises(GradientError, match=message):
            mg.compile(
                model, {"x": "float32[2,3]"}, optimizer=mg.SGD(0.1), backend="numpy", **arguments
            )


def test_fused_nodes_have_no_gradient():
    step = mg.compile(
        lambda x: {"y": mg.relu(mg.conv2d(x, 2, 3))}, {"x": "float32[1,1,5,5]"}, backend="numpy"
    )
    graph = step.graph
    builder = new_builder(graph)
    loss = mg.reduce_sum(builder.wrap(graph.outputs["y"]))
    weight = next(state.value for state in graph.state if state.role is Role.PARAMETER)
    with pytest.raises(GradientError, match="Fused has no gradient"):
        gradients(loss, [builder.wrap(weight)])


def test_a_wrong_vjp_is_named():
    from dataclasses import dataclass

    from minigraph.ops.elementwise import Unary
    from minigraph.ops.reduce import reduce_sum

    @dataclass(frozen=True)
    class Wrong(Unary):
        def vjp(self, inputs, outputs, grads):
            return (reduce_sum(grads[0]),)

    builder = new_builder()
    x = builder.input("x", "float32[3]")
    with pytest.raises(GradientError, match=r"Expected a cotangent float32\[3\] for %x from Wrong"):
        gradients(mg.reduce_sum(builder.emit(Wrong(), x)[0]), [x])


def test_gradients_do_not_depend_on_the_order_of_parameters():
    def model(first):
        def inner(x):
            for name in ("a", "b") if first else ("b", "a"):
                mg.parameter(x, name, (3,), Constant(1.0))
            builder = x.builder
            a, b = builder.existing_state("a"), builder.existing_state("b")
            return {"loss": mg.reduce_sum(mg.tanh(a * x) * b)}

        return add_gradients(graph_of(inner, x="float32[3]"), "loss")

    graphs = model(True), model(False)
    inputs, state = random_arrays(graphs[0])
    a, b = (evaluate(graph, inputs, state)[0] for graph in graphs)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])
