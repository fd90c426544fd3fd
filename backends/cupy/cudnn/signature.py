"""What one cuDNN graph computes: a convolution in one direction, and what follows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minigraph.backend import channels_last, dense_strides
from minigraph.ir.spec import DType, TensorSpec
from minigraph.ops.conv import Conv2d, Conv2dGradWeight, ConvTranspose2d
from minigraph.ops.elementwise import Add, Mul, Relu, ReluGrad
from minigraph.ops.fused import Body, Fused, Instruction
from minigraph.ops.geometry import ConvGeometry, Padding, Pair

DIRECTIONS = {Conv2d: "forward", ConvTranspose2d: "input_gradient",
              Conv2dGradWeight: "weight_gradient"}  # fmt: skip
DTYPES = (DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16)
FUSABLE = (Add, Mul, Relu, ReluGrad)
"""Ops that may follow a convolution within a graph of cuDNN's."""

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Signature:
    """All that a graph depends on. Values have four axes and lie channels last.

    ``operands`` are shapes of what is read; ``convolution`` says which two are the convolution's
    own. ``following`` are (op, operand numbers); results count on after the operands, the
    convolution's first.
    """

    direction: str
    dtype: DType
    operands: tuple[Shape, ...]
    convolution: tuple[int, int]
    result: Shape
    padding: Padding
    stride: Pair
    dilation: Pair
    following: tuple[tuple[str, tuple[int, ...]], ...] = ()


def signature_of(op: Any, inputs: Sequence[TensorSpec]) -> Signature | None:
    """The graph of a node, fused or not; None where cuDNN has none for it."""
    body = op.body if isinstance(op, Fused) else _alone(op)
    if not all(isinstance(i.op, FUSABLE) for i in body.instructions[1:]):
        return None
    if any(spec.dtype is not inputs[0].dtype for spec in inputs) or inputs[0].dtype not in DTYPES:
        return None
    shapes = [*(spec.shape for spec in inputs), *(spec.shape for spec in op.infer(*inputs))]
    if any(0 in shape or len(shape) > 4 for shape in shapes):
        return None
    first, second = body.anchor.operands
    anchor: Any = body.anchor.op
    geometry: ConvGeometry = anchor.geometry(inputs[first], inputs[second])
    return Signature(
        direction=DIRECTIONS[type(body.anchor.op)],
        dtype=inputs[0].dtype,
        operands=tuple(four_axes(spec.shape) for spec in inputs),
        convolution=(first, second),
        result=shapes[-1],
        padding=geometry.padding,
        stride=geometry.stride,
        dilation=geometry.dilation,
        following=tuple((i.op.name, i.operands) for i in body.instructions[1:]),
    )


def without_epilogue(op: Fused, inputs: Sequence[TensorSpec]) -> Signature | None:
    """The convolution of a fused node by itself."""
    anchor = op.body.anchor
    return signature_of(anchor.op, [inputs[number] for number in anchor.operands])


def epilogue(body: Body) -> tuple[Body, tuple[int, ...]]:
    """What follows the convolution, as a body of its own, and which inputs of the node it reads.

    Its operands are those, then the convolution's result.
    """
    later = body.instructions[1:]
    read = tuple(sorted({i for step in later for i in step.operands if i < body.inputs}))
    number = {operand: position for position, operand in enumerate(read)}
    number |= {body.inputs + i: len(read) + i for i in range(len(body.instructions))}
    instructions = tuple(
        Instruction(step.op, tuple(number[i] for i in step.operands)) for step in later
    )
    return Body(len(read) + 1, instructions, tuple(number[i] for i in body.outputs)), read


def four_axes(shape: Shape) -> Shape:
    """A shape with axes of size one in front, as broadcasting reads it."""
    return (1,) * (4 - len(shape)) + shape


def strides(shape: Shape) -> Shape:
    """Strides in elements of a value of four axes, channels innermost, without gaps."""
    spec = TensorSpec(shape, DType.FLOAT32)
    return dense_strides(spec, channels_last(spec))


def _alone(op: Any) -> Body:
    return Body(2, (Instruction(op, (0, 1)),), (2,))
