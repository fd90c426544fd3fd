"""Mixed precision: which ops run in 16 bit, where casts stand, what stays as it is."""

from __future__ import annotations

import numpy as np
import pytest

import minigraph as mg
from minigraph.compiler import FOLDING
from minigraph.initializers import HeNormal
from minigraph.ir.graph import Role
from minigraph.ops import ALL_OPS, conv
from minigraph.ops.broadcast import reshape
from minigraph.ops.elementwise import Cast
from minigraph.ops.norm import channel_moments, normalise
from minigraph.ops.pool import max_pool2d
from minigraph.passes import MixedPrecision, run_passes, to_inference, to_training
from minigraph.passes.precision import precision_of
from minigraph.passes.precision_table import ARITHMETIC, FOLLOWING, IN_16_BIT, IN_FLOAT32
from minigraph.testing import assert_rewrite, assert_unchanged, graph_of

BFLOAT16, FLOAT16 = MixedPrecision("bfloat16"), MixedPrecision("float16")
TOLERANCE = 2e-2
IMAGE = {"x": "float32[2,3,8,8]"}


def weight(x, name, *shape):
    return mg.parameter(x, name, shape, HeNormal(9.0))


def low(x):
    return mg.cast(x, "bfloat16")


def high(x):
    return mg.cast(x, "float32")


def dtypes(graph):
    """The dtype of each node's first result, by its name."""
    return {node.name: str(node.outputs[0].spec.dtype) for node in graph.nodes}


def dtypes_of_ops(graph):
    return {(node.op.name, str(node.outputs[0].spec.dtype)) for node in graph.nodes}


def lowered(model, pass_=BFLOAT16, **specs):
    return pass_(to_training(graph_of(model, **specs)))


# ---- the table


def test_every_op_is_in_one_set():
    sets = (IN_16_BIT, ARITHMETIC, FOLLOWING, IN_FLOAT32)
    assert sum(map(len, sets)) == len(ALL_OPS)
    assert frozenset().union(*sets) == set(ALL_OPS)


# ---- structure


def test_a_convolution_its_bias_and_what_follows_run_in_16_bit():
    def before(x):
        y = conv.conv2d(x, weight(x, "w", 4, 3, 3, 3))
        y = mg.relu(y + reshape(weight(x, "b", 4), (1, -1, 1, 1)))
        return {"y": max_pool2d(y, 2)}

    def after(x):
        y = conv.conv2d(low(x), low(weight(x, "w", 4, 3, 3, 3)))
        y = mg.relu(y + low(reshape(weight(x, "b", 4), (1, -1, 1, 1))))
        return {"y": high(max_pool2d(y, 2))}

    before, after = graph_of(before, **IMAGE), graph_of(after, **IMAGE)
    assert_rewrite(BFLOAT16, before, after, tolerance=TOLERANCE)


def test_a_value_is_rounded_once_for_all_who_read_it():
    def before(x):
        w = weight(x, "w", 3, 3, 3, 3)
        return {"y": conv.conv2d(conv.conv2d(x, w), w) + conv.conv2d(x, w, dilation=2)}

    def after(x):
        w, x = low(weight(x, "w", 3, 3, 3, 3)), low(x)
        return {"y": high(conv.conv2d(conv.conv2d(x, w), w) + conv.conv2d(x, w, dilation=2))}

    before, after = graph_of(before, **IMAGE), graph_of(after, **IMAGE)
    result = assert_rewrite(BFLOAT16, before, after, tolerance=3e-2)
    assert sum(isinstance(node.op, Cast) for node in result.nodes) == 3


def test_batch_norm_is_computed_in_float32_and_rounded_at_its_end():
    def before(x):
        y = conv.conv2d(x, weight(x, "w", 4, 3, 3, 3))
        scale, shift = weight(x, "scale", 4), weight(x, "shift", 4)
        return {"y": mg.relu(normalise(y, *channel_moments(y), scale, shift, 1e-5))}

    def after(x):
        y = high(conv.conv2d(low(x), low(weight(x, "w", 4, 3, 3, 3))))
        scale, shift = weight(x, "scale", 4), weight(x, "shift", 4)
        return {"y": high(mg.relu(low(normalise(y, *channel_moments(y), scale, shift, 1e-5))))}

    before, after = graph_of(before, **IMAGE), graph_of(after, **IMAGE)
    assert_rewrite(BFLOAT16, before, after, tolerance=4e-2)


