"""Optimiser steps as nodes: the domain ai.onnx.preview.training.

Inputs are the rate R, the number T of updates before, then the tensors X, their gradients G and
their states, as many each as there are tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from minigraph.ir.errors import LoadError
from minigraph.ir.spec import DType
from minigraph.ir.tensor import Tensor
from minigraph.onnx.node import Converter, Node, Results
from minigraph.ops.broadcast import reshape
from minigraph.ops.elementary import power
from minigraph.ops.elementwise import cast, sqrt, where

_MANY = (3, 2**20)


def _operands(node: Node, kinds: int) -> tuple[Tensor, Tensor, list[tuple[Tensor, ...]]]:
    """R and T, and for each tensor its ``kinds`` operands: X, G and its states."""
    rest = node.tensors()[2:]
    if len(rest) % kinds:
        raise LoadError(f"Expected {kinds} inputs for each tensor, got {len(rest)}")
    count = len(rest) // kinds
    rate, step = reshape(node.tensor(0), ()), reshape(node.tensor(1), ())
    return rate, step, [tuple(rest[i::count]) for i in range(count)]


def _flat(results: Sequence[tuple[Tensor, ...]]) -> Results:
    """New tensors first, then each kind of state."""
    return [tensor for kind in zip(*results, strict=True) for tensor in kind]


def _adagrad(node: Node) -> Results:
    rate, step, groups = _operands(node, 3)
    decay, norm = node.number("decay_factor", 0.0), node.number("norm_coefficient", 0.0)
    now = rate / (1.0 + cast(step, rate.dtype) * decay)
    results = []
    for x, g, squares in groups:
        g = norm * x + g
        total = squares + g * g
        results.append((x - now * g / (sqrt(total) + node.number("epsilon", 1e-6)), total))
    return _flat(results)


def _momentum(node: Node) -> Results:
    rate, step, groups = _operands(node, 3)
    alpha, beta = node.number("alpha"), node.number("beta")
    share = where(step > 0, beta, 1.0)  # the first gradient counts whole
    results = []
    for x, g, velocity in groups:
        g = node.number("norm_coefficient") * x + g
        new = alpha * velocity + cast(share, x.dtype) * g
        ahead = g + alpha * new if node.text("mode", "standard") == "nesterov" else new
        results.append((x - rate * ahead, new))
    return _flat(results)


def _adam(node: Node) -> Results:
    rate, step, groups = _operands(node, 4)
    alpha, beta = node.number("alpha", 0.9), node.number("beta", 0.999)
    count = cast(step, DType.FLOAT64)
    one = node.full(1.0, (), DType.FLOAT64)
    correction = sqrt(one - power(one * beta, count)) / (one - power(one * alpha, count))
    now = where(step > 0, rate * cast(correction, rate.dtype), rate)
    results = []
    for x, g, mean, square in groups:
        g = node.number("norm_coefficient", 0.0) * x + g
        mean = alpha * mean + (1.0 - alpha) * g
        square = beta * square + (1.0 - beta) * (g * g)
        x = x - now * mean / (sqrt(square) + node.number("epsilon", 1e-6))
        x = (1.0 - node.number("norm_coefficient_post", 0.0)) * x
        results.append((x, mean, square))
    return _flat(results)


OPTIMIZER: Mapping[str, Converter] = {
    "Adagrad": Converter(
        _adagrad, _MANY, {"decay_factor": None, "epsilon": None, "norm_coefficient": None}
    ),
    "Momentum": Converter(
        _momentum, _MANY,
        {"alpha": None, "beta": None, "mode": ("standard", "nesterov"), "norm_coefficient": None},
    ),
    "Adam": Converter(
        _adam, _MANY,
        {"alpha": None, "beta": None, "epsilon": None, "norm_coefficient": None,
         "norm_coefficient_post": None},
    ),
}  # fmt: skip
