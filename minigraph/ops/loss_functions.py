"""Losses made of other ops: for numbers, for yes or no, and for overlap.

``reduction`` is "mean" over all elements, "sum" or "none". A 16-bit loss is computed, and given, in
float32. Prediction and target have one shape: broadcasting (N,1) against (N,) would be a mistake.
"""

from __future__ import annotations

import math
from typing import Any

from minigraph.ir.errors import SpecError
from minigraph.ir.tensor import Tensor
from minigraph.ops.activation import softplus
from minigraph.ops.elementwise import absolute, cast, operands, where
from minigraph.ops.indexing import one_hot
from minigraph.ops.loss import LabelWeights
from minigraph.ops.reduce import reduce_mean, reduce_sum
from minigraph.ops.softmax import softmax


def mse_loss(prediction: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Squared differences."""
    a, b = _pair(prediction, target)
    difference = a - b
    return _reduced(difference * difference, reduction)


def l1_loss(prediction: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Absolute differences; gradient 0 where they are 0."""
    a, b = _pair(prediction, target)
    return _reduced(absolute(a - b), reduction)


def huber_loss(
    prediction: Tensor, target: Tensor, delta: float = 1.0, reduction: str = "mean"
) -> Tensor:
    """``d^2 / 2`` for differences ``d`` up to ``delta``, beyond ``delta (|d| - delta / 2)``.

    Huber 1964. Divided by delta it is torch's ``smooth_l1_loss``.
    """
    if not 0.0 < delta < math.inf:
        raise SpecError(f"Expected a finite positive delta, got {delta}")
    a, b = _pair(prediction, target)
    difference = a - b
    size = absolute(difference)
    linear = delta * (size - 0.5 * delta)
    losses = where(size < delta, 0.5 * (difference * difference), linear)
    return _reduced(losses, reduction)


def binary_cross_entropy_with_logits(
    logits: Tensor, targets: Tensor, *, pos_weight: Any = None, reduction: str = "mean"
) -> Tensor:
    """``-(t log s + (1 - t) log(1 - s))`` with ``s = sigmoid(logits)`` and targets t in [0, 1].

    ``pos_weight`` (a number or what broadcasts) multiplies the first term, for rare positives.
    """
    # -log sigmoid(x) = softplus(-x) and -log(1 - sigmoid(x)) = softplus(x): nothing overflows, and
    # a hard target leaves one of the two, which has no cancellation.
    x, t = _pair(logits, targets)
    positive = t * softplus(-x)
    if pos_weight is not None:
        positive = positive * pos_weight
    return _reduced(positive + (1.0 - t) * softplus(x), reduction)


def dice_loss(
    logits: Tensor, labels: Tensor, *, void_label: int | None = 255, smooth: float = 1.0
) -> Tensor:
    """1 less the mean over the classes of the soft Dice overlap, a scalar.

    For the probabilities ``p = softmax(logits)`` (N,K,...) and labels (N,...), with sums over all
    valid positions of all images::

        dice(k) = (2 sum(p_k [t = k]) + smooth) / (sum(p_k) + sum([t = k]) + smooth)

    After Milletari, Navab and Ahmadi 2016 (arXiv:1606.04797), whose sizes are sums of squares.
    Void counts nowhere; where all is void the loss is 0. Raises IllegalLabelError at run time for
    a label that is neither a class nor void.
    """
    if not 0.0 < smooth < math.inf:
        raise SpecError(f"Expected a finite positive smooth, got {smooth}")
    wide = cast(logits, logits.dtype.accumulator)
    (valid,) = logits.builder.emit(LabelWeights(void_label), wide, labels)
    axes = [axis for axis in range(wide.ndim) if axis != 1]
    truth = one_hot(labels, wide.shape[1], dtype=wide.dtype)
    p = softmax(where(valid > 0.0, wide, 0.0)) * valid
    overlap, sizes = reduce_sum(p * truth, axes), reduce_sum(p + truth, axes)
    return 1.0 - reduce_mean((2.0 * overlap + smooth) / (sizes + smooth))


def _pair(prediction: Tensor, target: Any) -> tuple[Tensor, Tensor]:
    """Both in one dtype of float32 at least. Raises SpecError for different shapes."""
    a, b = operands(prediction, target)
    if not a.dtype.is_floating:
        raise SpecError(f"Expected a floating prediction, got {a.dtype}: use mg.cast first")
    if a.shape != b.shape:
        raise SpecError(
            f"Expected a prediction and a target of one shape, got {list(a.shape)} and "
            f"{list(b.shape)}"
        )
    return cast(a, a.dtype.accumulator), cast(b, b.dtype.accumulator)


def _reduced(losses: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return losses
    if reduction == "sum":
        return reduce_sum(losses)
    if reduction == "mean":
        return reduce_mean(losses)
    raise SpecError(f"Expected a reduction of 'mean', 'sum' or 'none', got {reduction!r}")
