"""State is a parallel assignment: whatever the order of the steps, new values come from old ones.

Every graph here is run three times against a plain NumPy interpreter, and its memory plan is proven
with `check_memory`.
"""

from __future__ import annotations

import numpy as np
import pytest

import minigraph as mg
from minigraph.backend import load_backend
from minigraph.compiler import Options, compile_inference, finish
from minigraph.executable import Executable
from minigraph.initializers import Array
from minigraph.ir import Graph, Role, TensorSpec
from minigraph.ir.builder import Builder
from minigraph.ir.tensor import Tensor
from minigraph.ops import control, elementwise, loss, new_builder
from minigraph.ops.broadcast import reshape
from minigraph.replay import GraphSource
from minigraph.state import ModelState
from minigraph.testing import check_memory

SHAPE = (3, 4)
NUMPY = {
    elementwise.Add: np.add,
    elementwise.Sub: np.subtract,
    elementwise.Mul: np.multiply,
    elementwise.Maximum: np.maximum,
    elementwise.Minimum: np.minimum,
    elementwise.Neg: np.negative,
    elementwise.Relu: lambda x: np.maximum(x, np.float32(0)),
    elementwise.Tanh: np.tanh,
}


def interpret(graph: Graph, inputs: dict, state: dict) -> tuple[dict, dict]:
    """One call in plain NumPy: outputs, and the new state from the old one all at once."""
    known = {value: inputs[value.name] for value in graph.inputs}
    known |= {variable.value: state[variable.name] for variable in graph.state}
    for node in graph.nodes:
        operands = [known[value] for value in node.inputs]
        (output,) = node.outputs
        if node.op.name in ("Reshape", "Flatten", "StopGradient"):
            known[output] = operands[0].reshape(output.spec.shape)
        elif node.op.name == "Full":
            known[output] = np.full(node.op.shape, node.op.value, output.spec.dtype.numpy)
        elif node.op.name == "Constant":
            known[output] = graph.constants[node.op.digest]
        else:
            known[output] = NUMPY[type(node.op)](*operands).astype(output.spec.dtype.numpy)
    outputs = {name: known[value] for name, value in graph.outputs.items()}
    return outputs, state | {name: known[value] for name, value in graph.updates.items()}


def executable(graph: Graph) -> Executable:
    """A graph with updates as an executable, by the compiler's own way."""
    backend = load_backend("numpy", 1)
    options = Options()
    return Executable(
        GraphSource(graph),
        {value.name: value.spec for value in graph.inputs},
        lambda source, outputs, preferred=None: finish(source, backend, options),
        backend,
        ModelState(backend, 0),
    )


def check_against_numpy(graph: Graph, calls: int = 3) -> Executable:
    exe = executable(graph)
    check_memory(exe.graph, exe.compiled.program)
    state = dict(exe.state)
    rng = np.random.default_rng(7)
    for _ in range(calls):
        inputs = {
            value.name: rng.standard_normal(value.spec.shape).astype(np.float32)
            for value in graph.inputs
        }
        expected, state = interpret(graph, inputs, state)
        got = exe(**inputs)
        for name, array in expected.items():
            np.testing.assert_array_equal(got[name], array, err_msg=f"output {name}\n{exe.graph}")
        for name, array in state.items():
            np.testing.assert_array_equal(
                exe.state[name], array, err_msg=f"state {name}\n{exe.graph}"
            )
    return exe


def start(*names: str, inputs: tuple[str, ...] = ("x",)) -> tuple[Builder, dict[str, Tensor]]:
    """A builder with states (of distinct values) and inputs, by name."""
    builder = new_builder()
    tensors = {name: builder.input(name, TensorSpec(SHAPE)) for name in inputs}
    for number, name in enumerate(names):
        first = np.arange(12, dtype=np.float32).reshape(SHAPE) / 8 + 10 * number
        tensors[name] = builder.state(name, TensorSpec(SHAPE), Role.PARAMETER, Array(first))
    return builder, tensors


# ---- hazards, one by one


def test_average_of_the_old_weight():
    builder, t = start("w", "average")
    builder.update(t["w"], t["w"] - t["x"] * 0.5)
    builder.update(t["average"], t["average"] * 0.75 + t["w"] * 0.25)
    builder.output("y", t["x"] * 2.0)
    check_against_numpy(builder.build())


