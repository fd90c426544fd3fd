"""A classifier made fully convolutional."""

from __future__ import annotations

import numpy as np
import pytest

import minigraph as mg
from minigraph.compiler import build_graph
from minigraph.ops import broadcast
from minigraph.ops.broadcast import reshape
from minigraph.ops.conv import Conv2d
from minigraph.passes import (
    convert_dense_to_convolution,
    dense_to_convolution,
    to_fully_convolutional,
    to_inference,
)
from minigraph.replay import replay
from minigraph.testing import assert_rewrite, assert_unchanged, evaluate, graph_of, random_arrays

IMAGE = mg.TensorSpec.of("float64[2,3,8,8]")


def classifier(image):
    x = mg.max_pool2d(mg.relu(mg.conv2d(image, 4, 3, name="features")), 2)
    x = mg.relu(mg.dense(mg.flatten(x), 6, name="hidden"))
    return {"logits": mg.dense(mg.dropout(x, name="drop"), 5, name="head")}


def test_dense_layers_become_convolutions():
    def before(x):
        hidden = mg.relu(mg.dense(mg.flatten(x), 6, name="hidden"))
        return {"y": mg.dense(hidden, 5, name="head")}

    def after(x):
        with mg.scope(x, "hidden"):
            w = mg.parameter(x, "weight", (6, 12), None)
            b = mg.parameter(x, "bias", (6,), None)
        with mg.scope(x, "head"):
            v = mg.parameter(x, "weight", (5, 6), None)
            c = mg.parameter(x, "bias", (5,), None)

        def dense(x, weight, bias):
            kernel = reshape(weight, (-1, *x.shape[1:]))
            (y,) = x.builder.emit(Conv2d(), x, kernel)
            row = (1, bias.shape[0], 1, 1)
            return y + reshape(reshape(bias, (1, -1)), row)

        return {"y": mg.flatten(dense(mg.relu(dense(x, w, b)), v, c))}

    specs = {"x": "float64[2,3,2,2]"}
    assert_rewrite(
        dense_to_convolution, graph_of(before, **specs), graph_of(after, **specs), tolerance=1e-12
    )


@pytest.mark.parametrize(
    "model",
    [
        lambda x: {"y": mg.dense(mg.reduce_mean(x, (2, 3)), 4)},
        lambda x: {"y": mg.flatten(x) * 2.0},
        lambda x: {"y": mg.flatten(x) @ broadcast.reshape(x[0], (12, 1))},
    ],
)
def test_what_is_no_dense_layer_over_a_map_is_left(model):
    assert_unchanged(dense_to_convolution, graph_of(model, x="float32[2,3,2,2]"), tolerance=1e-6)


def test_over_a_larger_image_the_classifier_slides():
    graph = to_inference(build_graph(classifier, {"image": IMAGE}))
    convolutional = to_fully_convolutional(graph)
    assert convolutional.outputs["logits"].spec.shape == (2, 5, 1, 1)
    assert convolutional.state_by_name.keys() == graph.state_by_name.keys()
    _, state = random_arrays(graph, seed=3)
    large = replay(convolutional, {"image": mg.TensorSpec.of("float64[2,3,12,10]")})
    image = np.random.default_rng(0).standard_normal((2, 3, 12, 10))
    maps = evaluate(large, {"image": image}, state)[0]["logits"]
    assert maps.shape == (2, 5, 3, 2)
    for i, j in np.ndindex(3, 2):  # the features' stride is 2
        crop = image[:, :, 2 * i : 2 * i + 8, 2 * j : 2 * j + 8]
        alone = evaluate(graph, {"image": crop}, state)[0]["logits"]
        np.testing.assert_allclose(maps[:, :, i, j], alone, rtol=0, atol=1e-12)


def test_weights_for_a_model_of_convolutions():
    weight = np.arange(24.0).reshape(2, 12)
    image = np.random.default_rng(0).standard_normal((3, 3, 2, 2))
    kernel = convert_dense_to_convolution(weight, 3, 2, 2)
    np.testing.assert_allclose(
        np.einsum("nchw,kchw->nk", image, kernel), image.reshape(3, 12) @ weight.T
    )
    with pytest.raises(mg.SpecError, match=r"\(units, 12\) for maps of 3 x 2 x 2, got \[2, 8\]"):
        convert_dense_to_convolution(weight[:, :8], 3, 2, 2)
