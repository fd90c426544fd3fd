"""Losses on labels."""

from __future__ import annotations

from collections.abc import Mapping

from minigraph.ir.errors import LoadError
from minigraph.ir.spec import DType
from minigraph.ir.tensor import Tensor
from minigraph.onnx.node import Converter, Node, Results
from minigraph.ops.elementwise import cast, equal, where
from minigraph.ops.loss import nll_loss, softmax_cross_entropy
from minigraph.ops.softmax import log_softmax

_VOID = -1
"""What ignored labels become: ONNX may ignore a class, our void label is none."""

_ATTRIBUTES = {"ignore_index": None, "reduction": ("none", "mean", "sum")}


def _labels(node: Node) -> tuple[Tensor, int | None]:
    labels = node.tensor(1)
    if not labels.dtype.is_integer or labels.dtype is DType.UINT8:
        raise LoadError(f"Expected labels of int32 or int64, got {labels.spec}")
    if "ignore_index" not in node.attributes:
        return labels, None
    return where(equal(labels, node.integer("ignore_index")), _VOID, labels), _VOID


def _weights(node: Node) -> Tensor | None:
    return node.tensor(2) if node.has(2) else None


def _nll(node: Node) -> Tensor:
    x, (labels, void) = node.tensor(0), _labels(node)
    loss = nll_loss(
        x, labels, void_label=void, class_weights=_weights(node),
        reduction=node.text("reduction", "mean"),
    )  # fmt: skip
    return cast(loss, x.dtype)


def _cross_entropy(node: Node) -> Results:
    x, (labels, void) = node.tensor(0), _labels(node)
    loss = softmax_cross_entropy(
        x, labels, void_label=void, class_weights=_weights(node),
        reduction=node.text("reduction", "mean"),
    )  # fmt: skip
    return cast(loss, x.dtype), log_softmax(x, 1)


LOSS: Mapping[str, Converter] = {
    "NegativeLogLikelihoodLoss": Converter(_nll, (2, 3), _ATTRIBUTES),
    "SoftmaxCrossEntropyLoss": Converter(_cross_entropy, (2, 3), _ATTRIBUTES),
}
