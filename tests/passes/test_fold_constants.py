"""Folding computes what the run would compute, to the last bit, and only that."""

from __future__ import annotations

import numpy as np
import pytest

import minigraph as mg
from minigraph.ir import DType
from minigraph.ir.constant import Constant, Full
from minigraph.ops import elementwise, reduce
from minigraph.ops.broadcast import expand, reshape
from minigraph.passes import fold_constants
from minigraph.testing import assert_rewrite, assert_unchanged, evaluate, graph_of

TABLE = np.array([[1.5, -2.0, 0.25]], np.float32)


def test_arithmetic_on_constants():
    def before(x):
        table = x.builder.constant(TABLE)
        return {"y": x + reshape(mg.maximum(table * 2.0, 1.0) - table, (3,))}

    folded = np.maximum(TABLE * np.float32(2), np.float32(1)) - TABLE
    after = graph_of(lambda x: {"y": x + folded.reshape(3)}, x="float32[3]")
    assert_rewrite(fold_constants, graph_of(before, x="float32[3]"), after)


def test_uniform_values_stay_uniform():
    def before(x):
        one = x.builder.full((), 1.0, DType.FLOAT32)
        return {"y": x * expand(mg.sqrt(one + 3.0), (4,))}

    after = graph_of(lambda x: {"y": x * x.builder.full((4,), 2.0, DType.FLOAT32)}, x="float32[4]")
    assert_rewrite(fold_constants, graph_of(before, x="float32[4]"), after)


def test_counts_are_folded():
    before = graph_of(lambda x: {"y": x / reduce.count(x, (0, 2))}, x="float32[2,3,5]")
    after = graph_of(lambda x: {"y": x / 10.0}, x="float32[2,3,5]")
    assert_rewrite(fold_constants, before, after)


@pytest.mark.parametrize(
    "op",
    [elementwise.Equal, elementwise.NotEqual, elementwise.Less, elementwise.LessEqual,
     elementwise.Greater, elementwise.GreaterEqual],
)  # fmt: skip
def test_comparisons_and_choice(op):
    a, b = np.array([1, 2, 3], np.float32), np.array([3, 2, 1], np.float32)

    def model(x):
        builder = x.builder
        (c,) = builder.emit(op(), builder.constant(a), builder.constant(b))
        return {"y": x + mg.where(c & (~c | c), a, b)}

    graph = graph_of(model, x="float32[3]")
    folded = fold_constants(graph)
    assert [node.op.name for node in folded.nodes if not node.inputs] in (["Constant"], ["Full"])
    assert_rewrite(fold_constants, graph, folded)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "int32", "uint8"])
def test_every_dtype_folds_to_what_the_run_gives(dtype):
    def model(x):
        table = mg.cast(x.builder.constant(np.array([3, 5, 250], np.int32)), dtype)
        return {"y": x + (table * table + table)}

    graph = graph_of(model, x=f"{dtype}[3]")
    folded = fold_constants(graph)
    assert [node.op.name for node in folded.nodes] == ["Constant", "Add"]
    assert_rewrite(fold_constants, graph, folded)


def test_what_depends_on_an_input_or_state_is_left():
    def model(x):
        w = mg.parameter(x, "w", (3,), mg.initializers.Constant(2.0))
        return {"y": (x + 1.0) * 2.0, "z": w * 3.0}

    assert_unchanged(fold_constants, graph_of(model, x="float32[3]"))


def test_functions_that_differ_between_backends_are_left():
    def model(x):
        table = x.builder.constant(TABLE)
        return {"y": x + mg.exp(table) + mg.tanh(table) + mg.sigmoid(table)}

    assert_unchanged(fold_constants, graph_of(model, x="float32[1,3]"))


def test_values_that_are_not_finite_are_left():
    graph = graph_of(
        lambda x: {"y": x + x.builder.full((), 1.0, DType.FLOAT32) / 0.0}, x="float32[2]"
    )
    assert_unchanged(fold_constants, graph)


def test_large_results_are_left():
    def model(x):
        return {"y": x + expand(x.builder.constant(TABLE), (2000, 3))}

    assert_unchanged(fold_constants, graph_of(model, x="float32[2000,3]"))


def test_a_folded_value_may_be_an_output():
    def before(x):
        return {"y": x * 2.0, "c": x.builder.constant(TABLE) + 1.0}

    result = fold_constants(graph_of(before, x="float32[2]"))
    assert_rewrite(fold_constants, graph_of(before, x="float32[2]"), result)
    assert isinstance(result.producer[result.outputs["c"]].op, Constant)


@pytest.mark.parametrize("zeros", [[0.0, -0.0], [-0.0, -0.0], [0.0, 0.0]])
def test_signs_of_zero_survive(zeros):
    def model(x):
        table = x.builder.constant(np.array(zeros, np.float32))
        return {"y": x / (table * 2.0)}

    graph = graph_of(model, x="float32[2]")
    ones = {"x": np.ones(2, np.float32)}
    expected, _ = evaluate(graph, ones, {})
    got, _ = evaluate(fold_constants(graph), ones, {})
    np.testing.assert_array_equal(got["y"], expected["y"])


def test_a_full_is_as_its_text_says():
    assert Full(0.0) != Full(-0.0)
    assert Full(float("nan")) == Full(float("nan"))
    assert Full(1.0) == Full(1) and hash(Full(1.0)) == hash(Full(1))
    assert Full(1, (), DType.INT32) != Full(1.0)
