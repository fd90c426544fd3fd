"""Softmax cross-entropy for classes and for pixels, with void labels and class weights.

For logits ``x`` (N,K,...) and labels ``t`` (N,...), with class weights ``w`` (ones by default)::

    total  = sum over valid positions of  w[t] * (logsumexp(x) - x[t])
    weight = sum over valid positions of  w[t]

The sum reduction is ``total``, the mean is ``total / weight`` (as in torch), and 0 where every
label is void. Void counts in no loss and no gradient. A label that is neither a class nor void is
refused at run time, before any state is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from minigraph.ir.errors import IllegalLabelError, SpecError
from minigraph.ir.op import Cost, Cotangents, Op, Tensors, memory_cost
from minigraph.ir.spec import DType, TensorSpec
from minigraph.ir.tensor import Tensor
from minigraph.ops.control import stop_gradient
from minigraph.ops.elementwise import cast, where
from minigraph.ops.indexing import take_along_axis
from minigraph.ops.reduce import reduce_sum
from minigraph.ops.shape import Squeeze, expand_dims, squeeze
from minigraph.ops.softmax import log_softmax, softmax

_LABEL_DTYPES = (DType.UINT8, DType.INT32, DType.INT64)


@dataclass(frozen=True)
class OnLabels(Op):
    """What the loss ops share: labels, of which ``void_label`` counts nowhere."""

    void_label: int | None = 255

    may_refuse = True

    def check(
        self, logits: TensorSpec, labels: TensorSpec, weights: tuple[TensorSpec, ...]
    ) -> None:
        """Raises SpecError where shapes or dtypes do not fit."""
        if logits.ndim < 2 or not logits.dtype.is_floating:
            raise SpecError(f"Expected floating logits (N,K,...), got {logits}")
        expected = (logits.shape[0], *logits.shape[2:])
        if labels.shape != expected:
            raise SpecError(
                f"Expected labels of shape {list(expected)} for logits {list(logits.shape)} "
                f"(no class axis), got {list(labels.shape)}"
            )
        if labels.dtype not in _LABEL_DTYPES:
            raise SpecError(f"Expected labels of uint8, int32 or int64, got {labels.dtype}")
        classes = logits.shape[1]
        if classes == 0:
            raise SpecError(f"Expected at least one class, got logits {logits}")
        if self.void_label is not None and 0 <= self.void_label < classes:
            raise SpecError(
                f"Expected a void label outside the {classes} classes, got {self.void_label}: "
                "pass void_label=None (or another number)"
            )
        for spec in weights:
            if spec != TensorSpec((classes,), logits.dtype.accumulator):
                raise SpecError(
                    f"Expected class weights {logits.dtype.accumulator}[{classes}], got {spec}"
                )

    def illegal_label(self, logits: TensorSpec, position: int, value: int) -> IllegalLabelError:
        """The error for a label, given its position among all of the batch."""
        _, classes, *rest = logits.shape
        image, within = divmod(position, prod(rest))
        place = [int(i) for i in np.unravel_index(within, rest)] if rest else []
        void = "there is no void label" if self.void_label is None else f"or void {self.void_label}"
        return IllegalLabelError(
            f"Expected a label in [0, {classes}), {void}, got {value} in image {image}"
            f"{f' at {place}' if place else ''} of the batch"
        )


@dataclass(frozen=True)
class CrossEntropy(OnLabels):
    """(logits, labels[, class weights]) gives two scalars: the total loss and the total weight."""

    def infer(
        self, logits: TensorSpec, labels: TensorSpec, *weights: TensorSpec
    ) -> tuple[TensorSpec, ...]:
        self.check(logits, labels, weights)
        scalar = TensorSpec((), logits.dtype.accumulator)
        return scalar, scalar

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        (logits, labels, *weights), (g, _) = inputs, grads
        if g is None:  # the total weight depends on the labels alone
            return (None,) * len(inputs)
        (grad,) = g.builder.emit(CrossEntropyGrad(self.void_label), logits, labels, g, *weights)
        return grad, None, *(None for _ in weights)

    def cost(self, logits: TensorSpec, *rest: TensorSpec) -> Cost:
        return memory_cost(5 * logits.size, (logits, *rest), self.infer(logits, *rest))


@dataclass(frozen=True)
class CrossEntropyGrad(OnLabels):
    """(logits, labels, g[, class weights]) gives ``g * w[t] * (softmax(x) - onehot(t))``."""

    def infer(
        self, logits: TensorSpec, labels: TensorSpec, g: TensorSpec, *weights: TensorSpec
    ) -> tuple[TensorSpec, ...]:
        self.check(logits, labels, weights)
        if g != TensorSpec((), logits.dtype.accumulator):
            raise SpecError(
                f"Expected {logits.dtype.accumulator}[] as the loss's gradient, got {g}"
            )
        return (logits,)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        # z = g w (p - onehot), p = softmax(x). For a cotangent u of z:
        #   d/dx = g w * p * (u - sum_k u p)      d/dg = sum(u * z) at g = 1
        (logits, labels, g, *weights), (u,) = inputs, grads
        builder = u.builder
        (w,) = builder.emit(LabelWeights(self.void_label), logits, labels, *weights)
        p = softmax(cast(logits, w.dtype), 1)
        u = cast(u, w.dtype)
        grad = (g * w) * (p * (u - reduce_sum(u * p, 1, keepdims=True)))
        one = builder.full((), 1.0, g.dtype)
        (unit,) = builder.emit(CrossEntropyGrad(self.void_label), logits, labels, one, *weights)
        g_grad = reduce_sum(u * cast(unit, w.dtype))
        return cast(grad, logits.dtype), None, g_grad, *(None for _ in weights)

    def cost(self, logits: TensorSpec, *rest: TensorSpec) -> Cost:
        return memory_cost(5 * logits.size, (logits, *rest), (logits,))


@dataclass(frozen=True)
class LabelWeights(OnLabels):
    """(logits, labels[, class weights]) gives each position's weight (N,1,...): 0 for void."""

    def infer(
        self, logits: TensorSpec, labels: TensorSpec, *weights: TensorSpec
    ) -> tuple[TensorSpec, ...]:
        self.check(logits, labels, weights)
        shape = (logits.shape[0], 1, *logits.shape[2:])
        return (TensorSpec(shape, logits.dtype.accumulator),)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        return (None,) * len(inputs)


