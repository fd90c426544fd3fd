"""Convolutions: from an op and its specs to the algorithms of its direction; fused bodies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from minigraph.backend import Algorithm, Refused, Supported
from minigraph.backends.numpy.convolution.algorithm import Block, ConvAlgorithm, Epilogue
from minigraph.backends.numpy.convolution.algorithms import (
    FORWARD,
    INPUT_GRADIENT,
    WEIGHT_GRADIENT,
)
from minigraph.backends.numpy.elementwise import IN_PLACE
from minigraph.backends.numpy.kernel import (
    Binding,
    Call,
    Kernel,
    carve,
    carved_bytes,
    in_sequence,
)
from minigraph.ir.spec import DType, TensorSpec
from minigraph.ops import conv
from minigraph.ops.elementwise import Relu
from minigraph.ops.fused import Body, Fused

DIRECTIONS: dict[type, tuple[ConvAlgorithm, ...]] = {
    conv.Conv2d: FORWARD,
    conv.ConvTranspose2d: INPUT_GRADIENT,
    conv.Conv2dGradWeight: WEIGHT_GRADIENT,
}

_NOMINAL_THREADS = 2  # for choosing: the choice, and so the bits, must not follow the machine

_EPILOGUE_OPS = (*IN_PLACE, Relu)


def can_fuse(body: Body, inputs: Sequence[TensorSpec]) -> Supported | Refused:
    """A convolution or transposed convolution, then pointwise ops that run in place."""
    if not isinstance(body.anchor.op, conv.Conv2d | conv.ConvTranspose2d):
        return Refused(f"{body.anchor.op.name} is no convolution")
    for instruction in body.instructions[1:]:
        if not isinstance(instruction.op, _EPILOGUE_OPS):
            return Refused(f"{instruction.op.name} does not run in place")
    if not body.is_chain:
        return Refused("the last result of a chain alone is stored")
    channels = body.specs(*inputs)[body.inputs].shape[1]
    anchors = body.anchor.operands
    if any(i not in anchors and spec.size not in (1, channels) for i, spec in enumerate(inputs)):
        return Refused("an operand has more than one number a channel")
    return Supported()


def _algorithms(op: Any, inputs: tuple[TensorSpec, ...], threads: int) -> tuple[Algorithm, ...]:
    geometry = op.geometry(*inputs)
    dtype = inputs[0].dtype.numpy
    if geometry.batch == 0:
        return (Algorithm("empty"),)
    return tuple(
        Algorithm(
            name=algorithm.name,
            workspace=algorithm.workspace_bytes(geometry, dtype.itemsize, threads),
            seconds=algorithm.seconds(geometry, dtype.itemsize, _NOMINAL_THREADS),
            relative_error=algorithm.relative_error(geometry, dtype),
        )
        for algorithm in DIRECTIONS[type(op)]
        if algorithm.supports(geometry)
    )


def _bind_conv(
    op: Any,
    binding: Binding,
    operands: Sequence[np.ndarray],
    epilogue: Epilogue | None,
) -> Call:
    if binding.algorithm == "empty":
        return partial(binding.output.fill, 0)  # of no images: no output, a weight gradient of 0
    specs = [TensorSpec(a.shape, DType.of(a.dtype)) for a in operands]
    algorithm = next(a for a in DIRECTIONS[type(op)] if a.name == binding.algorithm)
    left, right = operands
    return algorithm.bind(
        op.geometry(*specs), left, right, binding.output, binding.workspace, binding.workers,
        epilogue,
    )  # fmt: skip


def _bind(binding: Binding) -> Call:
    return _bind_conv(binding.op, binding, binding.inputs, None)


# ---- fused: anchor first, then the body on each block of the output while it is warm


def _fused_candidates(
    op: Fused, inputs: tuple[TensorSpec, ...], threads: int
) -> tuple[Algorithm, ...]:
    anchor = op.body.anchor
    zeros = carved_bytes(_zeros_part(op.infer(*inputs)[0].shape, inputs[0].dtype.numpy))
    return tuple(
        replace(algorithm, workspace=zeros + algorithm.workspace)
        for algorithm in _algorithms(anchor.op, tuple(inputs[i] for i in anchor.operands), threads)
    )


def _zeros_part(shape: tuple[int, ...], dtype: Any) -> tuple[tuple[int, ...], Any]:
    """One plane of zeros: NumPy's maximum of two arrays takes a third of the time that the
    maximum of an array and a scalar takes."""
    return shape[2:], dtype


def _bind_fused(binding: Binding) -> Call:
    body: Body = binding.op.body
    anchor = body.anchor
    operands = [binding.inputs[i] for i in anchor.operands]
    part = _zeros_part(binding.output.shape, binding.output.dtype)
    (zeros,) = carve(binding.workspace, part)
    rest = replace(binding, workspace=binding.workspace[carved_bytes(part) :])
    call = _bind_conv(anchor.op, rest, operands, _epilogue(body, binding, zeros))
    return in_sequence([partial(zeros.fill, 0), call])


def _epilogue(body: Body, binding: Binding, zeros: np.ndarray) -> Epilogue:
    """Binds the instructions after the anchor, in place, to one block of the output."""

    def bind(block: Block) -> Call:
        out = binding.output[block]
        calls = [
            _instruction(
                step.op, [operand(i, block, out) for i in step.operands], out, zeros[block[2]]
            )
            for step in body.instructions[1:]
        ]
        return in_sequence(calls)

    def operand(number: int, block: Block, out: np.ndarray) -> np.ndarray:
        if number >= body.inputs:
            return out  # the running result: each instruction reads the one before
        array = binding.inputs[number]
        array = array.reshape((1,) * (4 - array.ndim) + array.shape)
        return array[:, block[1]] if array.shape[1] > 1 else array

    return bind


def _instruction(op: Any, operands: list[np.ndarray], out: np.ndarray, zeros: np.ndarray) -> Call:
    if isinstance(op, Relu):
        return partial(np.maximum, operands[0], zeros, out=out)
    return in_sequence(IN_PLACE[type(op)](op, operands, out))


KERNELS: dict[type, Kernel] = {
    **{op: Kernel(_algorithms, _bind) for op in DIRECTIONS},
    Fused: Kernel(_fused_candidates, _bind_fused),
}