def test_softmax_losses_and_exponentials_stay_float32():
    def before(x):
        y = mg.matmul(x, weight(x, "w", 6, 5))
        return {"p": mg.softmax(y), "e": mg.exp(y), "m": mg.reduce_mean(y * y)}

    def after(x):
        y = high(mg.matmul(low(x), low(weight(x, "w", 6, 5))))
        return {"p": mg.softmax(y), "e": mg.exp(y), "m": mg.reduce_mean(y * y)}

    before, after = graph_of(before, x="float32[4,6]"), graph_of(after, x="float32[4,6]")
    assert_rewrite(BFLOAT16, before, after, tolerance=3e-2)


def test_an_image_beside_one_in_float32_gives_float32():
    """A network that predicts what to add to its input keeps the input's precision."""

    def before(x):
        return {"y": x + conv.conv2d(x, weight(x, "w", 3, 3, 3, 3), padding="same")}

    def after(x):
        w = low(weight(x, "w", 3, 3, 3, 3))
        return {"y": x + high(conv.conv2d(low(x), w, padding="same"))}

    before, after = graph_of(before, **IMAGE), graph_of(after, **IMAGE)
    assert_rewrite(BFLOAT16, before, after, tolerance=TOLERANCE)


def test_kept_nodes_stay_float32():
    def model(x):
        x = mg.relu(mg.conv2d(x, 4, 3, name="body"))
        return {"y": mg.conv2d(x, 2, 1, name="head")}

    graph = graph_of(model, **IMAGE)
    found = dtypes(MixedPrecision("float16", keep=["head.*"])(graph))
    assert found["body.conv2d"] == found["relu"] == "float16"
    assert found["head.conv2d"] == found["head.add"] == "float32"
    assert dtypes(FLOAT16(graph))["head.conv2d"] == "float16"


def test_kept_nodes_stay_float32_where_batch_norm_is_folded():
    def model(x):
        y = mg.batch_norm(mg.conv2d(x, 4, 3, name="head"), name="norm")
        return {"y": mg.conv2d(mg.relu(y), 2, 1, name="tail")}

    graph = to_inference(graph_of(model, **IMAGE))
    graph, _ = run_passes(graph, (*FOLDING, MixedPrecision("bfloat16", keep=["head.*"])))
    found = [n.outputs[0].spec.dtype.value for n in graph.nodes if n.op.name == "Conv2d"]
    assert found == ["float32", "bfloat16"]
    assert not any("norm.sub" in node.name for node in graph.nodes)  # it was folded


def test_a_pattern_that_fits_no_node():
    precision = MixedPrecision("bfloat16", keep=["haed.*"])
    for optimizer in (None, mg.SGD(0.1)):
        with pytest.raises(mg.BuilderError, match="which fits none"):
            mg.compile(
                lambda x: {"loss": mg.reduce_mean(mg.conv2d(x, 2, 1, name="head"))}, IMAGE,
                precision=precision, optimizer=optimizer,
            )  # fmt: skip


@pytest.mark.parametrize("pass_", [BFLOAT16, FLOAT16])
def test_inputs_outputs_and_state_stay_as_they_are(pass_):
    def model(x):
        y = mg.batch_norm(mg.conv2d(x, 4, 3, name="c"), name="n")
        return {"y": mg.global_avg_pool2d(mg.relu(y)), "best": mg.argmax(y)}

    graph = lowered(model, pass_, **IMAGE)
    assert {v.spec.dtype for v in graph.inputs} == {mg.DType.FLOAT32}
    assert {s.value.spec.dtype for s in graph.state} == {mg.DType.FLOAT32}
    assert graph.outputs["y"].spec.dtype is mg.DType.FLOAT32
    assert {s.role for s in graph.state} == {Role.PARAMETER, Role.STATISTIC}


# ---- numbers that the type cannot hold


def test_constants_that_float16_cannot_hold_keep_float32():
    def masked(x):
        y = mg.matmul(x, weight(x, "w", 6, 6))
        return {"large": mg.where(y > 0.0, y, -1e9), "small": y / (mg.absolute(y) + 1e-9)}

    specs = {"x": "float32[4,6]"}
    assert ("Where", "float32") in dtypes_of_ops(lowered(masked, FLOAT16, **specs))
    assert ("Add", "float32") in dtypes_of_ops(lowered(masked, FLOAT16, **specs))
    assert ("Where", "bfloat16") in dtypes_of_ops(lowered(masked, BFLOAT16, **specs))
    assert ("Add", "bfloat16") in dtypes_of_ops(lowered(masked, BFLOAT16, **specs))


