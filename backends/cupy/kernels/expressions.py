"""What every elementwise op is in CUDA C: an expression of its operands' names.

Operands and results are of the types that values are computed with (``code.COMPUTED``), so 16-bit
floats are float here. Every result is given a name before it is used again: an expression may name
an operand several times.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from minigraph.backends.cupy.code import COMPUTED, loaded, stored
from minigraph.ir.spec import DType
from minigraph.ops import activation, elementary, elementwise
from minigraph.ops.fused import Body, Instruction

Expression = Callable[[Any, DType, Sequence[str]], str]
"""(op, dtype of the last operand, operands) to an expression."""


def statements(body: Body, dtypes: Sequence[DType], operands: Sequence[str]) -> list[str]:
    """C statements that compute a body, one an instruction: ``const float v2 = v0 + v1;``

    ``operands`` are the expressions of the body's inputs. Results are named by ``names``.
    """
    return instruction_statements(
        body.instructions, names(body, operands), result_dtypes(body, dtypes)
    )


def instruction_statements(
    instructions: Sequence[Instruction],
    named: Sequence[str],
    dtypes: Sequence[DType],
) -> list[str]:
    """Statements for the last instructions of a body, given all its names and dtypes."""
    first = len(named) - len(instructions)
    lines = []
    for number, instruction in enumerate(instructions, first):
        given = [named[i] for i in instruction.operands]
        expression = expression_of(instruction.op, [dtypes[i] for i in instruction.operands], given)
        lines.append(f"const {COMPUTED[dtypes[number]]} {named[number]} = {expression};")
    return lines


def names(body: Body, operands: Sequence[str]) -> list[str]:
    """The names of a body's operands and of its instructions' results: v<number>."""
    return [*operands, *(f"v{body.inputs + i}" for i in range(len(body.instructions)))]


def result_dtypes(body: Body, dtypes: Sequence[DType]) -> list[DType]:
    """Dtypes of a body's operands and of its instructions' results, whatever the shapes."""
    found = list(dtypes)
    for instruction in body.instructions:
        found.append(result_dtype(instruction.op, [found[i] for i in instruction.operands]))
    return found


def result_dtype(op: Any, dtypes: Sequence[DType]) -> DType:
    """The dtype of an elementwise op's result."""
    if isinstance(op, elementwise.Cast):
        return op.dtype
    if isinstance(op, elementwise.Comparison | elementwise.Logical):
        return DType.BOOL
    return dtypes[-1]


def expression_of(op: Any, dtypes: Sequence[DType], operands: Sequence[str]) -> str:
    """One op of operands of these dtypes."""
    return EXPRESSIONS[type(op)](op, dtypes[-1], operands)


# ---- numbers and functions by type


def literal(value: float, dtype: DType) -> str:
    """A number as C writes it, in the type that values of the dtype are computed with."""
    if dtype is DType.BOOL:
        return "true" if value else "false"
    if dtype.is_integer:
        return _integer_literal(int(value), dtype)
    single = COMPUTED[dtype] == "float"
    if math.isnan(value):
        return "NAN" if single else "(double)NAN"
    with np.errstate(over="ignore"):
        number = float(np.float32(value)) if single else float(value)
    if math.isinf(number):
        text = "INFINITY" if single else "(double)INFINITY"
        return text if number > 0 else f"-{text}"
    return f"{np.float32(number)!s}f" if single else repr(number)


def _integer_literal(value: int, dtype: DType) -> str:
    if dtype is DType.INT64:
        return "(-9223372036854775807LL - 1)" if value == -(2**63) else f"{value}LL"
    return "(-2147483647 - 1)" if value == -(2**31) else str(value)


def function(name: str, dtype: DType) -> str:
    """A function of C's library for a floating dtype: expf or exp."""
    return f"{name}f" if COMPUTED[dtype] == "float" else name


# ---- ops