@pytest.mark.parametrize("first", ["update", "output"])
def test_output_that_is_the_old_weight(first):
    builder, t = start("w")
    if first == "output":
        builder.output("old", t["w"])
    builder.update(t["w"], t["w"] + t["x"])
    if first == "update":
        builder.output("old", t["w"])
    check_against_numpy(builder.build())


def test_output_that_depends_on_the_old_weight_late():
    builder, t = start("w")
    new = t["w"] + t["x"]
    builder.update(t["w"], new)
    y = t["x"]
    for _ in range(5):
        y = mg.tanh(y * 1.5)
    builder.output("late", y * t["w"])
    builder.output("new", new)
    check_against_numpy(builder.build())


def test_two_states_swap():
    builder, t = start("a", "b")
    builder.update(t["a"], t["b"])
    builder.update(t["b"], t["a"])
    builder.output("y", t["x"])
    check_against_numpy(builder.build())


@pytest.mark.parametrize("size", [3, 4, 5])
def test_rotation(size):
    names = [f"s{i}" for i in range(size)]
    builder, t = start(*names)
    for target, source in zip(names, names[1:] + names[:1], strict=True):
        builder.update(t[target], t[source])
    builder.output("y", t["x"] + t["s0"])
    check_against_numpy(builder.build())


def test_chain_of_delays():
    builder, t = start("newest", "older", "oldest")
    builder.update(t["oldest"], t["older"])
    builder.update(t["older"], t["newest"])
    builder.update(t["newest"], t["x"])
    builder.output("y", t["oldest"] + t["x"])
    check_against_numpy(builder.build())


def test_equal_updates_are_one_node_after_merging():
    builder, t = start("a", "b")
    builder.update(t["a"], t["a"] + t["x"])
    builder.update(t["b"], t["a"] + t["x"])
    builder.output("y", t["b"] * 2.0)
    exe = check_against_numpy(builder.build())
    assert [node.op.name for node in exe.graph.nodes].count("Add") == 1


def test_one_value_updates_two_states_and_is_an_output():
    builder, t = start("a", "b")
    new = t["a"] * t["x"] + t["b"]
    builder.update(t["a"], new)
    builder.update(t["b"], new)
    builder.output("y", new)
    check_against_numpy(builder.build())


def test_state_set_to_an_input():
    builder, t = start("last")
    builder.update(t["last"], t["x"])
    builder.output("difference", t["x"] - t["last"])
    check_against_numpy(builder.build())


def test_state_set_to_an_input_that_a_node_could_overwrite():
    builder, t = start("last")
    builder.update(t["last"], t["x"])
    builder.output("y", mg.tanh(t["x"]))
    check_against_numpy(builder.build())


@pytest.mark.parametrize("uniform", [True, False])
def test_state_set_to_a_constant(uniform):
    builder, t = start("a")
    array = np.full(SHAPE, 2.5, np.float32)
    if not uniform:
        array[1, 2] = -1
    builder.update(t["a"], builder.constant(array))
    builder.output("y", t["a"] + t["x"])
    check_against_numpy(builder.build())


def test_state_set_to_a_view_of_a_node():
    builder, t = start("a", "b")
    node = reshape(t["x"], (4, 3)) * 3.0
    builder.update(t["a"], reshape(node, SHAPE))
    builder.update(t["b"], t["a"] + t["b"])
    builder.output("y", node)
    check_against_numpy(builder.build())


def test_state_set_to_a_view_of_another_state():
    builder, t = start("a", "b")
    builder.update(t["a"], control.stop_gradient(t["b"]))
    builder.update(t["b"], reshape(reshape(t["a"], (12,)), SHAPE))
    builder.output("y", reshape(t["a"], (2, 6)))
    check_against_numpy(builder.build())


def test_state_updated_by_itself():
    builder, t = start("a", "b")
    builder.update(t["a"], t["a"])
    builder.update(t["b"], control.stop_gradient(t["b"]))
    builder.output("y", t["a"] + t["b"] * t["x"])
    exe = check_against_numpy(builder.build())
    assert exe.memory.commits == ()


def test_update_reads_its_own_view():
    builder, t = start("a")
    transposed = mg.transpose(t["a"])
    builder.update(t["a"], reshape(transposed, SHAPE) + t["x"])
    builder.output("y", t["x"])
    exe = executable(builder.build())
    check_memory(exe.graph, exe.compiled.program)
    before = exe.state["a"]
    x = np.ones(SHAPE, np.float32)
    exe(x=x)
    np.testing.assert_array_equal(exe.state["a"], before.T.reshape(SHAPE) + x)


