"""Rows of softmax, cross-entropy, channel moments and dropout."""

from __future__ import annotations

from typing import Any

import numpy as np
import op_references as ref
from op_table import F, Input, Row, exactly, labels, listed, normal, positive, torch

import minigraph as mg
from minigraph import Tensor
from minigraph.ops import loss
from minigraph.ops.norm import ChannelMoments, channel_moments
from minigraph.ops.random import Dropout, dropout
from minigraph.ops.softmax import LogSoftmax, Softmax


def log_softmax(x: np.ndarray, axis: int = 1) -> np.ndarray:
    shifted = x - x.max(axis=axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def softmax_rows(name: str, shape: tuple[int, ...], axis: int, domain: Any = normal) -> list[Row]:
    return [
        Row(f"Softmax-{name}", (Softmax,), (Input(shape, domain),),
            lambda x: mg.softmax(x, axis), lambda x: np.exp(log_softmax(x, axis)),
            lambda x: F.softmax(x, axis)),
        Row(f"LogSoftmax-{name}", (LogSoftmax,), (Input(shape, domain),),
            lambda x: mg.log_softmax(x, axis), lambda x: log_softmax(x, axis),
            lambda x: F.log_softmax(x, axis)),
    ]  # fmt: skip


def huge(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Logits whose exponentials overflow."""
    return 1000.0 * rng.standard_normal(shape)


SOFTMAX = [
    *softmax_rows("matrix", (3, 4), 1),
    *softmax_rows("pixels", (2, 3, 2, 2), 1),
    *softmax_rows("last", (2, 3, 4), -1),
    *softmax_rows("first", (3, 2), 0),
    *softmax_rows("one-class", (3, 1), 1),
    *softmax_rows("empty-batch", (0, 3), 1),
    *(Row(**{**vars(row), "gradient": False}) for row in softmax_rows("huge", (3, 4), 1, huge)),
]


# ---- cross-entropy


def picked(
    x: np.ndarray, t: np.ndarray, w: Any, void: int | None
) -> list[tuple[tuple[int, ...], int, float]]:
    """Place, class and weight of each valid position."""
    found = []
    for place in np.ndindex(*t.shape):
        label = int(t[place])
        if label != void:
            found.append((place, label, 1.0 if w is None else float(w[label])))
    return found


def loss_sums(void: int | None) -> Any:
    """Total loss and total weight, position by position."""

    def reference(x: np.ndarray, t: np.ndarray, w: Any = None) -> tuple[np.ndarray, np.ndarray]:
        logs = log_softmax(x)
        found = picked(x, t, w, void)
        total = sum((-weight * logs[n, k, *p] for (n, *p), k, weight in found), start=0.0)
        return np.array(total), np.array(sum((weight for _, _, weight in found), start=0.0))

    return reference


def mean_loss(void: int | None) -> Any:
    def reference(*arrays: np.ndarray) -> np.ndarray:
        total, weight = loss_sums(void)(*arrays)
        return total / weight if weight > 0 else np.array(0.0)

    return reference


def loss_gradient(void: int | None) -> Any:
    """``g w_t (p - onehot)``"""

    def reference(x: np.ndarray, t: np.ndarray, g: np.ndarray, w: Any = None) -> np.ndarray:
        p, z = np.exp(log_softmax(x)), np.zeros(x.shape)
        for (n, *place), k, weight in picked(x, t, w, void):
            z[n, :, *place] = g * weight * p[n, :, *place]
            z[n, k, *place] -= g * weight
        return z

    return reference


def label_weights(void: int | None) -> Any:
    def reference(x: np.ndarray, t: np.ndarray, w: Any = None) -> np.ndarray:
        y = np.zeros((x.shape[0], 1, *x.shape[2:]))
        for (n, *place), _, weight in picked(x, t, w, void):
            y[n, 0, *place] = weight
        return y

    return reference


def loss_row(
    name: str,
    shape: tuple[int, ...],
    void: int | None,
    label_dtype: str,
    weighted: bool = False,
    reduction: str = "mean",
    domain: Any = None,
    drawn: Any = None,
    **options: Any,
) -> Row:
    """``mg.softmax_cross_entropy`` on logits of ``shape``."""
    classes = shape[1]
    w = Input((classes,), positive, "float64")
    target = drawn or labels(classes, void)
    inputs = (
        Input(shape, domain or normal),
        Input((shape[0], *shape[2:]), target, label_dtype),
        *([w] if weighted else []),
    )

    def function(x: Tensor, t: Tensor, w: Tensor | None = None) -> Tensor:
        return mg.softmax_cross_entropy(x, t, void_label=void, class_weights=w, reduction=reduction)

    def counterpart(x: Any, t: Any, w: Any = None) -> Any:
        ignore = -100 if void is None else void
        return F.cross_entropy(x, t.long(), w, ignore_index=ignore, reduction=reduction)

    sums = loss_sums(void)
    return Row(
        f"CrossEntropy-{name}",
        (loss.CrossEntropy,),
        inputs,
        function,
        mean_loss(void) if reduction == "mean" else lambda *arrays: sums(*arrays)[0],
        None if drawn is not None else counterpart,  # torch's mean of nothing is NaN
        **options,
    )


def sums_of(x: Tensor, t: Tensor) -> tuple[Tensor, ...]:
    return x.builder.emit(loss.CrossEntropy(4), x, t)


def emitted(op: Any) -> Any:
    return lambda x, *rest: x.builder.emit(op, x, *rest)[0]


PIXELS = Input((2, 4, 2, 3))
TARGETS = Input((2, 2, 3), labels(4, 255), "uint8")
WEIGHTS = Input((4,), positive, "float64")
SCALE = Input((), positive)

LOSSES = [
    loss_row("classes", (5, 4), None, "int64"),
    loss_row("classes-int32", (5, 4), 255, "int32"),
    loss_row("classes-sum", (5, 4), 255, "int32", reduction="sum"),
    loss_row("classes-weights", (5, 4), None, "int64", weighted=True, half=False),
    loss_row("classes-weights-void", (6, 4), 9, "int32", weighted=True, half=False),
    loss_row("pixels", (2, 4, 3, 2), 255, "uint8"),
    loss_row("pixels-sum", (2, 4, 3, 2), 255, "uint8", reduction="sum"),
    loss_row("pixels-void--1", (2, 4, 3, 2), -1, "int32"),
    loss_row("pixels-no-void", (2, 4, 3, 2), None, "uint8"),
    loss_row("pixels-weights", (2, 4, 3, 2), 255, "uint8", weighted=True, half=False),
    loss_row("pixels-weights-sum", (2, 4, 3, 2), 255, "uint8", True, "sum", half=False),
    loss_row("volume", (2, 3, 2, 1, 2), 255, "int64"),
    loss_row("huge-logits", (5, 4), None, "int64", domain=huge, gradient=False, half=False),
    loss_row("all-void", (2, 4, 3, 2), 255, "uint8", drawn=exactly(255)),
    loss_row("all-void-sum", (2, 4, 3, 2), 255, "uint8", reduction="sum", drawn=exactly(255)),
    loss_row("255-classes", (3, 255), 255, "uint8"),
    loss_row("several-chunks", (5, 3, 130, 131), 255, "uint8", gradient=False),
    loss_row("empty-batch", (0, 3), 255, "uint8", drawn=exactly(0)),
    Row("CrossEntropy-sums", (loss.CrossEntropy,), (Input((3, 4)), Input((3,), labels(4),
        "int64")), sums_of, loss_sums(None)),
    Row("CrossEntropyGrad", (loss.CrossEntropyGrad,), (PIXELS, TARGETS, SCALE),
        lambda x, t, g: emitted(loss.CrossEntropyGrad())(x, t, mg.cast(g, x.dtype.accumulator)),
        loss_gradient(255)),
    Row("CrossEntropyGrad-weights", (loss.CrossEntropyGrad,), (PIXELS, TARGETS, SCALE, WEIGHTS),
        lambda x, t, g, w: emitted(loss.CrossEntropyGrad())(x, t, g, mg.cast(w, g.dtype)),
        loss_gradient(255), half=False),
    Row("LabelWeights", (loss.LabelWeights,), (PIXELS, TARGETS), emitted(loss.LabelWeights()),
        label_weights(255)),
    Row("LabelWeights-weights", (loss.LabelWeights,), (PIXELS, TARGETS, WEIGHTS),
        lambda x, t, w: emitted(loss.LabelWeights())(x, t, mg.cast(w, x.dtype)),
        label_weights(255), half=False),
]  # fmt: skip


# ---- moments and dropout


def moments_row(name: str, shape: tuple[int, ...], used: slice = slice(0, 2)) -> Row:
    axes = (0, *range(2, len(shape)))

    def reference(x: np.ndarray) -> tuple[np.ndarray, ...]:
        return (x.mean(axes), ((x - x.mean(axes, keepdims=True)) ** 2).mean(axes))[used]

    def counterpart(x: Any) -> Any:
        var, mean = torch.var_mean(x, axes, correction=0)
        return (mean, var)[used]

    return Row(
        f"ChannelMoments-{name}",
        (ChannelMoments,),
        (Input(shape),),
        lambda x: tuple(listed(channel_moments(x)))[used],
        reference,
        counterpart,
    )


def dropout_row(name: str, shape: tuple[int, ...], rate: float, seed: int, step: int) -> Row:
    stream = 0x9ABCDEF0
    key = Input((2,), exactly(np.array([seed, step])), "int64")

    def reference(x: np.ndarray, key: np.ndarray) -> np.ndarray:
        return np.where(ref.dropout_mask(shape, rate, key, stream), x / (1.0 - rate), 0.0)

    return Row(
        f"Dropout-{name}",
        (Dropout,),
        (Input(shape), key),
        lambda x, key: dropout(x, rate, key, stream),
        reference,
    )


OTHERS = [
    moments_row("images", (3, 4, 2, 5)),
    moments_row("features", (5, 3)),
    moments_row("many-channels", (2, 19, 2, 2)),
    moments_row("mean-only", (3, 2, 4), slice(0, 1)),
    moments_row("variance-only", (3, 2, 4), slice(1, 2)),
    moments_row("one-element", (1, 2, 1)),
    dropout_row("half", (2, 3, 5), 0.5, 12345, 0),
    dropout_row("quarter-later-step", (7,), 0.25, 2**61 + 17, 3),
    dropout_row("nothing", (6,), 0.0, 1, 0),
    dropout_row("nearly-all", (40,), 0.9, 1, 2**33 + 1),
    dropout_row("scalar", (), 0.5, 3, 1),
    dropout_row("empty", (0, 3), 0.5, 3, 1),
]

ROWS = [*SOFTMAX, *LOSSES, *OTHERS]