def _operator(symbol: str) -> Expression:
    """Arithmetic; that of integers wraps around, which C has for unsigned types alone."""

    def expression(op: Any, dtype: DType, v: Sequence[str]) -> str:
        if not dtype.is_integer:
            return f"{v[0]} {symbol} {v[1]}"
        wide = "unsigned long long" if dtype is DType.INT64 else "unsigned"
        return f"({COMPUTED[dtype]})(({wide}){v[0]} {symbol} ({wide}){v[1]})"

    return expression


def _comparison(symbol: str) -> Expression:
    return lambda op, dtype, v: f"{v[0]} {symbol} {v[1]}"


def _call(name: str) -> Expression:
    return lambda op, dtype, v: f"{function(name, dtype)}({', '.join(v)})"


def _neg(op: Any, dtype: DType, v: Sequence[str]) -> str:
    if not dtype.is_integer:
        return f"-{v[0]}"
    return _operator("-")(op, dtype, ["0", v[0]])


def _sign(op: Any, dtype: DType, v: Sequence[str]) -> str:
    (x,), one, zero = v, literal(1, dtype), literal(0, dtype)
    return f"{x} > {zero} ? {one} : {x} < {zero} ? -{one} : {x} == {zero} ? {zero} : {x}"


def _relu(op: Any, dtype: DType, v: Sequence[str]) -> str:
    zero = literal(0, dtype)
    return f"{v[0]} < {zero} ? {zero} : {v[0]}"  # not a number stays so


def _relu_grad(op: Any, dtype: DType, v: Sequence[str]) -> str:
    zero = literal(0, dtype)
    return f"{v[0]} > {zero} ? {v[1]} : {zero}"


def _leaky_relu(op: elementwise.LeakyRelu, dtype: DType, v: Sequence[str]) -> str:
    (x,), zero = v, literal(0, dtype)
    negative = f"{x} * {literal(op.slope, dtype)}" if op.slope else zero  # 0 infinity is not 0
    return f"{x} <= {zero} ? {negative} : {x}"


def _sigmoid(op: Any, dtype: DType, v: Sequence[str]) -> str:
    # Where e^-x overflows to infinity the result is 0, as it should be.
    one = literal(1, dtype)
    return f"{one} / ({one} + {function('exp', dtype)}(-{v[0]}))"


def _cast(op: elementwise.Cast, dtype: DType, v: Sequence[str]) -> str:
    (x,), target = v, COMPUTED[op.dtype]
    if op.dtype is DType.BOOL:
        return f"{x} != {literal(0, dtype)}"
    if op.dtype in (DType.FLOAT16, DType.BFLOAT16) and op.dtype is not dtype:
        return loaded(stored(x, op.dtype), op.dtype)
    if op.dtype is DType.UINT8 and dtype.is_floating:
        return f"({target})(int){x}"  # as NumPy: through a wider integer
    return x if COMPUTED[dtype] == target else f"({target}){x}"


def _pow_scalar(op: elementary.PowScalar, dtype: DType, v: Sequence[str]) -> str:
    (x,) = v
    simple = {
        0.0: literal(1, dtype), 1.0: x, -1.0: f"{literal(1, dtype)} / {x}", 2.0: f"{x} * {x}"
    }  # fmt: skip
    if op.exponent in simple:
        return simple[op.exponent]
    return f"{function('pow', dtype)}({x}, {literal(op.exponent, dtype)})"


def _clip(op: elementary.Clip, dtype: DType, v: Sequence[str]) -> str:
    """Not below the minimum, then not above the maximum: a NaN survives both."""
    (x,) = v
    if op.minimum is not None:
        x = f"maximum({x}, {literal(op.minimum, dtype)})"
    return x if op.maximum is None else f"minimum({x}, {literal(op.maximum, dtype)})"


def _elu(op: activation.Elu, dtype: DType, v: Sequence[str]) -> str:
    (x,), zero = v, literal(0, dtype)
    below = f"{literal(op.alpha, dtype)} * {function('expm1', dtype)}(minimum({x}, {zero}))"
    return f"{x} > {zero} ? {x} : {below}"


