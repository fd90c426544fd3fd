"""Reductions, running sums, and products of matrices."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from minigraph.ir.errors import LoadError
from minigraph.ir.spec import DType
from minigraph.ir.tensor import Tensor
from minigraph.onnx.node import Converter, Node
from minigraph.onnx.operators.shape_arguments import axes_of
from minigraph.ops import reduce as ops
from minigraph.ops.broadcast import normalise_axes, reduced_shape
from minigraph.ops.elementwise import absolute, cast, equal, exp, log, mul, sqrt, where
from minigraph.ops.matmul import MatMul
from minigraph.ops.shape import concat, expand_dims, flip, split, squeeze

Reduction = Callable[..., Tensor]


def _reduction(
    function: Reduction, of_nothing: Callable[[DType], float], since: int = 18
) -> Converter:
    """A reduction whose axes are an attribute, or from an opset on an input.

    ``of_nothing`` is its value where an axis without elements is reduced.
    """

    def convert(node: Node) -> Tensor:
        x, axes = node.tensor(0), axes_of(node, since)
        if not axes:
            if node.integer("noop_with_empty_axes", 0):
                return _of_single_elements(node, x, function)
            axes = None
        keepdims = bool(node.integer("keepdims", 1))
        listed = normalise_axes(axes, x.ndim)
        shape = reduced_shape(x.shape, listed, keepdims)
        if any(x.shape[axis] == 0 for axis in listed):
            return node.full(of_nothing(x.dtype), shape, x.dtype)
        y = function(cast(x, DType.UINT8) if x.dtype is DType.BOOL else x, listed, keepdims)
        return cast(y, x.dtype)

    attributes = {"axes": None, "keepdims": (0, 1), "noop_with_empty_axes": (0, 1)}
    return Converter(convert, (1, 2), attributes)


def _of_single_elements(node: Node, x: Tensor, function: Reduction) -> Tensor:
    """Without axes only what a reduction does to each element is left: its absolute value, say."""
    return squeeze(function(expand_dims(x, 0), (0,), True), 0)


def _l1(x: Tensor, axes: tuple[int, ...], keepdims: bool) -> Tensor:
    return ops.reduce_sum(absolute(x), axes, keepdims)


def _squares(x: Tensor, axes: tuple[int, ...], keepdims: bool) -> Tensor:
    return ops.reduce_sum(mul(x, x), axes, keepdims)


def _l2(x: Tensor, axes: tuple[int, ...], keepdims: bool) -> Tensor:
    return sqrt(_squares(x, axes, keepdims))


def _log_sum(x: Tensor, axes: tuple[int, ...], keepdims: bool) -> Tensor:
    return log(ops.reduce_sum(x, axes, keepdims))


def _log_sum_exp(x: Tensor, axes: tuple[int, ...], keepdims: bool) -> Tensor:
    """With the maximum taken out, so that nothing overflows."""
    largest = ops.reduce_max(x, axes, True)
    safe = where(equal(absolute(largest), math.inf), 0.0, largest)
    total = log(ops.reduce_sum(exp(x - safe), axes, True)) + safe
    return total if keepdims else squeeze(total, axes)


def _product(x: Tensor, axes: tuple[int, ...], keepdims: bool) -> Tensor:
    """Halves multiplied, again and again: no op of ours multiplies along an axis."""
    for axis in axes:
        while x.shape[axis] > 1:
            half = x.shape[axis] // 2
            first, second, *rest = split(x, [half, half, x.shape[axis] - 2 * half], axis)
            x = concat([mul(first, second), *rest], axis)
    return x if keepdims else squeeze(x, axes)


def _smallest(dtype: DType) -> float:
    if dtype.is_floating:
        return -math.inf
    return False if dtype is DType.BOOL else int(np.iinfo(dtype.numpy).min)


def _largest(dtype: DType) -> float:
    if dtype.is_floating:
        return math.inf
    return True if dtype is DType.BOOL else int(np.iinfo(dtype.numpy).max)


def _arg(function: Callable[..., Tensor]) -> Converter:
    def convert(node: Node) -> Tensor:
        x, axis = node.tensor(0), node.integer("axis", 0)
        keepdims = bool(node.integer("keepdims", 1))
        if not node.integer("select_last_index", 0):
            return function(x, axis, keepdims)
        (place,) = normalise_axes(axis, x.ndim)
        return (x.shape[place] - 1) - function(flip(x, place), axis, keepdims)

    attributes = {"axis": None, "keepdims": (0, 1), "select_last_index": (0, 1)}
    return Converter(convert, (1, 1), attributes)


def _cumsum(node: Node) -> Tensor:
    x, axis = node.tensor(0), int(node.number_at(1))
    total = ops.cumsum(x, axis, bool(node.integer("reverse", 0)))
    return total - x if node.integer("exclusive", 0) else total


def _matmul(node: Node) -> Tensor:
    a, b = node.tensors()
    if a.ndim == 0 or b.ndim == 0:
        raise LoadError(f"Expected matrices or vectors, got {a.spec} and {b.spec}")
    y = node.emit(
        MatMul(), expand_dims(a, 0) if a.ndim == 1 else a, expand_dims(b, 1) if b.ndim == 1 else b
    )
    dropped = [axis for axis, vector in ((-2, a), (-1, b)) if vector.ndim == 1]
    return squeeze(y, dropped) if dropped else y


def _gemm(node: Node) -> Tensor:
    a, b = node.tensor(0), node.tensor(1)
    if a.ndim != 2 or b.ndim != 2:
        raise LoadError(f"Expected two matrices, got {a.spec} and {b.spec}")
    op = MatMul(bool(node.integer("transA", 0)), bool(node.integer("transB", 0)))
    alpha, beta = node.number("alpha", 1.0), node.number("beta", 1.0)
    y = node.emit(op, a, b)
    y = y if alpha == 1.0 else y * alpha
    if not node.has(2):
        return y
    shift = node.tensor(2)
    return y + (shift if beta == 1.0 else shift * beta)


REDUCE: Mapping[str, Converter] = {
    "ReduceSum": _reduction(ops.reduce_sum, lambda dtype: 0.0, since=13),
    "ReduceProd": _reduction(_product, lambda dtype: 1.0),
    "ReduceMean": _reduction(ops.reduce_mean, lambda dtype: math.nan),
    "ReduceMax": _reduction(ops.reduce_max, _smallest),
    "ReduceMin": _reduction(ops.reduce_min, _largest),
    "ReduceL1": _reduction(_l1, lambda dtype: 0.0),
    "ReduceL2": _reduction(_l2, lambda dtype: 0.0),
    "ReduceSumSquare": _reduction(_squares, lambda dtype: 0.0),
    "ReduceLogSum": _reduction(_log_sum, lambda dtype: -math.inf),
    "ReduceLogSumExp": _reduction(_log_sum_exp, lambda dtype: -math.inf),
    "ArgMax": _arg(ops.argmax),
    "ArgMin": _arg(ops.argmin),
    "CumSum": Converter(_cumsum, (2, 2), {"exclusive": (0, 1), "reverse": (0, 1)}),
    "MatMul": Converter(_matmul, (2, 2)),
    "Gemm": Converter(
        _gemm,
        (2, 3),
        {"alpha": None, "beta": None, "transA": None, "transB": None, "broadcast": (0, 1)},
    ),
}