@pytest.mark.parametrize("through_view", [False, True])
@pytest.mark.parametrize(
    ("function", "reference"),
    [
        (mg.transpose, np.transpose),
        (mg.leaky_relu, lambda s: np.where(s > 0, s, np.float32(0.01) * s)),
        (lambda s: s @ s, lambda s: s @ s),
        (lambda s: s + mg.transpose(s), lambda s: s + s.T),
    ],
)
def test_update_whose_kernel_must_not_write_over_what_it_reads(function, reference, through_view):
    builder = new_builder()
    first = np.arange(-30, 34, dtype=np.float32).reshape(8, 8) / 16
    s = builder.state("s", TensorSpec((8, 8)), Role.PARAMETER, Array(first))
    builder.update(s, function(control.stop_gradient(s) if through_view else s))
    builder.output("y", builder.input("x", "float32[2]"))
    exe = executable(builder.build())
    check_memory(exe.graph, exe.compiled.program)
    exe(x=np.zeros(2, np.float32))
    np.testing.assert_allclose(exe.state["s"], reference(first), rtol=1e-5)


def test_update_that_shifts_the_state_is_not_computed_in_its_place():
    # every element of the new state reads another element of the old one
    builder, t = start("a")
    flipped = mg.concat([t["a"][1:], t["a"][:1]], axis=0)
    builder.update(t["a"], flipped)
    builder.output("y", t["a"] + t["x"])
    exe = executable(builder.build())
    check_memory(exe.graph, exe.compiled.program)
    before = exe.state["a"]
    got = exe(x=np.zeros(SHAPE, np.float32))
    np.testing.assert_array_equal(got["y"], before)
    np.testing.assert_array_equal(exe.state["a"], np.roll(before, -1, axis=0))


def test_new_value_is_also_fetched():
    def model(x):
        y = mg.dense(x, 4, name="d")
        return {"loss": mg.reduce_mean(y * y)}

    step = mg.compile(model, {"x": "float32[3,5]"}, optimizer=mg.Momentum(0.1), backend="numpy")
    x = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    new = step.compiled.built.updates["d.weight"].name
    old = step.state["d.weight"]
    got = step(x=x, fetch=[new, "d.weight", "gradient(d.weight)"])
    np.testing.assert_array_equal(got[new], step.state["d.weight"])
    np.testing.assert_array_equal(got["d.weight"], old)
    velocity = step.state["optimizer.velocity.d.weight"]
    np.testing.assert_array_equal(velocity, -np.float32(0.1) * got["gradient(d.weight)"])
    np.testing.assert_array_equal(got[new], old + velocity)


def test_fetching_the_old_weight_does_not_change_the_path():
    def model(x):
        return {"loss": mg.reduce_mean(mg.tanh(mg.dense(x, 3, name="d")))}

    make = lambda: mg.compile(  # noqa: E731
        model, {"x": "float32[2,5]"}, optimizer=mg.Adam(0.1), backend="numpy"
    )
    plain, watched = make(), make()
    rng = np.random.default_rng(0)
    for _ in range(4):
        x = rng.standard_normal((2, 5)).astype(np.float32)
        before = watched.state["d.weight"]
        plain(x=x)
        assert np.array_equal(watched(x=x, fetch=["d.weight"])["d.weight"], before)
    for name in plain.state:
        np.testing.assert_array_equal(plain.state[name], watched.state[name])


# ---- random graphs


def random_graph(seed: int) -> Graph:
    """A few states, random elementwise nodes and views, random readers, outputs and updates."""
    rng = np.random.default_rng(seed)
    names = [f"s{i}" for i in range(rng.integers(3, 6))]
    builder, t = start(*names, inputs=("x", "y"))
    pool = list(t.values())
    pool.append(builder.constant(rng.standard_normal(SHAPE).astype(np.float32)))
    pool.append(builder.full(SHAPE, 0.5, mg.DType.FLOAT32))

    def pick() -> Tensor:  # mostly young values: long chains, in which old state is read late
        return pool[-int(min(rng.geometric(0.15), len(pool)))] if rng.random() < 0.6 else (
            pool[rng.integers(len(pool))]
        )  # fmt: skip

    def emit() -> Tensor:
        kind = rng.integers(10)
        if kind < 5:
            op = (elementwise.Add, elementwise.Sub, elementwise.Mul, elementwise.Maximum,
                  elementwise.Minimum)[kind]  # fmt: skip
            return builder.emit(op(), pick(), pick())[0]
        if kind < 8:
            op = (elementwise.Neg, elementwise.Relu, elementwise.Tanh)[kind - 5]
            return builder.emit(op(), pick())[0]
        if kind == 8:
            return control.stop_gradient(pick())
        return reshape(reshape(pick(), (2, 6)), SHAPE)

    for _ in range(rng.integers(2, 25)):
        pool.append(mg.tanh(emit()) if rng.random() < 0.2 else emit())
    for name in names:
        if rng.random() < 0.85:
            builder.update(t[name], pick())
    for number in range(rng.integers(1, 4)):
        builder.output(f"out{number}", pick())
    return builder.build()


