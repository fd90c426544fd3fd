"""Softmax, losses, moments and window sums at sizes that the op table's rows do not reach."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cupy_cases import emulated, needs_compiler

import minigraph as mg
from minigraph.backend import Memory, Slot, channels_last, dense_strides, row_major
from minigraph.backends.cupy.kernels.lines import line_space
from minigraph.backends.cupy.kernels.reduction import split
from minigraph.ir.errors import IllegalLabelError
from minigraph.ir.spec import TensorSpec
from minigraph.iteration import axes_of
from minigraph.ops.local_response import ChannelWindowSum
from minigraph.ops.norm import GroupMoments, channel_moments

pytestmark = needs_compiler

RNG = np.random.default_rng(7)


def run(function: Callable[..., Any], *inputs: np.ndarray) -> list[np.ndarray]:
    """A function of tensors on the emulated device, threads of blocks in reverse order."""

    def model(**tensors: Any) -> dict[str, Any]:
        return {f"y{i}": y for i, y in enumerate(function(*tensors.values()))}

    names = [f"x{i}" for i in range(len(inputs))]
    specs = {n: (x.shape, str(x.dtype)) for n, x in zip(names, inputs, strict=True)}
    executable = mg.compile(model, specs, backend=emulated(backward=True))
    return list(executable(dict(zip(names, inputs, strict=True))).values())


def normal(shape: tuple[int, ...], mean: float = 0.0) -> np.ndarray:
    return (RNG.standard_normal(shape) + mean).astype(np.float32)


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
    ((2, 3, 2, 5, 3), 2, 2, True),  # places of two axes
]


def test_softmax_of_every_layout():
    arrays = [5 * normal(shape) for shape, *_ in LINES]
    axes = [axis for _, axis, *_ in LINES]
    got = run(lambda *xs: map(mg.log_softmax, xs, axes), *arrays)
    for (shape, axis, lanes, across), x, y in zip(LINES, arrays, got, strict=True):
        layout = line_space(axis, (slot(shape), slot(shape))).layout
        assert (layout.lanes, layout.across) == (lanes, across)
        wide = x.astype(np.float64) - x.max(axis, keepdims=True)
        expected = wide - np.log(np.exp(wide).sum(axis, keepdims=True))
        np.testing.assert_allclose(y, expected, rtol=1e-6, atol=3e-6)


def test_softmax_is_like_numpy_where_logits_are_not_finite():
    x = np.array([[1, -np.inf, 2], [np.nan, 0, 1], [-np.inf] * 3, [np.inf, 0, 1]], np.float32)
    with np.errstate(invalid="ignore"):
        powers = np.exp(x - x.max(1, keepdims=True))
    (got,) = run(lambda x: (mg.softmax(x),), x)
    np.testing.assert_allclose(got, powers / powers.sum(1, keepdims=True), rtol=1e-6)


LOSSES = [(3, 300, 2, 2), (2, 21, 20, 30), (1, 2, 131500)]  # the last: sets of lines in turn


def test_loss_and_gradient():
    weights = [RNG.uniform(0.5, 2, shape[1]).astype(np.float32) for shape in LOSSES]
    logits = [normal(shape) for shape in LOSSES]
    labels = []
    for n, classes, *rest in LOSSES:
        labels.append(RNG.integers(0, classes, (n, *rest)).astype(np.int32))
        labels[-1][RNG.random((n, *rest)) < 0.2] = -1

    def function(*tensors):
        for x, t, w in zip(tensors[:3], tensors[3:], weights, strict=True):
            loss = mg.softmax_cross_entropy(x, t, void_label=-1, class_weights=w, reduction="sum")
            yield from (loss, mg.gradients(loss, [x])[0])

    got = run(function, *logits, *labels)
    for x, t, w in zip(logits, labels, weights, strict=True):
        wide = x.astype(np.float64)
        logs = wide - np.log(np.exp(wide).sum(1, keepdims=True))
        weight = np.where(t == -1, 0.0, w[t])[:, None]
        classes = np.arange(x.shape[1]).reshape(-1, *(1,) * (x.ndim - 2))
        onehot = (classes == t[:, None]) * 1.0
        loss, gradient, *got = got
        np.testing.assert_allclose(loss, -(onehot * logs * weight).sum(), rtol=1e-6)
        expected = weight * (np.exp(logs) - onehot)
        np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)


def test_the_first_illegal_label_is_named_and_the_state_kept():
    def model(image, label):
        w = mg.parameter(image, "w", (3, 1, 1), mg.initializers.Constant(1.0))
        return {"loss": mg.softmax_cross_entropy(image * w, label)}

    specs = {"image": "float32[3,3,20,30]", "label": "uint8[3,20,30]"}
    step = mg.compile(model, specs, optimizer=mg.SGD(0.1), backend=emulated(backward=True))
    image = normal((3, 3, 20, 30))
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
    x = normal((2, 3, 4, 4))
    x[0, 1, 2, 3] = np.inf
    labels = RNG.integers(0, 3, (2, 4, 4)).astype(np.uint8)
    labels[0, 2, 3] = 255

    def function(x, t):
        loss = mg.softmax_cross_entropy(x, t)
        return loss, mg.gradients(loss, [x])[0]

    loss, gradient = run(function, x, labels)
    assert np.isfinite(loss) and np.isfinite(gradient).all()
    assert (gradient[0, :, 2, 3] == 0).all()


# ---- moments

MOMENTS = [  # shape, parts
    ((3, 3, 60, 50), True),
    ((2, 200, 5, 5), False),
    ((2, 3, 5000), True),
]


def test_channel_moments_far_from_zero():
    arrays = [normal(shape, 3000.0) for shape, _ in MOMENTS]
    for x, (shape, cut) in zip(arrays, MOMENTS, strict=True):
        kept = [None, 1, *(None for _ in shape[2:])]
        assert (split(axes_of(shape, slot(shape).strides, kept)).parts > 1) == cut
        x[0, 0] += 1e4  # first elements that are far from the others
    got = run(lambda *xs: [y for x in xs for y in channel_moments(x)], *arrays)
    for x in arrays:
        axes = (0, *range(2, x.ndim))
        mean, variance, *got = got
        np.testing.assert_allclose(mean, x.astype(np.float64).mean(axes), rtol=1.2e-7)
        np.testing.assert_allclose(variance, x.astype(np.float64).var(axes), rtol=1.2e-7)


def test_moments_of_constants_and_of_what_is_not_finite():
    x = np.full((4, 4, 3), 0.1, np.float32)
    x[0, 1, 0], x[3, 2, 1], x[0, 3, 0] = np.inf, np.nan, -np.inf
    mean, variance = run(channel_moments, x)
    np.testing.assert_array_equal(mean, np.array([0.1, np.inf, np.nan, -np.inf], np.float32))
    np.testing.assert_array_equal(variance, np.array([0, np.nan, np.nan, np.nan], np.float32))


GROUPS = [((3, 6, 40, 50), 2), ((2, 6, 90, 80), 1), ((2, 5, 30, 30), 5)]


def test_group_moments():
    arrays = [normal(shape, 3000.0) for shape, _ in GROUPS]

    def function(*tensors):
        for x, (_, groups) in zip(tensors, GROUPS, strict=True):
            yield from x.builder.emit(GroupMoments(groups), x)

    got = run(function, *arrays)
    for x, (shape, groups) in zip(arrays, GROUPS, strict=True):
        rows = x.astype(np.float64).reshape(shape[0], groups, -1)
        for moment in (rows.mean(-1), rows.var(-1)):
            expected = np.repeat(moment, shape[1] // groups, 1)[:, :, None, None]
            one, *got = got
            np.testing.assert_allclose(one, expected, rtol=1.2e-7)


# ---- windows


def test_window_sums():
    arrays = [normal((2, 70, 5, 4)), normal((2, 70, 9))]
    got = run(lambda *xs: [x.builder.emit(ChannelWindowSum(3, 2), x)[0] for x in xs], *arrays)
    for x, y in zip(arrays, got, strict=True):
        expected = np.zeros(x.shape)
        for c in range(x.shape[1]):
            expected[:, c] = x[:, max(c - 3, 0) : c + 2 + 1].astype(np.float64).sum(1)
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
