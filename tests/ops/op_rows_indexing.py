"""Rows of the ops that choose by index, and of the losses built on them."""

from __future__ import annotations

from typing import Any

import numpy as np
from op_rows_loss import label_weights, log_softmax, picked
from op_table import F, Input, Row, exactly, integers, labels, normal, off_zero, positive, torch

import minigraph as mg
from minigraph.ops import activation, indexing, loss

X = (3, 4, 2)


def gather_rows(axis: int, shape: tuple[int, ...], dtype: str = "int64") -> list[Row]:
    """Gather and its adjoint, with indices of this shape that count from the end, too."""
    size = X[axis]
    indices = Input(shape, integers(-size, size), dtype)
    at = axis % 3
    updates = Input((*X[:at], *shape, *X[at + 1 :]))

    def added(x: np.ndarray, i: np.ndarray, u: np.ndarray) -> np.ndarray:
        y = x.copy()
        for place in np.ndindex(*i.shape):
            y[(slice(None),) * at + (i[place],)] += u[(slice(None),) * at + place]
        return y

    name = f"{axis}-{'x'.join(map(str, shape)) or 'scalar'}-{dtype}"
    return [
        Row(f"Gather-{name}", (indexing.Gather,), (Input(X), indices),
            lambda x, i: mg.gather(x, i, axis), lambda x, i: np.take(x, i, axis), exact=True),
        Row(f"IndexAdd-{name}", (indexing.IndexAdd,), (Input(X), indices, updates),
            lambda x, i, u: mg.index_add(x, i, u, axis), added),
    ]  # fmt: skip


def element_rows(axis: int, count: int, negative: bool = False) -> list[Row]:
    size, at = X[axis], axis % 3
    shape = (*X[:at], count, *X[at + 1 :])
    indices = Input(shape, integers(-size if negative else 0, size), "int64")

    def added(x: np.ndarray, i: np.ndarray, u: np.ndarray) -> np.ndarray:
        y = x.copy()
        for place in np.ndindex(*i.shape):
            y[(*place[:at], i[place], *place[at + 1 :])] += u[place]
        return y

    def torch_take(x: Any, i: Any) -> Any:
        return torch.gather(x, axis, i)

    def torch_add(x: Any, i: Any, u: Any) -> Any:
        return torch.scatter_add(x, axis, i, u)

    name = f"{axis}-{count}{'-negative' if negative else ''}"
    return [
        Row(f"TakeAlongAxis-{name}", (indexing.TakeAlongAxis,), (Input(X), indices),
            lambda x, i: mg.take_along_axis(x, i, axis),
            lambda x, i: np.take_along_axis(x, i, axis), None if negative else torch_take,
            exact=True),
        Row(f"ScatterAdd-{name}", (indexing.ScatterAdd,), (Input(X), indices, Input(shape)),
            lambda x, i, u: mg.scatter_add(x, i, u, axis), added,
            None if negative else torch_add),
    ]  # fmt: skip


def one_hot_row(classes: int, axis: int, dtype: str, *shape: int) -> Row:
    def reference(t: np.ndarray) -> np.ndarray:
        hot = (t[..., None] == np.arange(classes)).astype(float)
        return np.moveaxis(hot, -1, axis)

    return Row(
        f"OneHot-{classes}-{axis}-{dtype}-{len(shape)}d",
        (indexing.OneHot,),
        (Input(shape, labels(classes, 255), dtype),),
        lambda t: mg.one_hot(t, classes, axis),
        reference,
        gradient=False,
        half=False,
    )


INDEXING = [
    *gather_rows(1, (5,)),
    *gather_rows(0, (2, 3), "int32"),
    *gather_rows(-1, ()),
    Row("Gather-constant", (indexing.Gather,), (Input((2, 4)),),
        lambda x: mg.gather(x, [3, 0, -1], 1), lambda x: x[:, [3, 0, -1]], exact=True),
    Row("Gather-bool", (indexing.Gather,), (Input((4,), exactly([True, False, True, True]), "bool"),
        Input((3,), integers(0, 4), "uint8")), mg.gather, lambda x, i: x[i], gradient=False,
        half=False),
    *element_rows(1, 3),
    *element_rows(-1, 5, negative=True),
    *element_rows(1, 0),
    Row("TakeAlongAxis-vector", (indexing.TakeAlongAxis,), (Input((4,)),
        Input((6,), integers(0, 4), "uint8")), lambda x, i: mg.take_along_axis(x, i, 0),
        lambda x, i: x[i], exact=True),
    one_hot_row(4, 1, "uint8", 2, 3, 2),
    one_hot_row(3, -1, "int32", 5),
    one_hot_row(3, 0, "int64"),
    one_hot_row(300, 1, "uint8", 3),
]  # fmt: skip


# ---- losses


def reduced(losses: np.ndarray, reduction: str) -> np.ndarray:
    return losses if reduction == "none" else getattr(losses, reduction)()


def pair_row(name: str, function: Any, reference: Any, counterpart: Any, target: Any,
             reduction: str) -> Row:  # fmt: skip
    return Row(
        f"{name}-{reduction}",
        (),
        (Input((3, 4), off_zero), Input((3, 4), target)),
        lambda a, b: function(a, b, reduction=reduction),
        lambda a, b: reduced(reference(a, b), reduction),
        lambda a, b: counterpart(a, b, reduction=reduction),
    )


def bce(x: np.ndarray, t: np.ndarray, weight: float = 1.0) -> np.ndarray:
    return weight * t * np.logaddexp(0, -x) + (1 - t) * np.logaddexp(0, x)


def huber(delta: float) -> Any:
    def reference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        d = np.abs(a - b)
        return np.where(d < delta, d**2 / 2, delta * (d - delta / 2))

    return reference


