"""What every elementwise op does to values of a kernel, scalars or vectors alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from minigraph.backends.llvm.language import mathematics
from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.types import value_type
from minigraph.backends.llvm.language.value import Value
from minigraph.ir.spec import DType
from minigraph.ops import activation, elementary, elementwise
from minigraph.ops.fused import Body

Emit = Callable[[Kernel, Any, Sequence[Value]], Value]


def evaluate(k: Kernel, body: Body, operands: Sequence[Value]) -> list[Value]:
    """Run a body's instructions on values; its results."""
    return run_instructions(k, body, body.instructions, operands)


def run_instructions(
    k: Kernel, body: Body, instructions: Sequence[Any], operands: Sequence[Value]
) -> list[Value]:
    """Run some of a body's instructions, given all operands that come before them."""
    values = list(operands)
    for instruction in instructions:
        given = [values[number] for number in instruction.operands]
        lanes = max(value.lanes for value in given)
        emit = EMITTERS[type(instruction.op)]
        values.append(emit(k, instruction.op, [value.spread(lanes) for value in given]))
    return [values[number] for number in body.outputs]


def _relu(k: Kernel, op: Any, v: Sequence[Value]) -> Value:
    return (v[0] < 0).select(0, v[0])  # not a number stays so


def _cast(k: Kernel, op: elementwise.Cast, v: Sequence[Value]) -> Value:
    value, target = v[0], value_type(op.dtype)
    if op.dtype in (DType.FLOAT16, DType.BFLOAT16):
        return mathematics.round_to(k, value.to(target), op.dtype)
    if value.type.is_float and target.kind == "unsigned":
        value = value.to(value_type(DType.INT32))  # as NumPy: through a wider integer
    return value.to(target)


def _sign(k: Kernel, op: Any, v: Sequence[Value]) -> Value:
    (x,) = v
    signed = (x > 0).select(x.like(1), (x < 0).select(x.like(-1), x.like(0)))
    return x.is_nan().select(x, signed)


def _leaky_relu(k: Kernel, op: elementwise.LeakyRelu, v: Sequence[Value]) -> Value:
    negative = v[0] * op.slope if op.slope else v[0].like(0)  # 0 times infinity is not 0
    return (v[0] <= 0).select(negative, v[0])  # not a number stays so


def _pow_scalar(k: Kernel, op: elementary.PowScalar, v: Sequence[Value]) -> Value:
    (x,) = v
    if op.exponent == 0.0:
        return x.like(1)
    if op.exponent == 1.0:
        return x
    if op.exponent == -1.0:
        return 1.0 / x
    if op.exponent == 2.0:
        return x * x
    return mathematics.power(k, x, x.like(op.exponent))


def _clip(k: Kernel, op: elementary.Clip, v: Sequence[Value]) -> Value:
    """Not below the minimum, then not above the maximum: a NaN survives both."""
    (x,) = v
    if op.minimum is not None:
        x = k.maximum(x, op.minimum)
    return x if op.maximum is None else k.minimum(x, op.maximum)


def _elu(k: Kernel, op: activation.Elu, v: Sequence[Value]) -> Value:
    (x,) = v
    below = mathematics.expm1_of_negative(k, k.minimum(x, 0.0)) * op.alpha
    return (x > 0).select(x, below)


def _softplus(k: Kernel, op: activation.Softplus, v: Sequence[Value]) -> Value:
    """max(x, 0) + log(1 + e^-|beta x|) / beta"""
    (x,) = v
    power = mathematics.exp(k, k.absolute(x) * -op.beta)
    return k.maximum(x, 0.0) + mathematics.log1p_below_one(k, power) / op.beta


def _hard_swish(k: Kernel, op: Any, v: Sequence[Value]) -> Value:
    (x,) = v
    gate = x * (1 / 6) + 0.5
    return x * k.minimum(k.maximum(gate, 0.0), 1.0)


def _gelu(k: Kernel, op: activation.Gelu, v: Sequence[Value]) -> Value:
    """x (1 + erf(x / sqrt 2)) / 2, or with tanh(f (x + c x^3)) for the error function."""
    (x,) = v
    if op.approximate == "none":
        bell = mathematics.erf(k, x * math.sqrt(0.5))
    else:
        cubic = x * (x * x * activation.TANH_CUBIC + 1.0)
        bell = mathematics.tanh(k, cubic * activation.TANH_FACTOR)
    return x * ((bell + 1.0) * 0.5)


EMITTERS: Mapping[type, Emit] = {
    elementwise.Add: lambda k, op, v: v[0] + v[1],
    elementwise.Sub: lambda k, op, v: v[0] - v[1],
    elementwise.Mul: lambda k, op, v: v[0] * v[1],
    elementwise.Div: lambda k, op, v: v[0] / v[1],
    elementwise.Maximum: lambda k, op, v: k.maximum(v[0], v[1]),
    elementwise.Minimum: lambda k, op, v: k.minimum(v[0], v[1]),
    elementwise.Neg: lambda k, op, v: -v[0],
    elementwise.Abs: lambda k, op, v: k.absolute(v[0]),
    elementwise.Sign: _sign,
    elementwise.Sqrt: lambda k, op, v: k.sqrt(v[0]),
    elementwise.Exp: lambda k, op, v: mathematics.exp(k, v[0]),
    elementwise.Log: lambda k, op, v: mathematics.log(k, v[0]),
    elementwise.Relu: _relu,
    elementwise.ReluGrad: lambda k, op, v: (v[0] > 0).select(v[1], 0),
    elementwise.LeakyRelu: _leaky_relu,
    elementwise.Sigmoid: lambda k, op, v: mathematics.sigmoid(k, v[0]),
    elementwise.Tanh: lambda k, op, v: mathematics.tanh(k, v[0]),
    elementwise.Equal: lambda k, op, v: v[0].equals(v[1]),
    elementwise.NotEqual: lambda k, op, v: v[0].differs(v[1]),
    elementwise.Less: lambda k, op, v: v[0] < v[1],
    elementwise.LessEqual: lambda k, op, v: v[0] <= v[1],
    elementwise.Greater: lambda k, op, v: v[0] > v[1],
    elementwise.GreaterEqual: lambda k, op, v: v[0] >= v[1],
    elementwise.LogicalAnd: lambda k, op, v: v[0] & v[1],
    elementwise.LogicalOr: lambda k, op, v: v[0] | v[1],
    elementwise.LogicalNot: lambda k, op, v: ~v[0],
    elementwise.Where: lambda k, op, v: v[0].select(v[1], v[2]),
    elementwise.Cast: _cast,
    elementary.Pow: lambda k, op, v: mathematics.power(k, v[0], v[1]),
    elementary.PowScalar: _pow_scalar,
    elementary.Clip: _clip,
    elementary.Erf: lambda k, op, v: mathematics.erf(k, v[0]),
    elementary.Sin: lambda k, op, v: mathematics.sin(k, v[0]),
    elementary.Cos: lambda k, op, v: mathematics.cos(k, v[0]),
    elementary.Floor: lambda k, op, v: k.floor(v[0]),
    elementary.Ceil: lambda k, op, v: k.ceil(v[0]),
    elementary.Round: lambda k, op, v: k.round(v[0]),
    activation.Elu: _elu,
    activation.Softplus: _softplus,
    activation.Silu: lambda k, op, v: v[0] * mathematics.sigmoid(k, v[0]),
    activation.HardSwish: _hard_swish,
    activation.Gelu: _gelu,
}
"""Every op that can stand in a fused body."""
