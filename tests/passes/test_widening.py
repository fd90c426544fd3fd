"""16-bit values that float32 work reads are not kept in float32."""

from __future__ import annotations

import pytest

import minigraph as mg
from minigraph.ops.conv import conv2d
from minigraph.ops.loss import CrossEntropyGrad
from minigraph.ops.norm import GroupMoments, channel_moments
from minigraph.passes import read_narrow, recompute_widening
from minigraph.testing import assert_rewrite, assert_unchanged, graph_of

HALF = {"x": "bfloat16[2,3,4,4]"}
LABELS = {"x": "float16[3,4]", "t": "int32[3]"}


def high(x):
    return mg.cast(x, "float32")


def again(x):
    """A second cast of the same value."""
    return x.builder.emit(mg.ops.elementwise.Cast(mg.DType.FLOAT32), x)[0]


# ---- ops that widen by themselves


def moments_of(x):
    mean, variance = channel_moments(x)
    group_mean, group_variance = x.builder.emit(GroupMoments(3), x)
    return {"a": mean, "b": variance, "c": group_mean, "d": group_variance}


def test_moments_read_16_bit():
    before = graph_of(lambda x: moments_of(high(x)), **HALF)
    assert_rewrite(read_narrow, before, graph_of(moments_of, **HALF), tolerance=1e-2)


def loss_and_gradient(logits, labels, g):
    loss = mg.softmax_cross_entropy(logits, labels, reduction="sum")
    return loss, logits.builder.emit(CrossEntropyGrad(255), logits, labels, g)[0]


def test_the_loss_and_its_gradient_read_16_bit():
    def before(x, t):
        g = x.builder.full((), 8.0, mg.DType.FLOAT32)
        loss, gradient = loss_and_gradient(high(x), t, g)
        return {"loss": loss, "gradient": mg.cast(gradient, "float16")}

    def after(x, t):
        g = x.builder.full((), 8.0, mg.DType.FLOAT32)
        loss, gradient = loss_and_gradient(x, t, g)
        return {"loss": loss, "gradient": gradient}

    before, after = graph_of(before, **LABELS), graph_of(after, **LABELS)
    assert_rewrite(read_narrow, before, after, tolerance=1e-2)


def test_what_was_widened_and_is_rounded_again_is_itself():
    before = graph_of(lambda x: {"y": mg.relu(mg.cast(high(x), "bfloat16"))}, **HALF)
    assert_rewrite(read_narrow, before, graph_of(lambda x: {"y": mg.relu(x)}, **HALF))


@pytest.mark.parametrize(
    "model",
    [
        lambda x: {"y": mg.cast(high(x), "float16")},  # another 16-bit type
        lambda x: {"y": mg.softmax(high(x))},  # its results would be 16-bit too
        lambda x: {"y": mg.reduce_mean(high(x))},
        lambda x: moments_of(x),
        lambda x: moments_of(mg.cast(x, "float64")),
    ],
)  # fmt: skip
def test_read_narrow_leaves_alone(model):
    assert_unchanged(read_narrow, graph_of(model, **HALF))


def test_read_narrow_keeps_a_loss_gradient_that_is_not_rounded():
    def model(x, t):
        g = x.builder.full((), 8.0, mg.DType.FLOAT32)
        (gradient,) = x.builder.emit(CrossEntropyGrad(255), high(x), t, g)
        return {"gradient": gradient}

    assert_unchanged(read_narrow, graph_of(model, **LABELS))


# ---- computed anew


def test_a_cast_is_made_anew_for_each_elementwise_reader():
    def before(x):
        y = high(x)
        return {"a": mg.exp(y), "b": mg.sqrt(mg.absolute(y)), "c": mg.reduce_mean(y)}

    def after(x):
        a, b, c = high(x), again(x), again(x)
        return {"a": mg.exp(a), "b": mg.sqrt(mg.absolute(b)), "c": mg.reduce_mean(c)}

    before, after = graph_of(before, **HALF), graph_of(after, **HALF)
    assert_rewrite(recompute_widening, before, after, tolerance=1e-2)


def test_a_centred_image_is_made_anew_for_each_elementwise_reader():
    def centre(x, mean):
        return x - mg.reshape(mean, (1, -1, 1, 1))

    def before(x):
        mean, _ = channel_moments(x)
        y = centre(high(x), mean)
        return {"a": mg.exp(y), "b": y * y}

    def after(x):
        mean, _ = channel_moments(x)
        mean = mg.reshape(mean, (1, -1, 1, 1))
        one, two = high(x) - mean, again(x) - mean
        return {"a": mg.exp(one), "b": two * two}

    before, after = graph_of(before, **HALF), graph_of(after, **HALF)
    assert_rewrite(recompute_widening, before, after, tolerance=1e-2)


@pytest.mark.parametrize(
    "model",
    [
        lambda x: {"a": mg.exp(high(x))},  # one reader
        lambda x: {"a": mg.reduce_mean(high(x)), "b": mg.softmax(high(x))},  # none elementwise
        lambda x: {"a": mg.exp(mg.cast(x, "float64")), "b": mg.log(mg.cast(x, "float64"))},
        lambda x: {"a": mg.exp(mg.relu(x)), "b": mg.log(mg.relu(x))},  # no cast
    ],
)  # fmt: skip
def test_recompute_widening_leaves_alone(model):
    assert_unchanged(recompute_widening, graph_of(model, **HALF))


def test_long_chains_are_kept():
    """Seven ops for two readers: what they cost is no longer nothing."""

    def model(x):
        y = high(x)
        for number in range(6):
            y = y * (1.0 + number)
        return {"a": mg.exp(y), "b": mg.sqrt(y)}

    assert_unchanged(recompute_widening, graph_of(model, **HALF))


def test_a_float32_graph_is_not_even_rebuilt():
    graph = graph_of(
        lambda x: {"y": mg.relu(conv2d(x, mg.ops.elementwise.cast(x, "float32")))},
        x="float32[2,2,3,3]",
    )
    assert read_narrow(graph) is graph
    assert recompute_widening(graph) is graph
