"""Elementwise kernels: ufuncs with ``out=``, cut into blocks for the threads."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from minigraph.backends.numpy.kernel import (
    Binding,
    Call,
    Kernel,
    blocks_of,
    carve,
    carved_bytes,
    in_parallel,
    in_sequence,
    simple,
    take_block,
)
from minigraph.ir.spec import TensorSpec
from minigraph.ops import elementary
from minigraph.ops import elementwise as ops

BlockCalls = Callable[[Any, list[np.ndarray], np.ndarray], list[Call]]
"""(op, input blocks, output block) to the prepared calls of that block."""


def _blocked(calls: BlockCalls) -> Callable[[Binding], Call]:
    def bind(binding: Binding) -> Call:
        out = binding.output
        groups = [
            calls(
                binding.op,
                [take_block(array, block, out.ndim) for array in binding.inputs],
                take_block(out, block, out.ndim),
            )
            for block in blocks_of(out.shape)
        ]
        return in_parallel(binding.workers, groups)

    return bind


def _ufunc(function: np.ufunc, operands: int) -> Kernel:
    return simple(_blocked(_ufunc_calls(function)), overwrites=tuple(range(operands)))


def _ufunc_calls(function: np.ufunc) -> BlockCalls:
    def calls(op: Any, inputs: list[np.ndarray], out: np.ndarray) -> list[Call]:
        return [partial(function, *inputs, out=out)]

    return calls


def _bind_relu(binding: Binding) -> Call:
    """max(x, zeros) block by block: with a scalar zero NumPy takes three times longer."""
    (x,), out = binding.inputs, binding.output
    blocks = blocks_of(out.shape)
    (zeros,) = carve(binding.workspace, _zeros_part(out.shape, out.dtype))
    groups: list[list[Call]] = []
    for block in blocks:
        target = take_block(out, block, out.ndim)
        zero = zeros[: target.size].reshape(target.shape)
        groups.append([partial(np.maximum, take_block(x, block, x.ndim), zero, out=target)])
    return in_sequence([partial(zeros.fill, 0), in_parallel(binding.workers, groups)])


def _zeros_part(shape: tuple[int, ...], dtype: Any) -> tuple[tuple[int, ...], Any]:
    whole = np.broadcast_to(np.zeros((), bool), shape)  # a shape to index, without memory
    largest = max(take_block(whole, block, whole.ndim).size for block in blocks_of(shape))
    return (largest,), dtype


def _relu_workspace(op: Any, inputs: tuple[TensorSpec, ...]) -> int:
    return carved_bytes(_zeros_part(inputs[0].shape, inputs[0].dtype.numpy))


def _leaky_relu(op: ops.LeakyRelu, inputs: list[np.ndarray], out: np.ndarray) -> list[Call]:
    if op.slope == 0.0:  # 0 times infinity is not 0
        return [partial(np.maximum, inputs[0], np.zeros((), out.dtype), out=out)]
    pick = np.maximum if op.slope <= 1.0 else np.minimum
    slope = np.array(op.slope, out.dtype)
    return [partial(np.multiply, inputs[0], slope, out=out), partial(pick, inputs[0], out, out=out)]


def _sigmoid(op: Any, inputs: list[np.ndarray], out: np.ndarray) -> list[Call]:
    # 1 / (1 + e^-x): where e^-x overflows to infinity the result is 0, as it should be.
    return [
        partial(np.negative, inputs[0], out=out),
        partial(np.exp, out, out=out),
        partial(np.add, out, np.ones((), out.dtype), out=out),
        partial(np.divide, np.ones((), out.dtype), out, out=out),
    ]


def _where(op: Any, inputs: list[np.ndarray], out: np.ndarray) -> list[Call]:
    condition, a, b = inputs
    return [partial(np.copyto, out, b), partial(np.copyto, out, a, where=condition)]


def _cast(op: Any, inputs: list[np.ndarray], out: np.ndarray) -> list[Call]:
    return [partial(np.copyto, out, inputs[0], casting="unsafe")]


def _clip(op: elementary.Clip, inputs: list[np.ndarray], out: np.ndarray) -> list[Call]:
    """Not below the minimum, then not above the maximum: a NaN survives both."""
    calls: list[Call] = []
    for bound, pick in ((op.minimum, np.maximum), (op.maximum, np.minimum)):
        if bound is not None:
            source = out if calls else inputs[0]
            calls.append(partial(pick, source, np.array(bound, out.dtype), out=out))
    return calls


def _pow_scalar(op: elementary.PowScalar, inputs: list[np.ndarray], out: np.ndarray) -> list[Call]:
    return [partial(np.power, inputs[0], np.array(op.exponent, out.dtype), out=out)]


def _bind_relu_grad(binding: Binding) -> Call:
    """gy where y > 0, by bits: the comparison's 0 or 1 becomes a mask of no or all bits.

    (A select by ``where=`` takes seven times longer, a product with the bool casts through a
    buffer.)
    """
    y, gy = binding.inputs
    out = binding.output
    (positive,) = carve(binding.workspace, (out.shape, bool))
    bits = np.dtype(f"i{out.dtype.itemsize}")
    zero = np.zeros((), out.dtype)
    groups: list[list[Call]] = []
    for block in blocks_of(out.shape):
        here: Any = (*block, ...)
        mask = out[here].view(bits)
        groups.append(
            [
                partial(np.greater, y[here], zero, out=positive[here]),
                partial(np.copyto, mask, positive[here].view(np.int8)),
                partial(np.negative, mask, out=mask),
                partial(np.bitwise_and, mask, gy[here].view(bits), out=mask),
            ]
        )
    return in_parallel(binding.workers, groups)


def _relu_grad_workspace(op: Any, inputs: tuple[TensorSpec, ...]) -> int:
    return carved_bytes((inputs[0].shape, bool))


UFUNCS: dict[type, np.ufunc] = {
    ops.Add: np.add,
    ops.Sub: np.subtract,
    ops.Mul: np.multiply,
    ops.Div: np.divide,
    ops.Maximum: np.maximum,
    ops.Minimum: np.minimum,
    elementary.Pow: np.power,
}

IN_PLACE: dict[type, BlockCalls] = {
    **{op: _ufunc_calls(function) for op, function in UFUNCS.items()},
    ops.Neg: _ufunc_calls(np.negative),
    ops.Abs: _ufunc_calls(np.absolute),
    ops.Sqrt: _ufunc_calls(np.sqrt),
    ops.Exp: _ufunc_calls(np.exp),
    ops.Tanh: _ufunc_calls(np.tanh),
    ops.Sigmoid: _sigmoid,
    elementary.Clip: _clip,
    elementary.PowScalar: _pow_scalar,
}
"""What may run inside a fused body (ReLU besides): the output may be an operand, no scratch."""

KERNELS: dict[type, Kernel] = {
    **{op: _ufunc(function, 2) for op, function in UFUNCS.items()},
    ops.Neg: _ufunc(np.negative, 1),
    ops.Abs: _ufunc(np.absolute, 1),
    ops.Sign: _ufunc(np.sign, 1),
    ops.Sqrt: _ufunc(np.sqrt, 1),
    ops.Exp: _ufunc(np.exp, 1),
    ops.Log: _ufunc(np.log, 1),
    ops.Tanh: _ufunc(np.tanh, 1),
    elementary.Sin: _ufunc(np.sin, 1),
    elementary.Cos: _ufunc(np.cos, 1),
    elementary.Floor: _ufunc(np.floor, 1),
    elementary.Ceil: _ufunc(np.ceil, 1),
    elementary.Round: _ufunc(np.rint, 1),
    ops.Equal: _ufunc(np.equal, 0),
    ops.NotEqual: _ufunc(np.not_equal, 0),
    ops.Less: _ufunc(np.less, 0),
    ops.LessEqual: _ufunc(np.less_equal, 0),
    ops.Greater: _ufunc(np.greater, 0),
    ops.GreaterEqual: _ufunc(np.greater_equal, 0),
    ops.LogicalAnd: _ufunc(np.logical_and, 2),
    ops.LogicalOr: _ufunc(np.logical_or, 2),
    ops.LogicalNot: _ufunc(np.logical_not, 1),
    ops.Relu: simple(_bind_relu, overwrites=(0,), workspace=_relu_workspace),
    ops.ReluGrad: simple(_bind_relu_grad, overwrites=(0,), workspace=_relu_grad_workspace),
    ops.LeakyRelu: simple(_blocked(_leaky_relu)),
    ops.Sigmoid: simple(_blocked(_sigmoid), overwrites=(0,)),
    elementary.Clip: simple(_blocked(_clip), overwrites=(0,)),
    elementary.PowScalar: simple(_blocked(_pow_scalar), overwrites=(0,)),
    ops.Where: simple(_blocked(_where), overwrites=(2,)),
    ops.Cast: simple(_blocked(_cast)),
}