@pytest.mark.parametrize("block", range(20))
def test_random_graphs(block):
    for seed in range(20 * block, 20 * block + 20):
        graph = random_graph(seed)
        try:
            check_against_numpy(graph, calls=2)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}\n{graph}") from error


def test_random_graphs_cover_what_they_should():
    """Among them: states computed in place, commits, kept old states, states read to the end."""
    plans = [executable(random_graph(seed)) for seed in range(60)]
    steps = [step for exe in plans for step in exe.compiled.program.steps]
    assert sum(bool(o and o.memory.value == "state") for s in steps for o in s.outputs) > 20
    assert sum(len(exe.memory.commits) for exe in plans) > 60
    assert sum(len(exe.memory.copies) for exe in plans) > 10


# ---- refusals


def full_model(image, label):
    x = mg.batch_norm(mg.conv2d(image, 4, 3, padding=1, name="conv"), name="norm")
    x = mg.dropout(mg.relu(x), 0.3, name="drop")
    logits = mg.conv2d(x, 3, 1, name="head")
    return {"loss": mg.softmax_cross_entropy(logits, label), "logits": logits}


def full_step():
    return mg.compile(
        full_model,
        {"image": "float32[2,2,6,6]", "label": "uint8[2,6,6]"},
        optimizer=mg.Momentum(0.1),
        backend="numpy",
    )


def full_batch(rng):
    image = rng.standard_normal((2, 2, 6, 6)).astype(np.float32)
    return image, rng.integers(0, 3, (2, 6, 6)).astype(np.uint8)


def bits(state) -> dict:
    return {name: state[name].tobytes() for name in state}


@pytest.mark.parametrize("place", [(0, 0, 0), (1, 5, 5)])
def test_a_refused_batch_never_happened(place):
    tried, clean = full_step(), full_step()
    check_memory(tried.graph, tried.compiled.program)
    rng = np.random.default_rng(0)
    for _ in range(2):
        image, label = full_batch(rng)
        tried(image=image, label=label)
        clean(image=image, label=label)
    image, label = full_batch(rng)
    bad = label.copy()
    bad[place] = 7
    before = bits(tried.state)
    assert {"norm.running_mean", "random.key", "optimizer.velocity.conv.weight"} <= before.keys()
    with pytest.raises(mg.IllegalLabelError, match="no state was changed"):
        tried(image=image, label=bad)
    assert bits(tried.state) == before
    with pytest.raises(mg.IllegalLabelError):
        tried(image=image, label=bad, fetch=["norm.running_mean"])
    assert bits(tried.state) == before
    with pytest.raises(mg.IllegalLabelError):
        tried.profile(image=image, label=bad, runs=1)
    assert bits(tried.state) == before
    a, b = tried(image=image, label=label), clean(image=image, label=label)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])
    assert bits(tried.state) == bits(clean.state)


def test_a_refused_call_with_wrong_arrays_changes_nothing():
    step = full_step()
    image, label = full_batch(np.random.default_rng(0))
    step(image=image, label=label)
    before = bits(step.state)
    read_only = np.empty((), np.float32)
    read_only.flags.writeable = False
    calls = [
        {"image": image},
        {"image": image, "label": label.astype(np.float32)},
        {"image": image, "label": label, "out": {"loss": np.empty((1,), np.float32)}},
        {"image": image, "label": label, "out": {"loss": read_only}},
        {"image": image, "label": label, "out": {"loss": [0.0]}},
        {"image": image, "label": label, "fetch": ["nothing.like.it"]},
    ]
    for arguments in calls:
        with pytest.raises(mg.MinigraphError):
            step(**arguments)
        assert bits(step.state) == before


