"""Softmax, losses, moments and window sums at sizes that the op table's rows do not reach."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cupy_cases import emulated, needs_compiler

import minigraph as mg
from minigraph.backend import Memory, Slot, channels_last, dense_strides, row_major
from minigraph.backends.cupy.kernels.lines import Layout, line_space
from minigraph.backends.cupy.kernels.moments import Moments
from minigraph.backends.cupy.kernels.reduction import split
from minigraph.ir.errors import IllegalLabelError
from minigraph.ir.spec import TensorSpec
from minigraph.iteration import axes_of
from minigraph.ops.local_response import ChannelWindowSum
from minigraph.ops.norm import GroupMoments, channel_moments

pytestmark = needs_compiler

RNG = np.random.default_rng(7)


def run(function: Callable[..., Any], **inputs: np.ndarray) -> list[np.ndarray]:
    """A function of tensors on the emulated device, threads of blocks in reverse order."""

    def model(**tensors: Any) -> dict[str, Any]:
        results = function(**tensors)
        return {f"y{i}": y for i, y in enumerate(results)}

    specs = {name: (array.shape, str(array.dtype)) for name, array in inputs.items()}
    return list(mg.compile(model, specs, backend=emulated(backward=True))(**inputs).values())


def slot(shape: tuple[int, ...]) -> Slot:
    spec = TensorSpec(shape)
    order = channels_last(spec) if len(shape) == 4 else row_major(spec)
    return Slot(Memory.WORK, spec, strides=dense_strides(spec, order))


# ---- lines

LINES = [  # shape, axis, lanes, across
    ((2, 21, 9, 7), 1, 8, False),  # by shuffles; blocks are cut short
    ((3, 1500), 1, 256, False),  # a block has one line, in shared memory
    ((40, 33), 0, 8, True),  # threads side by side on neighbouring lines
    ((600, 2), 0, 128, True),
    ((2, 3, 70000), 1, 1, True),  # a line is one thread's
    ((2, 3, 2, 5, 3), 2, 2, True),  # places of two axes
]


@pytest.mark.parametrize(("shape", "axis", "lanes", "across"), LINES)
def test_softmax_of_every_layout(shape, axis, lanes, across):
    layout = line_space(axis, (slot(shape), slot(shape))).layout
    assert layout == Layout(layout.axes, lanes, across)
    x = (5 * RNG.standard_normal(shape)).astype(np.float32)
    wide = x.astype(np.float64)
    wide -= wide.max(axis, keepdims=True)
    expected = wide - np.log(np.exp(wide).sum(axis, keepdims=True))
    got, logs = run(lambda x: (mg.softmax(x, axis), mg.log_softmax(x, axis)), x=x)
    np.testing.assert_allclose(got, np.exp(expected), rtol=3e-6, atol=1e-7)
    np.testing.assert_allclose(logs, expected, rtol=1e-6, atol=3e-6)


def test_softmax_is_like_numpy_where_logits_are_not_finite():
    x = np.array([[1, -np.inf, 2], [np.nan, 0, 1], [-np.inf] * 3, [np.inf, 0, 1]], np.float32)
    with np.errstate(invalid="ignore"):
        powers = np.exp(x - x.max(1, keepdims=True))
    (got,) = run(lambda x: (mg.softmax(x),), x=x)
    np.testing.assert_allclose(got, powers / powers.sum(1, keepdims=True), rtol=1e-6)


@pytest.mark.parametrize("shape", [(3, 300, 2, 2), (2, 21, 40, 30), (2, 3, 140, 5, 200)])
def test_loss_and_gradient(shape):
    x = RNG.standard_normal(shape).astype(np.float32)
    weights = RNG.uniform(0.5, 2, shape[1]).astype(np.float32)
    labels = RNG.integers(0, shape[1], (shape[0], *shape[2:])).astype(np.int32)
    labels[RNG.random(labels.shape) < 0.2] = -1

    def function(x, t):
        loss = mg.softmax_cross_entropy(x, t, void_label=-1, class_weights=weights, reduction="sum")
        return loss, mg.gradients(loss, [x])[0]

    wide = x.astype(np.float64)
    logs = wide - np.log(np.exp(wide).sum(1, keepdims=True))
    weight = np.where(labels == -1, 0.0, weights[labels])[:, None]
    onehot = (np.arange(shape[1]).reshape(-1, *(1,) * (x.ndim - 2)) == labels[:, None]) * 1.0
    loss, gradient = run(function, x=x, t=labels)
    np.testing.assert_allclose(loss, -(onehot * logs * weight).sum(), rtol=1e-6)
    np.testing.assert_allclose(gradient, weight * (np.exp(logs) - onehot), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("void", [None, 255])
def test_the_first_illegal_label_is_named_and_the_state_kept(void):
    def model(image, label):
        w = mg.parameter(image, "w", (3, 1, 1), mg.initializers.Constant(1.0))
        return {"loss": mg.softmax_cross_entropy(image * w, label, void_label=void)}

    specs = {"image": "float32[3,3,20,30]", "label": "uint8[3,20,30]"}
    step = mg.compile(model, specs, optimizer=mg.SGD(0.1), backend=emulated(backward=True))
    image = RNG.standard_normal((3, 3, 20, 30)).astype(np.float32)
    legal = RNG.integers(0, 3, (3, 20, 30)).astype(np.uint8)
    wrong = legal.copy()
    wrong[2, 19, 29], wrong[1, 4, 5], wrong[1, 4, 6] = 9, 77, 3
    for label in (wrong, legal, wrong, legal):  # launched one by one, then replayed
        before = step.state["w"]
        if label is legal:
            step(image=image, label=label)
            assert (step.state["w"] != before).all()
            continue
        with pytest.raises(IllegalLabelError, match=r"\[0, 3\).* got 77 in image 1 at \[4, 5\]"):
            step(image=image, label=label)
        np.testing.assert_array_equal(step.state["w"], before)


def test_void_counts_nowhere_even_where_logits_are_not_finite():
    x = RNG.standard_normal((2, 3, 4, 4)).astype(np.float32)
    x[0, 1, 2, 3] = np.inf
    labels = RNG.integers(0, 3, (2, 4, 4)).astype(np.uint8)
    labels[0, 2, 3] = 255

    def function(x, t):
        loss = mg.softmax_cross_entropy(x, t)
        return loss, mg.gradients(loss, [x])[0]

    loss, gradient = run(function, x=x, t=labels)
    assert np.isfinite(loss) and np.isfinite(gradient).all()
    assert (gradient[0, :, 2, 3] == 0).all()


# ---- moments

MOMENTS = [  # shape, parts
    ((6, 3, 60, 50), True),
    ((2, 200, 8, 8), False),
    ((5000, 7), True),
    ((2, 3, 9000), True),
]


@pytest.mark.parametrize(("shape", "cut"), MOMENTS)
def test_channel_moments_far_from_zero(shape, cut):
    place = slot(shape)
    kept = [None, 1, *(None for _ in shape[2:])]
    assert (split(axes_of(shape, place.strides, kept)).parts > 1) == cut
    x = (RNG.standard_normal(shape) + 3000.0).astype(np.float32)
    x[0, 0] += 1e4  # a first element that is far from the others
    axes = (0, *range(2, len(shape)))
    wide = x.astype(np.float64)
    mean, variance = run(channel_moments, x=x)
    np.testing.assert_allclose(mean, wide.mean(axes), rtol=1.2e-7)
    np.testing.assert_allclose(variance, wide.var(axes), rtol=1.2e-7)


def test_moments_of_constants_and_of_what_is_not_finite():
    x = np.full((4, 4, 3), 0.1, np.float32)
    x[0, 1, 0], x[3, 2, 1], x[0, 3, 0] = np.inf, np.nan, -np.inf
    mean, variance = run(channel_moments, x=x)
    np.testing.assert_array_equal(mean, np.array([0.1, np.inf, np.nan, -np.inf], np.float32))
    np.testing.assert_array_equal(variance, np.array([0, np.nan, np.nan, np.nan], np.float32))


@pytest.mark.parametrize(
    ("shape", "groups"), [((3, 6, 40, 50), 2), ((2, 6, 90, 80), 1), ((2, 5, 30, 30), 5)]
)
def test_group_moments(shape, groups):
    x = (RNG.standard_normal(shape) + 3000.0).astype(np.float32)
    rows = x.astype(np.float64).reshape(shape[0], groups, -1)
    expected = [
        np.repeat(moment, shape[1] // groups, 1)[:, :, None, None]
        for moment in (rows.mean(-1), rows.var(-1))
    ]
    got = run(lambda x: x.builder.emit(GroupMoments(groups), x), x=x)
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1.2e-7)


def test_moments_have_no_accumulator_of_less_than_float64():
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        assert str(Moments().accumulates(TensorSpec((), dtype).dtype)) == "float64"


# ---- windows


@pytest.mark.parametrize("shape", [(2, 70, 5, 4), (2, 70, 9)])
def test_window_sums(shape):
    x = RNG.standard_normal(shape).astype(np.float32)
    expected = np.zeros(shape)
    for c in range(shape[1]):
        expected[:, c] = x[:, max(c - 3, 0) : c + 2 + 1].astype(np.float64).sum(1)
    (got,) = run(lambda x: x.builder.emit(ChannelWindowSum(3, 2), x), x=x)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
