"""The order of steps: what is hoisted, what waits, and for what."""

from __future__ import annotations

import numpy as np

import minigraph as mg
from minigraph.backend import load_backend
from minigraph.initializers import Constant
from minigraph.ir import Graph, Role, TensorSpec
from minigraph.layouts import assign_layouts
from minigraph.ops import new_builder
from minigraph.schedule import make_schedule
from minigraph.testing import graph_of


def names(nodes):
    return [node.name for node in nodes]


def assert_valid(graph: Graph):
    """Every step once, after what it reads."""
    schedule = make_schedule(graph, assign_layouts(graph, load_backend("numpy")))
    made = set(graph.inputs) | {state.value for state in graph.state}
    for node in (*schedule.cached, *schedule.steps):
        for value in node.inputs:
            assert schedule.root(value) in made, f"{node} runs before {value}"
        assert not made & set(node.outputs)
        made.update(node.outputs)
    wanted = [node for node in graph.nodes if not node.op.is_view]
    assert sorted(names((*schedule.cached, *schedule.steps))) == sorted(names(wanted))
    return schedule


def test_inference_hoists_what_depends_on_state_alone():
    def model(x):
        w = mg.parameter(x, "w", (3,), Constant(2.0))
        scale = mg.sqrt(mg.exp(w) + np.array([1.0, 2.0, 3.0], np.float32))
        return {"y": mg.tanh(x) * scale}

    schedule = assert_valid(graph_of(model, x="float32[2,3]"))
    assert names(schedule.cached) == ["exp", "constant", "add", "sqrt"]
    assert names(schedule.steps) == ["tanh", "mul"]
    assert schedule.cached_reads_state


def test_training_hoists_constants_alone():
    def model(x):
        w = mg.parameter(x, "w", (3,), Constant(2.0))
        x.builder.update(w, w * 0.5)
        constant = x.builder.constant(np.array([1.0, 2.0, 3.0], np.float32))
        return {"y": x * mg.exp(w) * mg.tanh(constant)}

    schedule = assert_valid(graph_of(model, x="float32[3]"))
    assert set(names(schedule.cached)) == {"full", "constant", "tanh"}
    assert not schedule.cached_reads_state


def test_views_have_roots_and_are_no_steps():
    def model(x):
        flat = mg.flatten(mg.exp(x))
        again = mg.stop_gradient(flat)
        return {"y": again, "x": mg.flatten(x)}

    graph = graph_of(model, x="float32[2,3,4]")
    schedule = assert_valid(graph)
    assert names(schedule.steps) == ["exp"]
    assert schedule.root(graph.outputs["y"]).name == "exp"
    assert schedule.root(graph.outputs["x"]).name == "x"


def test_a_view_of_a_state_is_not_cached():
    graph = graph_of(
        lambda x: {"y": x + mg.flatten(mg.parameter(x, "w", (2, 3), Constant(1.0)), 0)},
        x="float32[6]",
    )
    schedule = assert_valid(graph)
    assert schedule.cached == () and names(schedule.steps) == ["add"]


def test_an_update_waits_for_the_last_reader_of_the_old_value():
    builder = new_builder()
    x = builder.input("x", "float32[3]")
    w = builder.state("w", TensorSpec((3,)), Role.PARAMETER, Constant(1.0))
    builder.update(w, builder.emit(mg.ops.elementwise.Add(), w, x, name="new")[0])
    late = x
    for _ in range(4):
        late = mg.tanh(late)
    builder.output("y", builder.emit(mg.ops.elementwise.Mul(), late, w, name="reader")[0])
    order = names(assert_valid(builder.build()).steps)
    assert order.index("new") > order.index("reader")


def test_an_update_waits_for_every_refusal():
    builder = new_builder()
    logits = builder.input("logits", "float32[2,3]")
    labels = builder.input("labels", "int32[2]")
    count = builder.state("count", TensorSpec(()), Role.STATISTIC, Constant(0.0))
    builder.update(count, builder.emit(
        mg.ops.elementwise.Add(), count, builder.full((), 1.0, mg.DType.FLOAT32), name="new"
    )[0])  # fmt: skip
    builder.output("loss", mg.softmax_cross_entropy(mg.tanh(mg.tanh(logits)), labels))
    order = names(assert_valid(builder.build()).steps)
    assert order.index("new") > order.index("cross_entropy")


def test_gradients_are_consumed_where_they_are_made():
    """An update runs right after its gradient, not after the whole backward pass."""

    def model(x):
        for number in range(4):
            x = mg.tanh(mg.dense(x, 3, name=f"d{number}"))
        return {"loss": mg.reduce_mean(x)}

    step = mg.compile(model, {"x": "float32[2,3]"}, optimizer=mg.SGD(0.1), backend="numpy")
    schedule = assert_valid(step.graph)
    order = names(schedule.steps)
    written = {step.graph.updates[name].name: name for name in step.graph.updates}
    last = [written[name] for name in order if name in written and "weight" in written[name]]
    assert last == ["d3.weight", "d2.weight", "d1.weight", "d0.weight"]
    first_update = min(order.index(name) for name in written)
    assert first_update < len(order) - 2 * len(written)


def test_what_feeds_updates_alone_runs_as_late_as_its_end():
    builder = new_builder()
    x = builder.input("x", "float32[3]")
    w = builder.state("w", TensorSpec((3,)), Role.PARAMETER, Constant(1.0))
    early = builder.emit(mg.ops.elementwise.Exp(), x, name="early")[0]
    builder.update(w, builder.emit(mg.ops.elementwise.Add(), early, w, name="new")[0])
    late = x
    for _ in range(4):
        late = mg.tanh(late)
    builder.output("y", late * w)
    order = names(assert_valid(builder.build()).steps)
    assert order.index("new") == order.index("early") + 1
    assert order.index("early") > order.index("tanh_3")


def test_nodes_that_may_refuse_are_never_hoisted():
    def model(image):
        label = image.builder.constant(np.array([0, 5], np.int32))
        w = mg.parameter(image, "w", (2, 3), Constant(1.0))
        return {"loss": mg.softmax_cross_entropy(w, label), "y": image}

    schedule = assert_valid(graph_of(model, image="float32[2]"))
    assert "cross_entropy" in names(schedule.steps)


def test_a_whole_step_is_valid():
    def model(image, label):
        x = mg.batch_norm(mg.conv2d(image, 4, 3, name="c"), name="n")
        x = mg.dropout(mg.relu(x), name="d")
        return {"loss": mg.softmax_cross_entropy(mg.global_avg_pool2d(x), label)}

    for optimizer in (mg.SGD(0.1), mg.Momentum(0.1), mg.Adam(0.1), mg.AdaGrad(0.1)):
        step = mg.compile(
            model, {"image": "float32[2,1,6,6]", "label": "int32[2]"}, optimizer=optimizer,
            backend="numpy",
        )  # fmt: skip
        assert_valid(step.graph)
        assert_valid(step.compiled.built)