def test_a_node_that_refuses_does_not_write_state_itself():
    # The gradient of many images is made some images at a time: the first ones would be written
    # before a label of the last is looked at.
    builder = new_builder()
    spec = TensorSpec((4, 3, 100, 100))
    logits = builder.input("logits", spec)
    labels = builder.input("labels", TensorSpec((4, 100, 100), mg.DType.INT32))
    kept = builder.state("kept", spec, Role.STATISTIC, Array(np.zeros(spec.shape)))
    one = builder.full((), 1.0, mg.DType.FLOAT32)
    builder.update(kept, builder.emit(loss.CrossEntropyGrad(), logits, labels, one)[0])
    exe = executable(builder.build())
    check_memory(exe.graph, exe.compiled.program)
    label = np.zeros((4, 100, 100), np.int32)
    label[3, 99, 99] = 3
    with pytest.raises(mg.IllegalLabelError):
        exe(logits=np.ones(spec.shape, np.float32), labels=label)
    assert not exe.state["kept"].any()


def test_a_refusal_late_in_the_graph_holds_back_updates_that_do_not_need_it():
    builder, t = start("count")
    builder.update(t["count"], t["count"] + 1.0)
    x = t["x"]
    for _ in range(4):
        x = mg.tanh(x)
    labels = builder.input("labels", TensorSpec((3,), mg.DType.INT32))
    builder.output("loss", mg.softmax_cross_entropy(x, labels))
    exe = executable(builder.build())
    check_memory(exe.graph, exe.compiled.program)
    before = exe.state["count"]
    with pytest.raises(mg.IllegalLabelError):
        exe(x=np.ones(SHAPE, np.float32), labels=np.array([0, 1, 4], np.int32))
    np.testing.assert_array_equal(exe.state["count"], before)
    exe(x=np.ones(SHAPE, np.float32), labels=np.array([0, 1, 3], np.int32))
    np.testing.assert_array_equal(exe.state["count"], before + 1)


# ---- what a user holds


def test_reads_are_copies_and_writes_are_checked():
    step = full_step()
    weight = step.state["conv.weight"]
    kept = weight.copy()
    weight[:] = 0
    np.testing.assert_array_equal(step.state["conv.weight"], kept)
    step.state["conv.weight"] = kept.astype(np.float64) * 2
    np.testing.assert_array_equal(step.state["conv.weight"], kept * 2)
    with pytest.raises(mg.StateError, match=r"Expected shape \[4, 2, 3, 3\] for 'conv.weight'"):
        step.state["conv.weight"] = np.zeros((4, 2, 3, 2))
    with pytest.raises(mg.StateError, match=r"did you mean conv.weight"):
        step.state["conv.wieght"]
    with pytest.raises(mg.StateError):
        step.state["new"] = np.zeros(3)
    with pytest.raises(mg.StateError, match="cannot be deleted"):
        del step.state["conv.weight"]
    assert "conv.weight" in step.state and "conv" not in step.state
    assert set(step.state.parameters()) == {
        "conv.weight", "conv.bias", "norm.weight", "norm.bias", "head.weight", "head.bias",
    }  # fmt: skip


def test_a_state_of_another_shape_is_refused_and_nothing_is_made():
    def model(x, width):
        return {"y": mg.dense(mg.dense(x, width, name="first"), 2, name="second")}

    exe = mg.compile(lambda x: model(x, 4), {"x": "float32[2,3]"}, backend="numpy")
    names = set(exe.state)
    with pytest.raises(mg.StateError, match=r"Expected 'first.weight' to be float32\[4,3\]"):
        mg.compile(
            lambda x: {"z": mg.dense(model(x, 5)["y"], 1, name="third")},
            {"x": "float32[2,3]"}, backend="numpy", state=exe.state,
        )  # fmt: skip
    assert set(exe.state) == names


def test_inference_leaves_the_state_alone():
    step = full_step()
    exe = mg.compile(
        full_model, {"image": "float32[2,2,6,6]", "label": "uint8[2,6,6]"},
        outputs=["logits"], backend="numpy", state=step.state,
    )  # fmt: skip
    image, _ = full_batch(np.random.default_rng(0))
    before = bits(step.state)
    exe(image=image)
    assert bits(step.state) == before
    assert compile_inference(step.compiled.built, None, backend=step.backend, options=Options())
