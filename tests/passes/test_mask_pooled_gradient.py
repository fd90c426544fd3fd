"""ReLU's backward mask before max pooling's gradient is spread."""

from __future__ import annotations

import pytest

import minigraph as mg
from minigraph.compiler import build_graph
from minigraph.ops.elementwise import ReluGrad
from minigraph.ops.pool import MaxPool2d, MaxPool2dScatter
from minigraph.passes import mask_pooled_gradient
from minigraph.testing import assert_rewrite, assert_unchanged, graph_of, with_gradients

POOL = MaxPool2d((3, 3), (2, 2), ((1, 1), (1, 1)))  # its windows overlap
SCATTER = MaxPool2dScatter(*POOL.window, (7, 6))
SPECS = {"x": "float32[2,3,7,6]", "g": "float32[2,3,4,3]"}


def spread(y, g):
    pooled, positions = y.builder.emit(POOL, y)
    return pooled, y.builder.emit(SCATTER, g, positions)[0]


def mask(y, g):
    return y.builder.emit(ReluGrad(), y, g)[0]


def test_the_pooled_gradient_is_masked():
    def before(x, g):
        y = mg.relu(x)
        return {"gx": mask(y, spread(y, g)[1])}

    def after(x, g):
        y = mg.relu(x)
        pooled, positions = y.builder.emit(POOL, y)
        return {"gx": y.builder.emit(SCATTER, mask(pooled, g), positions)[0]}

    assert_rewrite(mask_pooled_gradient, graph_of(before, **SPECS), graph_of(after, **SPECS))


def test_of_a_network():
    def model(x):
        return {"y": mg.reduce_sum(mg.max_pool2d(mg.relu(mg.conv2d(x, 4, 3, name="c")), 2) * 3.0)}

    graph = with_gradients(build_graph(model, {"x": mg.TensorSpec.of("float32[2,3,8,8]")}), 0)
    (node,) = (n for n in mask_pooled_gradient(graph).nodes if isinstance(n.op, ReluGrad))
    assert node.outputs[0].spec.shape == (2, 4, 3, 3)


def also_read(x, g):
    y = mg.relu(x)
    spread_gradient = spread(y, g)[1]
    return {"gx": mask(y, spread_gradient), "more": spread_gradient * 2.0}


def of_another_value(x, g):
    return {"gx": mask(mg.relu(-x), spread(mg.relu(x), g)[1])}


def of_other_windows(x, g):
    y = mg.relu(x)
    _, positions = y.builder.emit(POOL, y)
    other = MaxPool2dScatter((3, 4), (2, 2), ((1, 1), (1, 2)), input_size=(7, 6))
    return {"gx": mask(y, y.builder.emit(other, g, positions)[0])}


@pytest.mark.parametrize("model", [also_read, of_another_value, of_other_windows])
def test_others_stay(model):
    assert_unchanged(mask_pooled_gradient, graph_of(model, **SPECS))
