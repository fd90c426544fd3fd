"""Elementwise arithmetic, comparison, choice and activations, with NumPy's broadcasting.

Gradients are written in terms of the *output* where that is possible (ReLU, sigmoid, tanh, exp,
sqrt, division): the input then need not be kept, and a fused forward stays legal.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any

from minigraph.ir.errors import BuilderError, SpecError
from minigraph.ir.footprint import broadcast_footprint
from minigraph.ir.op import Cotangents, Footprints, Op, Tensors
from minigraph.ir.spec import DType, DTypeLike, TensorSpec, broadcast_shapes, promote
from minigraph.ir.tensor import Tensor
from minigraph.ops.broadcast import sum_to


@dataclass(frozen=True)
class Elementwise(Op):
    """An op whose output element depends on the matching (broadcast) input elements alone.

    Subclasses without attributes inherit the dataclass's equality, which compares classes.
    """

    def footprints(self, axis: int, *inputs: TensorSpec) -> Footprints:
        output = reduce(broadcast_shapes, (spec.shape for spec in inputs))
        return tuple(broadcast_footprint(axis, spec.shape, output) for spec in inputs)


class Unary(Elementwise):
    """One floating input, one output of the same spec."""

    def infer(self, x: TensorSpec) -> tuple[TensorSpec, ...]:
        if not x.dtype.is_floating:
            raise SpecError(f"Expected a floating dtype, got {x.dtype}: use mg.cast first")
        return (x,)


class Binary(Elementwise):
    """Two inputs of one dtype that broadcast."""

    def infer(self, a: TensorSpec, b: TensorSpec) -> tuple[TensorSpec, ...]:
        if a.dtype is not b.dtype:
            raise SpecError(f"Expected one dtype, got {a.dtype} and {b.dtype}")
        return (TensorSpec(broadcast_shapes(a.shape, b.shape), self.result(a.dtype)),)

    def result(self, dtype: DType) -> DType:
        """The output's dtype; also the place to refuse one."""
        if dtype is DType.BOOL:
            raise SpecError(f"Expected numbers for {self.name}, got bool: cast them first")
        return dtype


class Comparison(Binary):
    """A Binary with a bool output and no gradient."""

    def result(self, dtype: DType) -> DType:
        return DType.BOOL

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        return None, None


class Logical(Elementwise):
    """bool in, bool out."""

    def infer(self, *inputs: TensorSpec) -> tuple[TensorSpec, ...]:
        for spec in inputs:
            if spec.dtype is not DType.BOOL:
                raise SpecError(f"Expected bool, got {spec.dtype}: compare first")
        return (TensorSpec(reduce(broadcast_shapes, (s.shape for s in inputs)), DType.BOOL),)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        return (None,) * len(inputs)


# ---- arithmetic


class Add(Binary):
    """``a + b``"""

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        (g,) = grads
        return sum_to(g, inputs[0].shape), sum_to(g, inputs[1].shape)


class Sub(Binary):
    """``a - b``"""

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        (g,) = grads
        return sum_to(g, inputs[0].shape), -sum_to(g, inputs[1].shape)


class Mul(Binary):
    """``a * b``"""

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        (a, b), (g,) = inputs, grads
        return sum_to(g * b, a.shape), sum_to(g * a, b.shape)


class Div(Binary):
    """``a / b`` of floating tensors."""

    def result(self, dtype: DType) -> DType:
        if not dtype.is_floating:
            raise SpecError(f"Expected a floating dtype to divide, got {dtype}: use mg.cast first")
        return dtype

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        # y = a / b:  dy/da = 1 / b,  dy/db = -a / b^2 = -y / b
        (a, b), (y,), (g,) = inputs, outputs, grads
        ga = g / b
        return sum_to(ga, a.shape), sum_to(-(ga * y), b.shape)


class Extremum(Binary):
    """Maximum or minimum; where both are equal each gets half the gradient."""

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        (a, b), (y,), (g,) = inputs, outputs, grads
        half = where(equal(a, b), 0.5 * g, g)
        ga = where(equal(a, y), half, 0.0)
        gb = where(equal(b, y), half, 0.0)
        return sum_to(ga, a.shape), sum_to(gb, b.shape)


