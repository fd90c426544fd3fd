"""Sums that read the same tensors: one node, which makes what it sums by itself."""

from __future__ import annotations

import pytest

import minigraph as mg
from minigraph.backend import load_backend
from minigraph.ops.elementwise import Mul
from minigraph.ops.fused import Body, FusedSum, Instruction
from minigraph.passes import FuseSum
from minigraph.testing import assert_unchanged, graph_of

AXES = (0, 2, 3)
FUSE = FuseSum(lambda op, inputs: True)
SPECS = {"g": "float32[2,32,4,4]", "x": "float32[2,32,4,4]", "scale": "float32[1,32,1,1]"}


def total(x):
    return mg.reduce_sum(x, AXES, keepdims=True)


def ops(graph):
    return [node.op.name for node in graph.nodes]


def test_the_sums_of_a_batch_norms_backward_pass_become_one():
    def model(g, x, scale):
        scaled = g * scale
        return {
            "shift": total(g),
            "weight": total(g * x),
            "mean": total(scaled),
            "gradient": scaled + x,  # keeps the product, which the sum makes again
        }

    graph = FUSE(graph_of(model, **SPECS))
    assert ops(graph) == ["Mul", "FusedSum", "Add"]
    (fused,) = (node for node in graph.nodes if isinstance(node.op, FusedSum))
    g, scale, x = fused.inputs
    assert [value.name for value in (g, scale, x)] == ["g", "scale", "x"]
    instructions = (Instruction(Mul(), (0, 1)), Instruction(Mul(), (0, 2)))
    assert fused.op == FusedSum(Body(3, instructions, (0, 4, 3)), AXES, True)
    names = ("shift", "weight", "mean")
    assert [graph.outputs[name] for name in names] == list(fused.outputs)


def test_a_product_of_a_product_is_made_from_what_is_read_in_any_case():
    def model(g, x, scale):
        scaled = g * scale
        twice = scaled * scale
        sums = {"twice": total(twice), "scaled": total(scaled), "g": total(g)}
        return {**sums, "y": mg.relu(scaled) + mg.relu(twice)}

    (fused,) = (n for n in FUSE(graph_of(model, **SPECS)).nodes if isinstance(n.op, FusedSum))
    assert [value.name for value in fused.inputs] == ["g", "scale"]
    assert fused.op.body.outputs == (3, 2, 0)


def test_a_product_that_others_read_is_read_by_its_sum_too():
    """To make it again would need two tensors that nothing else of the sum reads."""

    def model(g, x, scale):
        product = g * x
        return {"y": total(product), "z": mg.relu(product)}

    assert_unchanged(FUSE, graph_of(model, **SPECS))


def test_sums_of_other_tensors_are_apart():
    def model(g, x, scale):
        return {"a": total(g * scale), "b": total(x * scale)}

    assert ops(FUSE(graph_of(model, **SPECS))) == ["FusedSum", "FusedSum"]


def test_sums_over_other_axes_are_apart():
    def model(g, x, scale):
        return {"a": total(g * scale), "b": mg.reduce_sum(g * x, (2, 3))}

    assert ops(FUSE(graph_of(model, **SPECS))) == ["FusedSum", "FusedSum"]


def test_a_sum_that_needs_the_first_one_comes_later():
    def model(g, x, scale):
        first = total(g * scale)
        return {"y": total(g * first)}

    assert ops(FUSE(graph_of(model, **SPECS))) == ["FusedSum", "FusedSum"]


def test_plain_sums_stay():
    assert_unchanged(FUSE, graph_of(lambda g, x, scale: {"y": total(g), "z": total(x)}, **SPECS))


def test_an_output_is_kept():
    def model(g, x, scale):
        product = g * x
        return {"y": total(product), "product": product}

    assert_unchanged(FUSE, graph_of(model, **SPECS))


def test_the_backend_has_the_last_word():
    def model(g, x, scale):
        return {"y": total(g * x)}

    assert_unchanged(FuseSum(lambda op, inputs: False), graph_of(model, **SPECS))


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_it_fires_where_a_backend_has_a_kernel(backend):
    if backend == "llvm":
        pytest.importorskip("llvmlite")
    loaded = load_backend(backend)

    def model(image, label):
        x = mg.batch_norm(mg.conv2d(image, 32, 3, name="a"), name="norm")
        return {"loss": mg.softmax_cross_entropy(mg.conv2d(x, 3, 1, name="b"), label)}

    step = mg.compile(
        model, {"image": "float32[2,3,8,8]", "label": "uint8[2,6,6]"},
        optimizer=mg.SGD(0.1), backend=loaded,
    )  # fmt: skip
    assert ops(step.graph).count("FusedSum") == (backend == "llvm")
