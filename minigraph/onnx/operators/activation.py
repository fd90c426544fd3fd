"""Activations, softmax and dropout."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from minigraph.ir.spec import DType
from minigraph.ir.tensor import Tensor
from minigraph.layers import random_key
from minigraph.onnx.node import Converter, Node, Results
from minigraph.ops import activation as functions
from minigraph.ops import elementwise as ops
from minigraph.ops.broadcast import reshape
from minigraph.ops.control import when_training
from minigraph.ops.indexing import one_hot
from minigraph.ops.norm import channel_shape
from minigraph.ops.random import dropout, stream_of
from minigraph.ops.reduce import argmax
from minigraph.ops.softmax import log_softmax, softmax


def _relu(node: Node) -> Tensor:
    x = node.tensor(0)
    return ops.relu(x) if x.dtype.is_floating else ops.maximum(x, 0)


def _leaky_relu(node: Node) -> Tensor:
    x, slope = node.tensor(0), node.number("alpha", 0.01)
    return ops.leaky_relu(x, slope) if slope >= 0 else ops.where(x > 0.0, x, x * slope)


def _elu(node: Node) -> Tensor:
    return _scaled_elu(node.tensor(0), node.number("alpha", 1.0))


def _scaled_elu(x: Tensor, alpha: float) -> Tensor:
    """ELU of any alpha: a negative one is a sum of the two halves."""
    if alpha >= 0:
        return functions.elu(x, alpha)
    return ops.relu(x) - (functions.elu(x, -alpha) - ops.relu(x))


def _selu(node: Node) -> Tensor:
    alpha = node.number("alpha", functions.SELU_ALPHA)
    return _scaled_elu(node.tensor(0), alpha) * node.number("gamma", functions.SELU_SCALE)


def _celu(node: Node) -> Tensor:
    x, alpha = node.tensor(0), node.number("alpha", 1.0)
    return _scaled_elu(x / alpha, 1.0) * alpha


def _prelu(node: Node) -> Tensor:
    x, slope = node.tensors()
    if node.opset < 7 and slope.ndim == 1:
        slope = reshape(slope, channel_shape(x))
    zero = ops.cast(node.full(0.0, (), DType.FLOAT32), x.dtype)
    return ops.where(x > zero, x, node.emit(ops.Mul(), x, slope))


def _gelu(node: Node) -> Tensor:
    return functions.gelu(node.tensor(0), node.text("approximate", "none"))


def _hard_sigmoid(node: Node) -> Tensor:
    return functions.hard_sigmoid(
        node.tensor(0), node.number("alpha", 0.2), node.number("beta", 0.5)
    )


def _swish(node: Node) -> Tensor:
    x, alpha = node.tensor(0), node.number("alpha", 1.0)
    return functions.silu(x) if alpha == 1.0 else x * ops.sigmoid(x * alpha)


def _thresholded_relu(node: Node) -> Tensor:
    x = node.tensor(0)
    return ops.where(x > node.number("alpha", 1.0), x, 0.0)


def _shrink(node: Node) -> Tensor:
    x, threshold, bias = node.tensor(0), node.number("lambd", 0.5), node.number("bias", 0.0)
    return ops.where(x < -threshold, x + bias, ops.where(x > threshold, x - bias, 0.0))


def _softsign(node: Node) -> Tensor:
    x = node.tensor(0)
    return x / (1.0 + ops.absolute(x))


def _along_axis(function: Callable[[Tensor, int], Tensor]) -> Callable[[Node], Tensor]:
    """Softmax and its kin: before opset 13 over all axes from ``axis`` on, since then over one."""

    def convert(node: Node) -> Tensor:
        x = node.tensor(0)
        if node.opset >= 13:
            return function(x, node.integer("axis", -1))
        axis = node.integer("axis", 1) % max(x.ndim, 1)
        if axis == x.ndim - 1:
            return function(x, axis)
        flat = reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))
        return reshape(function(flat, 1), x.shape)

    return convert


def _hardmax(x: Tensor, axis: int) -> Tensor:
    return one_hot(argmax(x, axis), x.shape[axis], axis % x.ndim, x.dtype)


def _dropout(node: Node) -> Results:
    """Nothing in inference. The rate is kept for training, unless the node says what it does.

    Before opset 12 the file does not say whether it trains. From then on ``training_mode`` true
    drops always; false, what exporters write for inference, drops in our training steps alone.
    """
    x = node.tensor(0)
    if node.opset < 12:
        rate, always = node.number("ratio", 0.5), False
    else:
        rate = float(node.number_at(1)) if node.has(1) else 0.5
        always = node.has(2) and bool(node.number_at(2))
    if not always and not node.wants(1):
        return x if rate == 0.0 else when_training(_dropped(node, x, rate), x)
    if rate > 0.0 and node.wants(1) and always:
        raise node.refuse("Expected no mask output of a dropout in training, got one")
    return (_dropped(node, x, rate) if always else x), node.full(True, x.shape, DType.BOOL)


def _dropped(node: Node, x: Tensor, rate: float) -> Tensor:
    if rate == 0.0:
        return x
    return dropout(x, rate, random_key(x), stream_of(node.name))


ACTIVATIONS: Mapping[str, Converter] = {
    "Relu": Converter(_relu),
    "LeakyRelu": Converter(_leaky_relu, (1, 1), {"alpha": None}),
    "Elu": Converter(_elu, (1, 1), {"alpha": None}),
    "Selu": Converter(_selu, (1, 1), {"alpha": None, "gamma": None}),
    "Celu": Converter(_celu, (1, 1), {"alpha": None}),
    "PRelu": Converter(_prelu, (2, 2)),
    "Gelu": Converter(_gelu, (1, 1), {"approximate": ("none", "tanh")}),
    "HardSigmoid": Converter(_hard_sigmoid, (1, 1), {"alpha": None, "beta": None}),
    "HardSwish": Converter(lambda node: functions.hard_swish(node.tensor(0))),
    "Swish": Converter(_swish, (1, 1), {"alpha": None}),
    "Mish": Converter(lambda node: functions.mish(node.tensor(0))),
    "Softplus": Converter(lambda node: functions.softplus(node.tensor(0))),
    "Softsign": Converter(_softsign),
    "ThresholdedRelu": Converter(_thresholded_relu, (1, 1), {"alpha": None}),
    "Shrink": Converter(_shrink, (1, 1), {"lambd": None, "bias": None}),
    "Softmax": Converter(_along_axis(softmax), (1, 1), {"axis": None}),
    "LogSoftmax": Converter(_along_axis(log_softmax), (1, 1), {"axis": None}),
    "Hardmax": Converter(_along_axis(_hardmax), (1, 1), {"axis": None}),
    "Dropout": Converter(_dropout, (1, 3), {"ratio": None, "seed": None, "is_test": (1,)}),
}