class Maximum(Extremum):
    """The larger of two."""


class Minimum(Extremum):
    """The smaller of two."""


class Neg(Elementwise):
    """``-x``"""

    def infer(self, x: TensorSpec) -> tuple[TensorSpec, ...]:
        if x.dtype in (DType.BOOL, DType.UINT8):
            raise SpecError(f"Expected a signed dtype, got {x.dtype}: cast first")
        return (x,)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        return (-grads[0],)


class Abs(Unary):
    """``|x|``; gradient 0 at 0."""

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        return (grads[0] * sign(inputs[0]),)


class Sign(Unary):
    """-1, 0 or 1; gradient 0."""

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        return (None,)


class Sqrt(Unary):
    """Square root."""

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        return (grads[0] * 0.5 / outputs[0],)


class Exp(Unary):
    """``e ** x``"""

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        return (grads[0] * outputs[0],)


class Log(Unary):
    """Natural logarithm."""

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        return (grads[0] / inputs[0],)


# ---- activations


class Relu(Unary):
    """``max(x, 0)``; gradient 0 at 0."""

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        (y,), (g,) = outputs, grads
        return (g.builder.emit(ReluGrad(), y, g)[0],)


class ReluGrad(Elementwise):
    """``gy`` where the ReLU's output is positive, else 0."""

    def infer(self, y: TensorSpec, gy: TensorSpec) -> tuple[TensorSpec, ...]:
        if y != gy:
            raise SpecError(f"Expected equal specs, got {y} and {gy}")
        return (gy,)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        (y, _), (g,) = inputs, grads
        return None, g.builder.emit(ReluGrad(), y, g)[0]


@dataclass(frozen=True)
class LeakyRelu(Unary):
    """``x`` where positive, else ``slope * x`` (0 <= slope, so that the sign survives)."""

    slope: float = 0.01

    def __post_init__(self) -> None:
        object.__setattr__(self, "slope", float(self.slope) + 0.0)
        if not 0 <= self.slope < math.inf:
            raise SpecError(f"Expected a finite slope of zero or more, got {self.slope}")

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        (y,), (g,) = outputs, grads
        return (where(y > 0.0, g, g * self.slope),)


class Sigmoid(Unary):
    """``1 / (1 + e ** -x)``, without overflow."""

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        (y,), (g,) = outputs, grads
        return (g * (y * (1.0 - y)),)


class Tanh(Unary):
    """Hyperbolic tangent."""

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        (y,), (g,) = outputs, grads
        return (g * (1.0 - y * y),)


# ---- comparison and choice


class Equal(Comparison):
    """``a == b``"""


class NotEqual(Comparison):
    """``a != b``"""


class Less(Comparison):
    """``a < b``"""


class LessEqual(Comparison):
    """``a <= b``"""


class Greater(Comparison):
    """``a > b``"""


class GreaterEqual(Comparison):
    """``a >= b``"""


class LogicalAnd(Logical):
    """True where both are."""


class LogicalOr(Logical):
    """True where either is."""


class LogicalNot(Logical):
    """True where the operand is not."""


class Where(Elementwise):
    """``a`` where the condition holds, else ``b``."""

    def infer(self, c: TensorSpec, a: TensorSpec, b: TensorSpec) -> tuple[TensorSpec, ...]:
        if c.dtype is not DType.BOOL:
            raise SpecError(f"Expected a bool condition, got {c.dtype}: compare first")
        if a.dtype is not b.dtype:
            raise SpecError(f"Expected one dtype to choose from, got {a.dtype} and {b.dtype}")
        shape = broadcast_shapes(c.shape, broadcast_shapes(a.shape, b.shape))
        return (TensorSpec(shape, a.dtype),)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        (c, a, b), (g,) = inputs, grads
        return None, sum_to(where(c, g, 0.0), a.shape), sum_to(where(c, 0.0, g), b.shape)


@dataclass(frozen=True)
class Cast(Elementwise):
    """Another dtype. Floats to integers truncate toward zero, as NumPy does."""

    dtype: DType

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", DType.of(self.dtype))

    def infer(self, x: TensorSpec) -> tuple[TensorSpec, ...]:
        return (x.with_dtype(self.dtype),)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        return (cast(grads[0], inputs[0].dtype),)


