"""What a convolution or matrix product does to its results before it stores them.

A fused node's body is an anchor (the convolution) and elementwise ops on its result: bias,
activation, residual, the mask of a ReLU's gradient. Kernels of anchors do not know which: they
finish their results by an epilogue. A plain, unfused node has the empty one.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Self

from minigraph.backend import Refused, Slot, Supported
from minigraph.ir.spec import DType, TensorSpec
from minigraph.lowering.call import BoundStep
from minigraph.ops.fused import Body, Fused, Instruction
from minigraph.ops.matmul import MatMul


class Kind(Enum):
    """How an operand of an epilogue lies beside the results."""

    SCALAR = "scalar"  # one number for all
    CHANNEL = "channel"  # one a channel
    TENSOR = "tensor"  # one an element


@dataclass(frozen=True)
class EpilogueBody:
    """Elementwise instructions on an anchor's results. Operand 0 is the result; then the others.

    It says nothing of the anchor, so that all layers with the same activation may share their code.
    A backend derives its own, which knows how the instructions are written in a kernel.
    """

    instructions: tuple[Instruction, ...]
    kinds: tuple[Kind, ...]  # of the operands beside the result
    outputs: tuple[int, ...]  # which of all these values are stored
    dtypes: tuple[DType, ...]  # of the result, of the operands, and of what is stored

    @classmethod
    def plain(cls, dtype: DType) -> Self:
        """Results are stored as they are."""
        return cls((), (), (0,), (dtype, dtype))

    @classmethod
    def of(cls, binding: BoundStep) -> Self:
        """The epilogue of a node, fused or not."""
        if not isinstance(binding.op, Fused):
            return cls.plain(binding.output.spec.dtype)
        body, specs = binding.op.body, [slot.spec for slot in binding.inputs]
        extras = extra_operands(body)
        result = body.specs(*specs)[body.inputs]
        kinds = tuple(kind for n in extras if (kind := kind_of(specs[n], result)) is not None)
        assert len(kinds) == len(extras)
        stored = (slot.spec.dtype for slot in epilogue_outputs(binding))
        dtypes = (result.dtype, *(specs[number].dtype for number in extras), *stored)
        position = _positions(body, extras)
        instructions = tuple(
            Instruction(instruction.op, tuple(position[n] for n in instruction.operands))
            for instruction in body.instructions[1:]
        )
        return cls(instructions, kinds, tuple(position[n] for n in body.outputs), dtypes)


def _positions(body: Body, extras: Sequence[int]) -> dict[int, int]:
    """A body's operands as an epilogue counts them: the anchor's result, its own, later results."""
    later = range(body.inputs + 1, body.inputs + len(body.instructions))
    return {number: i for i, number in enumerate((body.inputs, *extras, *later))}


def anchor_of(op: Any) -> Any:
    """The convolution (or product) that a node runs, fused or not."""
    return op.body.anchor.op if isinstance(op, Fused) else op


def anchor_operands(op: Any, operands: Sequence[Any]) -> list[Any]:
    """The anchor's own operands among those of the node."""
    if not isinstance(op, Fused):
        return list(operands)
    return [operands[number] for number in op.body.anchor.operands]


def epilogue_places(binding: BoundStep) -> list[Slot]:
    """What an epilogue reads: a call's last reads."""
    if not isinstance(binding.op, Fused):
        return []
    return [binding.inputs[number] for number in extra_operands(binding.op.body)]


def epilogue_outputs(binding: BoundStep) -> list[Slot]:
    """What it writes."""
    return [slot for slot in binding.outputs if slot is not None]


def epilogue_overwrites(op: Any, inputs: Sequence[TensorSpec]) -> tuple[int, ...]:
    """Operands that results may be written over, as their elements are read just before."""
    if not isinstance(op, Fused):
        return ()
    outputs, anchor = op.infer(*inputs), op.body.anchor.operands
    extras = extra_operands(op.body)
    return tuple(n for n in extras if inputs[n] in outputs and n not in anchor)


def extra_operands(body: Body) -> list[int]:
    """Numbers of a body's operands that instructions after the anchor read."""
    later = [n for i in body.instructions[1:] for n in i.operands if n < body.inputs]
    return list(dict.fromkeys(later))


def kind_of(spec: TensorSpec, result: TensorSpec) -> Kind | None:
    """How an operand lies beside results whose channels are axis 1; None: in no such way."""
    if spec.shape == result.shape:
        return Kind.TENSOR
    if spec.size == 1:
        return Kind.SCALAR
    padded = (1,) * (result.ndim - spec.ndim) + spec.shape
    channels = (1, result.shape[1]) + (1,) * (result.ndim - 2)
    return Kind.CHANNEL if padded == channels else None


def can_finish(
    body: Body, inputs: Sequence[TensorSpec], elementwise: Container[type]
) -> Supported | Refused:
    """Whether all that follows the anchor can be an epilogue of ``elementwise`` ops.

    Which values are stored is not asked here: see ``Body.is_chain``.
    """
    specs = body.specs(*inputs)
    result = specs[body.inputs]
    if result.ndim not in (2, 4) or (isinstance(body.anchor.op, MatMul) and result.ndim == 4):
        return Refused("matrices in batches have no epilogue")
    for instruction in body.instructions[1:]:
        if type(instruction.op) not in elementwise:
            return Refused(f"{instruction.op.name} is not elementwise")
    if any(spec.shape != result.shape for spec in specs[body.inputs :]):
        return Refused("the shape changes within the body")
    if any(kind_of(specs[number], result) is None for number in extra_operands(body)):
        return Refused("an operand is neither a scalar, nor one a channel, nor one an element")
    return Supported()
