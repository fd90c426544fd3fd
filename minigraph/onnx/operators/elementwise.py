"""Arithmetic, comparison, choice and dtypes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce

import numpy as np

from minigraph.ir.errors import LoadError
from minigraph.ir.op import Op
from minigraph.ir.spec import DType
from minigraph.ir.tensor import Tensor
from minigraph.onnx.dtypes import dtype_of
from minigraph.onnx.node import Converter, Node
from minigraph.ops import elementary as functions
from minigraph.ops import elementwise as ops
from minigraph.ops.broadcast import reshape
from minigraph.ops.shape import full_like

MANY = (1, 2**20)
"""The number of inputs of ops that take any number."""


def _emitting(op: Callable[[], Op], operands: int) -> Converter:
    """A converter to one of our ops of the same operands."""

    def convert(node: Node) -> Tensor:
        return node.emit(op(), *node.tensors())

    return Converter(convert, (operands, operands))


def _pair(op: Callable[[], Op]) -> Converter:
    """A converter to one of our ops of two operands that broadcast."""

    def convert(node: Node) -> Tensor:
        return node.emit(op(), *_aligned(node))

    return Converter(convert, (2, 2), _BROADCAST)


def _aligned(node: Node) -> tuple[Tensor, Tensor]:
    """Two operands that broadcast as NumPy's do.

    Before opset 7 ``axis`` says at which axis of the first the axes of the second begin.
    """
    a, b = node.tensors()
    if node.opset >= 7 or "axis" not in node.attributes:
        return a, b
    axis = node.integer("axis")
    behind = a.ndim - (axis + a.ndim if axis < 0 else axis) - b.ndim
    if not 0 <= behind <= a.ndim:
        raise LoadError(f"Expected an axis of {a.spec} where {b.spec} begins, got {axis}")
    return a, reshape(b, (*b.shape, *(1,) * behind))


_BROADCAST = {"broadcast": (0, 1), "axis": None}
"""Attributes of opsets before 7; since then operands always broadcast."""


def _folding(op: Callable[[], Op]) -> Converter:
    """An op of any number of operands as one of two, from the left."""

    def convert(node: Node) -> Tensor:
        return reduce(lambda a, b: node.emit(op(), a, b), node.tensors())

    return Converter(convert, MANY)


def _mean(node: Node) -> Tensor:
    tensors = node.tensors()
    return reduce(lambda a, b: node.emit(ops.Add(), a, b), tensors) / float(len(tensors))


def _absolute(node: Node) -> Tensor:
    x = node.tensor(0)
    if x.dtype is DType.UINT8:
        return x
    return ops.maximum(x, -x) if x.dtype.is_integer else ops.absolute(x)


def _sign(node: Node) -> Tensor:
    x = node.tensor(0)
    if x.dtype.is_floating:
        return ops.sign(x)
    one, zero = full_like(x, 1), full_like(x, 0)
    if x.dtype is DType.UINT8:
        return ops.where(x > zero, one, zero)
    return ops.where(x > zero, one, ops.where(x < zero, -one, zero))


def _divide(node: Node) -> Tensor:
    a, b = _aligned(node)
    if a.dtype.is_floating or a.dtype is not b.dtype:
        return node.emit(ops.Div(), a, b)  # which refuses two dtypes
    return _quotient(node, a, b)


def _quotient(node: Node, a: Tensor, b: Tensor) -> Tensor:
    """``a / b`` of integers, truncated towards zero, through float64.

    Up to 32 bits that is exact: a quotient that is no integer differs from the nearest one by at
    least 1 / b, relatively 1 / a >= 2^-31, far above float64's rounding. For 64 bits the remainder
    of the rounded quotient is at most 2^-52 of a: it is divided once more, exactly, and where the
    sum of both quotients is one too far from zero, the remainder has not the sign of a.
    """
    quotient = _rounded_quotient(node, a, b)
    if a.dtype is not DType.INT64:
        return quotient
    quotient = quotient + _rounded_quotient(node, a - quotient * b, b)
    rest = a - quotient * b
    positive = ops.equal(ops.less(a, 0), ops.less(b, 0))
    beyond = ops.logical_and(
        ops.not_equal(rest, 0), ops.not_equal(ops.less(rest, 0), ops.less(a, 0))
    )
    return ops.where(beyond, quotient - ops.where(positive, full_like(a, 1), -1), quotient)


def _rounded_quotient(node: Node, a: Tensor, b: Tensor) -> Tensor:
    wide = node.emit(ops.Div(), ops.cast(a, DType.FLOAT64), ops.cast(b, DType.FLOAT64))
    return ops.cast(wide, a.dtype)


def _modulo(node: Node) -> Tensor:
    a, b = node.tensors()
    truncating = bool(node.integer("fmod", 0))
    if a.dtype.is_floating or a.dtype is not b.dtype:
        # The remainder of a rounded quotient is exact only where the quotient is small.
        raise node.refuse(f"Expected integers of one dtype, got {a.dtype} and {b.dtype}")
    rest = a - _quotient(node, a, b) * b
    if truncating or a.dtype is DType.UINT8:
        return rest
    wrong = ops.logical_and(
        ops.not_equal(rest, 0), ops.not_equal(ops.less(rest, 0), ops.less(b, 0))
    )
    return ops.where(wrong, rest + b, rest)


def _power(node: Node) -> Tensor:
    a, b = node.tensor(0), node.value(1)
    if isinstance(b, np.ndarray) and b.ndim == 0 and a.dtype.is_floating:
        return functions.power(a, float(b))
    base, exponent = a, node.tensor(1)
    wide = a.dtype if a.dtype.is_floating else DType.FLOAT64
    result = node.emit(functions.Pow(), ops.cast(base, wide), ops.cast(exponent, wide))
    return ops.cast(result, a.dtype)


def _clip(node: Node) -> Tensor:
    x = node.tensor(0)
    if node.opset < 11:
        low = node.number("min") if "min" in node.attributes else None
        high = node.number("max") if "max" in node.attributes else None
        return x if low is None and high is None else functions.clip(x, low, high)
    known = [_number(node, position) for position in (1, 2)]
    if x.dtype.is_floating and None not in known:
        bounds = [None if np.isnan(bound) else bound for bound in known if bound is not None]
        low, high = bounds
        return x if low is None and high is None else functions.clip(x, low, high)
    for position, op in ((1, ops.Maximum()), (2, ops.Minimum())):
        if node.has(position):
            x = node.emit(op, x, node.tensor(position))
    return x


def _number(node: Node, position: int) -> float | None:
    """A bound: NaN where there is none, None where it is known at run time alone."""
    if not node.has(position):
        return float("nan")
    value = node.value(position)
    array = getattr(value, "array", value)
    if isinstance(array, np.ndarray) and array.size == 1:
        return float(array.reshape(()))
    return None


def _xor(node: Node) -> Tensor:
    a, b = node.tensors()
    either, both = node.emit(ops.LogicalOr(), a, b), node.emit(ops.LogicalAnd(), a, b)
    return ops.logical_and(either, ops.logical_not(both))


def _cast(node: Node) -> Tensor:
    return ops.cast(node.tensor(0), dtype_of(node.integer("to")))


def _cast_like(node: Node) -> Tensor:
    return ops.cast(node.tensor(0), node.tensor(1).dtype)


def _is_nan(node: Node) -> Tensor:
    x = node.tensor(0)
    return ops.not_equal(x, x)


def _is_infinite(node: Node) -> Tensor:
    x = node.tensor(0)
    below = ops.equal(x, -np.inf) if node.integer("detect_negative", 1) else None
    above = ops.equal(x, np.inf) if node.integer("detect_positive", 1) else None
    if below is None or above is None:
        found = below if below is not None else above
        return node.full(False, x.shape, DType.BOOL) if found is None else found
    return ops.logical_or(below, above)


def _tan(node: Node) -> Tensor:
    x = node.tensor(0)
    return functions.sin(x) / functions.cos(x)


def _hyperbolic(sign: float) -> Callable[[Node], Tensor]:
    def convert(node: Node) -> Tensor:
        x = node.tensor(0)
        return (ops.exp(x) + sign * ops.exp(-x)) * 0.5

    return convert


_AXIS_FREE = {
    "Exp": ops.Exp, "Log": ops.Log, "Sqrt": ops.Sqrt, "Erf": functions.Erf, "Neg": ops.Neg,
    "Sin": functions.Sin, "Cos": functions.Cos, "Floor": functions.Floor, "Ceil": functions.Ceil,
    "Round": functions.Round, "Sigmoid": ops.Sigmoid, "Tanh": ops.Tanh, "Not": ops.LogicalNot,
}  # fmt: skip
_PAIRS = {
    "Add": ops.Add, "Sub": ops.Sub, "Mul": ops.Mul, "Equal": ops.Equal, "Less": ops.Less,
    "LessOrEqual": ops.LessEqual, "Greater": ops.Greater, "GreaterOrEqual": ops.GreaterEqual,
    "And": ops.LogicalAnd, "Or": ops.LogicalOr,
}  # fmt: skip

ELEMENTWISE: Mapping[str, Converter] = {
    **{name: _emitting(op, 1) for name, op in _AXIS_FREE.items()},
    **{name: _pair(op) for name, op in _PAIRS.items()},
    "Max": _folding(ops.Maximum),
    "Min": _folding(ops.Minimum),
    "Sum": _folding(ops.Add),
    "Mean": Converter(_mean, MANY),
    "Abs": Converter(_absolute),
    "Sign": Converter(_sign),
    "Reciprocal": Converter(lambda node: functions.reciprocal(node.tensor(0))),
    "Div": Converter(_divide, (2, 2), _BROADCAST),
    "Mod": Converter(_modulo, (2, 2), {"fmod": (0, 1)}),
    "Pow": Converter(_power, (2, 2), {"broadcast": (0, 1)}),
    "Clip": Converter(_clip, (1, 3), {"min": None, "max": None}),
    "Xor": Converter(_xor, (2, 2)),
    "Where": _emitting(ops.Where, 3),
    "Identity": Converter(lambda node: node.value(0)),
    "Cast": Converter(_cast, (1, 1), {"to": None, "saturate": None, "round_mode": None}),
    "CastLike": Converter(_cast_like, (2, 2), {"saturate": None, "round_mode": None}),
    "IsNaN": Converter(_is_nan),
    "IsInf": Converter(
        _is_infinite, (1, 1), {"detect_negative": (0, 1), "detect_positive": (0, 1)}
    ),
    "Tan": Converter(_tan),
    "Sinh": Converter(_hyperbolic(-1.0)),
    "Cosh": Converter(_hyperbolic(1.0)),
}