# ---- functions


def cast(x: Tensor, dtype: DTypeLike) -> Tensor:
    """``x`` in another dtype."""
    target = DType.of(dtype)
    return x if x.dtype is target else x.builder.emit(Cast(target), x)[0]


def operands(*values: Any) -> tuple[Tensor, ...]:
    """Tensors of one promoted dtype from tensors, scalars (weak) and arrays."""
    anchor = next((value for value in values if isinstance(value, Tensor)), None)
    if anchor is None:
        raise BuilderError(f"Expected at least one tensor, got {values!r}")
    tensors = [anchor.builder.tensor(value, beside=anchor) for value in values]
    dtype = reduce(promote, (tensor.dtype for tensor in tensors))
    return tuple(cast(tensor, dtype) for tensor in tensors)


def _unary(op: Callable[[], Op], doc: str) -> Callable[[Tensor], Tensor]:
    def function(x: Tensor) -> Tensor:
        return x.builder.emit(op(), x)[0]

    function.__doc__ = doc
    return function


def _binary(op: Callable[[], Op], doc: str) -> Callable[[Any, Any], Tensor]:
    def function(a: Any, b: Any) -> Tensor:
        a, b = operands(a, b)
        return a.builder.emit(op(), a, b)[0]

    function.__doc__ = doc
    return function


add = _binary(Add, "``a + b`` with broadcasting.")
sub = _binary(Sub, "``a - b`` with broadcasting.")
mul = _binary(Mul, "``a * b`` with broadcasting.")
maximum = _binary(Maximum, "The larger of two, with broadcasting.")
minimum = _binary(Minimum, "The smaller of two, with broadcasting.")
equal = _binary(Equal, "``a == b`` as bool, with broadcasting.")
not_equal = _binary(NotEqual, "``a != b`` as bool, with broadcasting.")
less = _binary(Less, "``a < b`` as bool, with broadcasting.")
less_equal = _binary(LessEqual, "``a <= b`` as bool, with broadcasting.")
greater = _binary(Greater, "``a > b`` as bool, with broadcasting.")
greater_equal = _binary(GreaterEqual, "``a >= b`` as bool, with broadcasting.")
logical_and = _binary(LogicalAnd, "True where both bool tensors are.")
logical_or = _binary(LogicalOr, "True where either bool tensor is.")
logical_not = _unary(LogicalNot, "True where the bool tensor is not.")
neg = _unary(Neg, "``-x``.")
absolute = _unary(Abs, "``|x|``; gradient 0 at 0.")
sign = _unary(Sign, "-1, 0 or 1; gradient 0.")
sqrt = _unary(Sqrt, "Square root.")
exp = _unary(Exp, "``e ** x``.")
log = _unary(Log, "Natural logarithm.")
relu = _unary(Relu, "``max(x, 0)``; gradient 0 at 0.")
sigmoid = _unary(Sigmoid, "``1 / (1 + e ** -x)``.")
tanh = _unary(Tanh, "Hyperbolic tangent.")


def leaky_relu(x: Tensor, slope: float = 0.01) -> Tensor:
    """``x`` where positive, else ``slope * x``."""
    return x.builder.emit(LeakyRelu(slope), x)[0]


def div(a: Any, b: Any) -> Tensor:
    """``a / b`` with broadcasting; integers are divided in float32."""
    a, b = operands(a, b)
    if not a.dtype.is_floating:
        a, b = cast(a, DType.FLOAT32), cast(b, DType.FLOAT32)
    return a.builder.emit(Div(), a, b)[0]


def where(condition: Any, a: Any, b: Any) -> Tensor:
    """``a`` where the bool condition holds, else ``b``, with broadcasting."""
    if not isinstance(a, Tensor) and not isinstance(b, Tensor) and isinstance(condition, Tensor):
        # Two numbers choose their dtype among themselves: bool, int32 or float32.
        a = condition.builder.tensor(a, beside=condition)
        b = condition.builder.tensor(b, beside=condition)
    a, b = operands(a, b)
    return a.builder.emit(Where(), a.builder.tensor(condition), a, b)[0]