def test_attributes_that_float16_cannot_hold_keep_float32():
    def model(x):
        y = mg.matmul(x, weight(x, "w", 6, 6))
        return {"y": mg.clip(y, 0.0, 1e6), "z": mg.clip(y, 0.0, 6.0)}

    found = dtypes_of_ops(lowered(model, FLOAT16, x="float32[4,6]"))
    assert {("Clip", "float32"), ("Clip", "float16")} <= found


def test_layer_norm_of_large_values_does_not_overflow_in_float16():
    """Squares of 300 are beyond float16's 65,504."""

    def model(x):
        return {"y": mg.layer_norm(mg.conv2d(x, 3, 1, name="c"), (1, 2, 3), name="n")}

    inputs = {"x": ((2, 3, 8, 8), "float32")}
    exact = mg.compile(model, inputs, backend="numpy")
    half = mg.compile(model, inputs, backend="numpy", precision="float16", state=exact.state)
    x = 300 * np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    assert np.abs(x).max() ** 2 > 65504
    np.testing.assert_allclose(half(x=x)["y"], exact(x=x)["y"], atol=1e-2)


# ---- what must not change


@pytest.mark.parametrize(
    "model",
    [
        lambda x: {"y": mg.max_pool2d(mg.relu(x), 2) * 2.0},  # nothing large is in it
        lambda x: {"y": mg.softmax(x), "m": mg.reduce_mean(mg.concat([x, x]))},
        lambda x: {"y": mg.conv2d(mg.cast(x, "float64"), 2, 3)},
        lambda x: {"y": mg.relu(mg.conv2d(mg.cast(x, "bfloat16"), 2, 3))},
    ],
)  # fmt: skip
@pytest.mark.parametrize("pass_", [BFLOAT16, FLOAT16])
def test_these_are_left_alone(pass_, model):
    assert_unchanged(pass_, graph_of(model, **IMAGE))


def test_batch_norm_is_still_folded_into_the_weights():
    def model(x):
        y = mg.batch_norm(mg.conv2d(x, 4, 3, name="c"), name="n")
        return {"y": mg.relu(y)}

    predict = mg.compile(model, IMAGE, backend="numpy", precision="bfloat16")
    images = [n for n in predict.graph.nodes if n.outputs[0].spec.size == 2 * 4 * 6 * 6]
    assert [n.op.name for n in images] == ["Fused", "Cast"]
    ops = [type(i.op).__name__ for i in images[0].op.body.instructions]
    assert ops == ["Conv2d", "Add", "Relu"]
    names = [report.name for report in predict.compiled.reports]
    assert names.index("fold_batch_norm") < names.index("MixedPrecision")


def test_statistics_of_a_norm_that_is_not_folded_are_not_rounded():
    """Norm, then convolution: x - running_mean has to cancel in float32."""

    def model(x):
        y = mg.conv2d(x, 3, 1, name="first")
        return {"y": mg.conv2d(mg.relu(mg.batch_norm(mg.relu(y), name="n")), 4, 3, name="c")}

    graph = BFLOAT16(to_inference(graph_of(model, **IMAGE)))
    assert ("Sub", "float32") in dtypes_of_ops(graph)
    assert ("Sub", "bfloat16") not in dtypes_of_ops(graph)
    assert not any(
        isinstance(node.op, Cast) and "running" in node.inputs[0].name for node in graph.nodes
    )


# ---- what may be asked for


def test_precisions_by_name():
    assert precision_of("float32") is None
    assert precision_of(mg.DType.BFLOAT16) == BFLOAT16
    assert precision_of(FLOAT16) is FLOAT16


@pytest.mark.parametrize("wrong", ["half", "float64", 16, None, "mixed_bfloat16"])
def test_a_precision_that_is_none(wrong):
    with pytest.raises(mg.BuilderError, match="Expected a precision of float32, bfloat16, float16"):
        mg.compile(lambda x: x, {"x": "float32[2]"}, precision=wrong)


def test_wrong_options_of_the_pass():
    with pytest.raises(mg.BuilderError, match="in bfloat16 or float16, got float32"):
        MixedPrecision("float32")
    with pytest.raises(mg.BuilderError, match="list of patterns, got 'head"):
        MixedPrecision("float16", keep="head.*")