# ---- functions


def softmax_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    void_label: int | None = 255,
    class_weights: Any = None,
    reduction: str = "mean",
    name: str | None = None,
) -> Tensor:
    """Softmax cross-entropy of logits (N,K,...) with integer labels (N,...).

    ``void_label`` marks positions that count nowhere (None: there are none). ``class_weights``
    (K,) weigh the classes and get no gradient; a class of weight 0 counts nowhere either.
    ``reduction`` is "mean" over the valid positions (weighted, as in torch; 0 where all are void),
    "sum", or "none", which gives (N,...) with 0 at void. A 16-bit loss is computed in float32.
    Raises IllegalLabelError at run time for a label that is neither a class nor void.
    """
    _check_reduction(reduction)
    weights = _class_weights(logits, class_weights)
    if reduction == "none":
        scores, target, weight = _masked(logits, labels, weights, void_label)
        losses = _picked(log_softmax(scores), target, weight)
        return logits.builder.emit(Squeeze((1,)), losses, name=name)[0]
    total, weight = logits.builder.emit(
        CrossEntropy(void_label), logits, labels, *weights, name=name
    )
    return total if reduction == "sum" else _mean(total, weight)


def nll_loss(
    log_probabilities: Tensor,
    labels: Tensor,
    *,
    void_label: int | None = 255,
    class_weights: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """Negative log-likelihood of labels (N,...) under log-probabilities (N,K,...).

    Softmax cross-entropy without the softmax; void, class weights and reductions as there.
    """
    _check_reduction(reduction)
    weights = _class_weights(log_probabilities, class_weights)
    scores, target, weight = _masked(log_probabilities, labels, weights, void_label)
    losses = _picked(scores, target, weight)
    if reduction == "none":
        return squeeze(losses, 1)
    total = reduce_sum(losses)
    return total if reduction == "sum" else _mean(total, reduce_sum(weight))


def _masked(
    scores: Tensor, labels: Tensor, weights: list[Tensor], void_label: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Scores with zeros, and labels (N,1,...) with class 0, where the weight (N,1,...) is 0."""
    wide = cast(scores, scores.dtype.accumulator)
    (weight,) = wide.builder.emit(LabelWeights(void_label), wide, labels, *weights)
    counts = weight > 0.0
    return where(counts, wide, 0.0), where(counts, expand_dims(labels, 1), 0), weight


def _picked(scores: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """``-w[t] x[t]`` at every position, (N,1,...)."""
    return -(take_along_axis(scores, target, 1) * weight)


def _mean(total: Tensor, weight: Tensor) -> Tensor:
    return total / where(weight > 0.0, weight, 1.0)


def _check_reduction(reduction: str) -> None:
    if reduction not in ("mean", "sum", "none"):
        raise SpecError(f"Expected a reduction of 'mean', 'sum' or 'none', got {reduction!r}")


def _class_weights(logits: Tensor, class_weights: Any) -> list[Tensor]:
    """The weights as the loss ops take them: none, or a constant of the logits' accumulator."""
    if class_weights is None:
        return []
    if not isinstance(class_weights, Tensor):
        weights = np.asarray(class_weights, np.float64)
        if not np.isfinite(weights).all() or (weights < 0).any():
            raise SpecError(f"Expected finite class weights of zero or more, got {class_weights}")
    weight = cast(logits.builder.tensor(class_weights), logits.dtype.accumulator)
    return [stop_gradient(weight)]
