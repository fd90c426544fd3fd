"""Shape arithmetic: nodes whose operands are all known are computed while the graph is built.

Exporters write a model's sizes as small graphs of integers (Shape, Gather, Mul, Concat, ...). What
is larger than a shape can be is left to the graph, where memory is planned.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np

from minigraph.ir.errors import LoadError
from minigraph.onnx.dtypes import dtype_of
from minigraph.onnx.node import Node
from minigraph.onnx.operators.shape import known_range
from minigraph.onnx.operators.shape_arguments import axes_of, slices_of, split_sizes

MAX_ELEMENTS = 65_536


def fold(node: Node, arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray] | None:
    """The results of a node on known arrays; None where it is none of shape arithmetic.

    Raises LoadError where the operands do not fit.
    """
    rule = FOLDED.get(node.op_type)
    if rule is None or sum(array.size for array in arrays) > MAX_ELEMENTS:
        return None
    try:
        if _result_size(node, arrays) > MAX_ELEMENTS:
            return None
        with np.errstate(all="ignore"):
            result = rule(node, *arrays)
    except (ValueError, TypeError, IndexError, ArithmeticError) as error:
        raise LoadError(f"Expected operands that fit, got {error}") from None
    if result is None:
        return None
    return [np.asarray(array) for array in (result if isinstance(result, list) else [result])]


def _result_size(node: Node, arrays: Sequence[np.ndarray]) -> int:
    """Elements of the result, where it can have many more than the operands together."""
    if node.op_type == "Gather" and arrays[0].size and arrays[0].ndim:
        x, indices = arrays
        return x.size // x.shape[node.integer("axis", 0)] * indices.size
    if node.op_type in _BROADCASTING:
        return math.prod(np.broadcast_shapes(*(array.shape for array in arrays)))
    return 0


_BROADCASTING = frozenset({
    "Add", "Sub", "Mul", "Div", "Mod", "Pow", "Equal", "Less", "Greater", "LessOrEqual",
    "GreaterOrEqual", "And", "Or", "Max", "Min", "Sum", "Where",
})  # fmt: skip


def _divide(node: Node, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.dtype.kind == "f":
        return a / b
    if (b == 0).any():
        raise LoadError("Expected divisors other than zero, got zero")
    return a // b + ((a % b != 0) & ((a < 0) != (b < 0)))  # ONNX truncates towards zero


def _bounded(shape: Sequence[int]) -> bool:
    return len(shape) <= 32 and all(s >= 0 for s in shape) and math.prod(shape) <= MAX_ELEMENTS


def _expand(node: Node, x: np.ndarray, shape: np.ndarray) -> np.ndarray | None:
    result = np.broadcast_shapes(x.shape, tuple(map(int, shape)))
    return np.broadcast_to(x, result) if _bounded(result) else None


def _where(node: Node, condition: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.dtype != b.dtype or condition.dtype != bool:
        raise LoadError(f"Expected a condition and one dtype, got {a.dtype} and {b.dtype}")
    return np.where(condition, a, b)


def _modulo(node: Node, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.dtype.kind != "f" and (b == 0).any():
        raise LoadError("Expected divisors other than zero, got zero")
    return np.fmod(a, b) if node.integer("fmod", 0) else np.mod(a, b)


def _cast(node: Node, x: np.ndarray) -> np.ndarray:
    return x.astype(dtype_of(node.integer("to")).numpy)


def _concat(node: Node, *arrays: np.ndarray) -> np.ndarray:
    return np.concatenate(arrays, node.integer("axis"))


def _reshape(node: Node, x: np.ndarray, shape: np.ndarray) -> np.ndarray:
    sizes = [int(s) for s in shape]
    if not node.attributes.get("allowzero"):
        sizes = [x.shape[axis] if s == 0 else s for axis, s in enumerate(sizes)]
    return x.reshape(sizes)


def _split(node: Node, x: np.ndarray, *sizes: np.ndarray) -> list[np.ndarray]:
    axis = node.integer("axis", 0)
    return np.split(x, np.cumsum(split_sizes(node, x.shape[axis]))[:-1], axis)


def _squeeze(node: Node, x: np.ndarray, *axes: np.ndarray) -> np.ndarray:
    listed = axes_of(node, since=13)
    return np.squeeze(x, None if listed is None else tuple(listed))


def _unsqueeze(node: Node, x: np.ndarray, *axes: np.ndarray) -> np.ndarray:
    return np.expand_dims(x, tuple(axes_of(node, since=13) or ()))


def _slice(node: Node, x: np.ndarray, *bounds: np.ndarray) -> np.ndarray:
    return x[tuple(slices_of(node, x.shape))]


def _reduce(function: Any) -> Callable[..., np.ndarray]:
    def rule(node: Node, x: np.ndarray, *axes: np.ndarray) -> np.ndarray:
        listed = axes_of(node, since=13 if node.op_type == "ReduceSum" else 18)
        if not listed and node.attributes.get("noop_with_empty_axes"):
            return x
        keep = bool(node.integer("keepdims", 1))
        return function(x, axis=tuple(listed) if listed else None, keepdims=keep).astype(x.dtype)

    return rule


def _plain(function: Any) -> Callable[..., np.ndarray]:
    """A NumPy function of the operands, whose dtypes must agree."""

    def rule(node: Node, *arrays: np.ndarray) -> np.ndarray:
        if len({array.dtype for array in arrays}) > 1:
            raise LoadError(f"Expected one dtype, got {[str(a.dtype) for a in arrays]}")
        return function(*arrays)

    return rule


def _many(function: Any) -> Callable[..., np.ndarray]:
    """A NumPy function of two operands for any number of them."""
    return _plain(lambda *arrays: reduce(function, arrays))


FOLDED: Mapping[str, Callable[..., Any]] = {
    "Add": _plain(np.add), "Sub": _plain(np.subtract), "Mul": _plain(np.multiply),
    "Div": _divide, "Mod": _modulo, "Neg": _plain(np.negative), "Abs": _plain(np.abs),
    "Floor": _plain(np.floor), "Ceil": _plain(np.ceil), "Round": _plain(np.round),
    "Equal": _plain(np.equal), "Less": _plain(np.less), "Greater": _plain(np.greater),
    "LessOrEqual": _plain(np.less_equal), "GreaterOrEqual": _plain(np.greater_equal),
    "And": _plain(np.logical_and), "Or": _plain(np.logical_or), "Not": _plain(np.logical_not),
    "Max": _many(np.maximum), "Min": _many(np.minimum), "Sum": _many(np.add),
    "Pow": lambda node, a, b: np.power(a, b).astype(a.dtype), "Sqrt": _plain(np.sqrt),
    "Cast": _cast, "CastLike": lambda node, x, like: x.astype(like.dtype),
    "Range": lambda node, *operands: known_range(*operands),
    "Transpose": lambda node, x: np.transpose(x, node.attributes.get("perm")),
    "Where": _where,
    "Gather": lambda node, x, i: np.take(x, i, node.integer("axis", 0)),
    "Concat": _concat, "Reshape": _reshape, "Split": _split, "Slice": _slice,
    "Squeeze": _squeeze, "Unsqueeze": _unsqueeze, "Expand": _expand,
    "ReduceProd": _reduce(np.prod), "ReduceSum": _reduce(np.sum), "ReduceMax": _reduce(np.max),
    "ReduceMin": _reduce(np.min),
}  # fmt: skip
"""What exporters compute sizes with."""
