"""Batch norm in inference costs nothing: it goes into the convolution's weights."""

from __future__ import annotations

import numpy as np
import pytest

import minigraph as mg
from minigraph.passes import (
    eliminate_dead_nodes,
    fold_batch_norm,
    fold_constants,
    merge_common_nodes,
    run_passes,
    to_inference,
)
from minigraph.testing import evaluate, graph_of, random_arrays

SPEC = {"x": "float32[2,3,8,8]"}


def inference(model):
    graph = to_inference(graph_of(model, **SPEC))
    return run_passes(graph, (eliminate_dead_nodes, fold_constants, merge_common_nodes))[0]


def images(graph):
    """Ops whose results are as large as images."""
    return [node.op.name for node in graph.nodes if node.outputs[0].spec.size > 500]


def assert_same_values(before, after):
    inputs, state = random_arrays(before)
    state = {n: np.abs(a) + 0.5 if n.endswith("running_var") else a for n, a in state.items()}
    expected, _ = evaluate(before, inputs, state)
    got, _ = evaluate(after, inputs, state)
    for name, array in expected.items():
        np.testing.assert_allclose(got[name], array, atol=1e-5 * np.abs(array).max())


def with_bias(x):
    return {"y": mg.relu(mg.batch_norm(mg.conv2d(x, 8, 3, name="c"), name="n"))}


def without_bias(x):
    return {"y": mg.batch_norm(mg.conv2d(x, 8, 3, bias=False, name="c"), name="n")}


def twice(x):
    y = mg.batch_norm(mg.conv2d(x, 8, 3, name="c"), name="n")
    return {"y": mg.batch_norm(y, name="m") * 2.0}


@pytest.mark.parametrize(
    ("model", "left"),
    [(with_bias, ["Conv2d", "Add", "Relu"]), (without_bias, ["Conv2d", "Add"]),
     (twice, ["Conv2d", "Add"])],
)  # fmt: skip
def test_it_becomes_a_bias(model, left):
    before = inference(model)
    after = fold_batch_norm(before)
    assert images(after) == left
    assert_same_values(before, after)
    assert images(fold_batch_norm(after)) == left


def fetched(x):
    y = mg.conv2d(x, 8, 3, name="c")
    return {"y": mg.batch_norm(y, name="n"), "between": y}


def of_the_input(x):
    factor = mg.reduce_mean(x)
    return {"y": mg.conv2d(x, 8, 3, name="c") * factor}


def only_a_bias(x):
    return {"y": mg.conv2d(x, 8, 3, name="c")}


def reversed_difference(x):
    return {"y": (1.0 - mg.conv2d(x, 8, 3, name="c", bias=False)) * 2.0}


@pytest.mark.parametrize("model", [fetched, of_the_input, only_a_bias, reversed_difference])
def test_it_leaves_alone_what_others_read_or_inputs_decide(model):
    before = inference(model)
    after = fold_batch_norm(before)
    assert images(after) == images(before)


def test_a_training_step_is_left_alone():
    step = mg.compile(
        lambda x: {"loss": mg.reduce_mean(with_bias(x)["y"])}, SPEC,
        optimizer=mg.SGD(0.1), backend="numpy",
    )  # fmt: skip
    assert fold_batch_norm(step.compiled.built) is step.compiled.built