def nll(scores: np.ndarray, t: np.ndarray, w: Any, void: int | None, reduction: str) -> np.ndarray:
    """Position by position."""
    losses, total = np.zeros(t.shape), 0.0
    for (n, *place), k, weight in picked(scores, t, w, void):
        losses[(n, *place)] = -weight * scores[(n, k, *place)]
        total += weight
    if reduction == "mean":
        return losses.sum() / total if total else np.array(0.0)
    return reduced(losses, reduction)


def label_rows(
    shape: tuple[int, ...], void: int | None, reduction: str, weighted: bool
) -> list[Row]:
    classes = shape[1]
    inputs = (
        Input(shape),
        Input((shape[0], *shape[2:]), labels(classes, void), "int64"),
        *([Input((classes,), positive, "float64")] if weighted else []),
    )
    options: Any = {"void_label": void, "reduction": reduction}
    ignore = {"ignore_index": -100 if void is None else void, "reduction": reduction}
    name = f"{len(shape)}d-{void}-{reduction}{'-weights' if weighted else ''}"
    rows = [
        Row(f"nll_loss-{name}", (loss.LabelWeights,), inputs,
            lambda x, t, w=None: mg.nll_loss(x, t, class_weights=w, **options),
            lambda x, t, w=None: nll(x, t, w, void, reduction),
            lambda x, t, w=None: F.nll_loss(x, t, w, **ignore), half=not weighted),
    ]  # fmt: skip
    if reduction == "none":
        rows.append(
            Row(f"cross-entropy-{name}", (loss.LabelWeights,), inputs,
                lambda x, t, w=None: mg.softmax_cross_entropy(x, t, class_weights=w, **options),
                lambda x, t, w=None: nll(log_softmax(x), t, w, void, reduction),
                lambda x, t, w=None: F.cross_entropy(x, t, w, **ignore), half=not weighted)
        )  # fmt: skip
    return rows


def dice(x: np.ndarray, t: np.ndarray, smooth: float = 1.0) -> np.ndarray:
    p, valid = np.exp(log_softmax(x)), label_weights(255)(x, t)
    scores = []
    for k in range(x.shape[1]):
        truth = (t == k).astype(float)
        sizes = (p[:, k] * valid[:, 0]).sum() + truth.sum()
        scores.append((2 * (p[:, k] * truth).sum() + smooth) / (sizes + smooth))
    return 1.0 - np.mean(scores)


LOSSES = [
    *(pair_row("mse_loss", mg.mse_loss, lambda a, b: (a - b) ** 2,
               lambda a, b, reduction: F.mse_loss(a, b, reduction=reduction), normal, reduction)
      for reduction in ("mean", "sum", "none")),
    pair_row("l1_loss", mg.l1_loss, lambda a, b: np.abs(a - b),
             lambda a, b, reduction: F.l1_loss(a, b, reduction=reduction), normal, "mean"),
    pair_row("huber_loss", mg.huber_loss, huber(1.0),
             lambda a, b, reduction: F.huber_loss(a, b, reduction=reduction), normal, "sum"),
    pair_row("binary_cross_entropy", mg.binary_cross_entropy_with_logits, bce,
             lambda a, b, reduction: F.binary_cross_entropy_with_logits(a, b, reduction=reduction),
             lambda rng, shape: rng.random(shape), "mean"),
    Row("huber_loss-delta", (), (Input((9,)), Input((9,))),
        lambda a, b: mg.huber_loss(a, b, 0.3), lambda a, b: huber(0.3)(a, b).mean(),
        lambda a, b: F.huber_loss(a, b, delta=0.3)),
    Row("binary_cross_entropy-pos-weight", (), (Input((9,)), Input((9,), integers(0, 2))),
        lambda a, b: mg.binary_cross_entropy_with_logits(a, b, pos_weight=3.0),
        lambda a, b: bce(a, b, 3.0).mean(),
        lambda a, b: F.binary_cross_entropy_with_logits(
            a, b, pos_weight=torch.tensor(3.0, dtype=a.dtype))),
    Row("binary_cross_entropy-extreme", (activation.Softplus,),
        (Input((4,), exactly([-800.0, -800, 800, 800])), Input((4,), exactly([0.0, 1, 0, 1]))),
        lambda a, b: mg.binary_cross_entropy_with_logits(a, b, reduction="none"),
        lambda a, b: np.array([0.0, 800, 800, 0])),
    *label_rows((5, 4), None, "sum", False),
    *label_rows((5, 4), 255, "none", True),
    *label_rows((2, 4, 3), 255, "mean", True),
    *label_rows((2, 3, 2, 1, 2), 255, "none", False),
    Row("nll_loss-all-void", (loss.LabelWeights,), (Input((2, 3, 2)),
        Input((2, 2), exactly(255), "uint8")), mg.nll_loss, lambda x, t: np.array(0.0)),
    Row("dice_loss", (loss.LabelWeights,), (Input((2, 4, 3, 2)),
        Input((2, 3, 2), labels(4, 255), "uint8")), mg.dice_loss, dice),
    Row("dice_loss-smooth", (loss.LabelWeights,), (Input((2, 3, 4)),
        Input((2, 4), labels(3), "int32")),
        lambda x, t: mg.dice_loss(x, t, void_label=None, smooth=0.1),
        lambda x, t: dice(x, t, 0.1)),
    Row("dice_loss-all-void", (loss.LabelWeights,), (Input((2, 3, 2)),
        Input((2, 2), exactly(255), "uint8")), mg.dice_loss, lambda x, t: np.array(0.0)),
]  # fmt: skip

ROWS = [*INDEXING, *LOSSES]