def _softplus(op: activation.Softplus, dtype: DType, v: Sequence[str]) -> str:
    """max(x, 0) + log(1 + e^-|beta x|) / beta"""
    (x,), beta, zero = v, literal(op.beta, dtype), literal(0, dtype)
    small = f"{function('exp', dtype)}({function('fabs', dtype)}({x}) * -{beta})"
    return f"maximum({x}, {zero}) + {function('log1p', dtype)}({small}) / {beta}"


def _silu(op: Any, dtype: DType, v: Sequence[str]) -> str:
    return f"{v[0]} * ({_sigmoid(op, dtype, v)})"


def _hard_swish(op: Any, dtype: DType, v: Sequence[str]) -> str:
    (x,), zero, one = v, literal(0, dtype), literal(1, dtype)
    gate = f"{x} * {literal(1 / 6, dtype)} + {literal(0.5, dtype)}"
    return f"{x} * minimum(maximum({gate}, {zero}), {one})"


def _gelu(op: activation.Gelu, dtype: DType, v: Sequence[str]) -> str:
    """x (1 + erf(x / sqrt 2)) / 2, or with tanh(f (x + c x^3)) for the error function."""
    (x,), one, half = v, literal(1, dtype), literal(0.5, dtype)
    if op.approximate == "none":
        bell = f"{function('erf', dtype)}({x} * {literal(math.sqrt(0.5), dtype)})"
    else:
        cubic = f"{x} * ({x} * {x} * {literal(activation.TANH_CUBIC, dtype)} + {one})"
        factor = literal(activation.TANH_FACTOR, dtype)
        bell = f"{function('tanh', dtype)}({cubic} * {factor})"
    return f"{x} * (({bell} + {one}) * {half})"


EXPRESSIONS: Mapping[type, Expression] = {
    elementwise.Add: _operator("+"),
    elementwise.Sub: _operator("-"),
    elementwise.Mul: _operator("*"),
    elementwise.Div: _operator("/"),
    elementwise.Maximum: lambda op, dtype, v: f"maximum({v[0]}, {v[1]})",
    elementwise.Minimum: lambda op, dtype, v: f"minimum({v[0]}, {v[1]})",
    elementwise.Neg: _neg,
    elementwise.Abs: _call("fabs"),
    elementwise.Sign: _sign,
    elementwise.Sqrt: _call("sqrt"),
    elementwise.Exp: _call("exp"),
    elementwise.Log: _call("log"),
    elementwise.Relu: _relu,
    elementwise.ReluGrad: _relu_grad,
    elementwise.LeakyRelu: _leaky_relu,
    elementwise.Sigmoid: _sigmoid,
    elementwise.Tanh: _call("tanh"),
    elementwise.Equal: _comparison("=="),
    elementwise.NotEqual: _comparison("!="),
    elementwise.Less: _comparison("<"),
    elementwise.LessEqual: _comparison("<="),
    elementwise.Greater: _comparison(">"),
    elementwise.GreaterEqual: _comparison(">="),
    elementwise.LogicalAnd: _comparison("&&"),
    elementwise.LogicalOr: _comparison("||"),
    elementwise.LogicalNot: lambda op, dtype, v: f"!{v[0]}",
    elementwise.Where: lambda op, dtype, v: f"{v[0]} ? {v[1]} : {v[2]}",
    elementwise.Cast: _cast,
    elementary.Pow: _call("pow"),
    elementary.PowScalar: _pow_scalar,
    elementary.Clip: _clip,
    elementary.Erf: _call("erf"),
    elementary.Sin: _call("sin"),
    elementary.Cos: _call("cos"),
    elementary.Floor: _call("floor"),
    elementary.Ceil: _call("ceil"),
    elementary.Round: _call("rint"),
    activation.Elu: _elu,
    activation.Softplus: _softplus,
    activation.Silu: _silu,
    activation.HardSwish: _hard_swish,
    activation.Gelu: _gelu,
}
"""Every op that can stand in a fused body."""
