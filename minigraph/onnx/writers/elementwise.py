"""Arithmetic, comparison, activations and constants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from minigraph.ir.constant import Constant, Full
from minigraph.ir.op import Op
from minigraph.onnx.writers.writer import OurNode, Rule, Writer
from minigraph.ops import activation, control, elementary, elementwise, matmul, softmax


def named(op_type: str) -> Rule:
    """The ONNX op of the same meaning and without attributes."""

    def rule(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
        return [writer.one(op_type, *inputs)]

    return rule


def _constant(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
    return [writer.constant(writer.graph.constants[node.op.digest], node.name)]


def _full(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
    op, spec = node.op, node.outputs[0].spec
    if spec.size <= 1:
        return [writer.constant(np.full(spec.shape, op.value, spec.dtype.numpy), node.name)]
    scalar = writer.scalar(op.value, spec.dtype)
    return [writer.one("Expand", scalar, writer.integers(spec.shape))]


def _not_equal(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
    return [writer.one("Not", writer.one("Equal", *inputs))]


def _leaky_relu(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
    return [writer.one("LeakyRelu", *inputs, alpha=node.op.slope)]


def _cast(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
    return [writer.cast(inputs[0], node.op.dtype)]


def _power(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
    exponent = writer.scalar(node.op.exponent, node.inputs[0].spec.dtype)
    return [writer.one("Pow", inputs[0], exponent)]


def _clip(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
    dtype = node.inputs[0].spec.dtype
    bounds = [
        "" if bound is None else writer.scalar(bound, dtype)
        for bound in (node.op.minimum, node.op.maximum)
    ]
    return [writer.one("Clip", inputs[0], *bounds)]


def _elu(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
    return [writer.one("Elu", *inputs, alpha=node.op.alpha)]


def _softplus(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
    if node.op.beta == 1.0:
        return [writer.one("Softplus", *inputs)]
    beta = writer.scalar(node.op.beta, node.inputs[0].spec.dtype)
    return [writer.one("Div", writer.one("Softplus", writer.one("Mul", inputs[0], beta)), beta)]


def _silu(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
    return [writer.one("Mul", inputs[0], writer.one("Sigmoid", inputs[0]))]


def _gelu(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
    return [writer.one("Gelu", *inputs, approximate=node.op.approximate)]


def _along_axis(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
    return [writer.one(type(node.op).__name__, *inputs, axis=node.op.axis)]


def _matmul(writer: Writer, node: OurNode, inputs: Sequence[str]) -> Sequence[str]:
    op = node.op
    if all(value.spec.ndim == 2 for value in node.inputs) and (op.transpose_a or op.transpose_b):
        flags = {"transA": int(op.transpose_a), "transB": int(op.transpose_b)}
        return [writer.one("Gemm", *inputs, **flags)]
    operands = []
    for name, value, transposed in zip(
        inputs, node.inputs, (op.transpose_a, op.transpose_b), strict=True
    ):
        order = list(range(value.spec.ndim))
        order[-2:] = order[:-3:-1]
        operands.append(writer.one("Transpose", name, perm=order) if transposed else name)
    return [writer.one("MatMul", *operands)]


ELEMENTWISE: Mapping[type[Op], Rule] = {
    Constant: _constant,
    Full: _full,
    elementwise.Add: named("Add"),
    elementwise.Sub: named("Sub"),
    elementwise.Mul: named("Mul"),
    elementwise.Div: named("Div"),
    elementwise.Maximum: named("Max"),
    elementwise.Minimum: named("Min"),
    elementwise.Neg: named("Neg"),
    elementwise.Abs: named("Abs"),
    elementwise.Sign: named("Sign"),
    elementwise.Sqrt: named("Sqrt"),
    elementwise.Exp: named("Exp"),
    elementwise.Log: named("Log"),
    elementwise.Relu: named("Relu"),
    elementwise.LeakyRelu: _leaky_relu,
    elementwise.Sigmoid: named("Sigmoid"),
    elementwise.Tanh: named("Tanh"),
    elementwise.Equal: named("Equal"),
    elementwise.NotEqual: _not_equal,
    elementwise.Less: named("Less"),
    elementwise.LessEqual: named("LessOrEqual"),
    elementwise.Greater: named("Greater"),
    elementwise.GreaterEqual: named("GreaterOrEqual"),
    elementwise.LogicalAnd: named("And"),
    elementwise.LogicalOr: named("Or"),
    elementwise.LogicalNot: named("Not"),
    elementwise.Where: named("Where"),
    elementwise.Cast: _cast,
    elementary.Pow: named("Pow"),
    elementary.PowScalar: _power,
    elementary.Clip: _clip,
    elementary.Erf: named("Erf"),
    elementary.Sin: named("Sin"),
    elementary.Cos: named("Cos"),
    elementary.Floor: named("Floor"),
    elementary.Ceil: named("Ceil"),
    elementary.Round: named("Round"),
    activation.Elu: _elu,
    activation.Softplus: _softplus,
    activation.Silu: _silu,
    activation.HardSwish: named("HardSwish"),
    activation.Gelu: _gelu,
    softmax.Softmax: _along_axis,
    softmax.LogSoftmax: _along_axis,
    matmul.MatMul: _matmul,
    control.StopGradient: named("Identity"),
}
