"""Elementwise ops and fused nodes: bodies of instructions, run once for every element.

What a backend brings is its kernel for bodies (``pointwise``) and the ops that it can write into
one (``elementwise``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Mapping, Sequence
from typing import Any

from minigraph.backend import Algorithm, Refused, Strides, Supported
from minigraph.ir.op import Op
from minigraph.ir.spec import TensorSpec
from minigraph.iteration import Space
from minigraph.lowering.call import BindingT, BoundStep, CallT, ContextT, Lowering, OneAlgorithm
from minigraph.lowering.epilogue import can_finish
from minigraph.ops.fused import Body, Fused, Instruction
from minigraph.places import Place

Pointwise = Callable[[Body, Sequence[Place], Sequence[Place]], Sequence[CallT]]
"""The calls of a body on operands that broadcast to the shape of the results."""

REPEATED, ADJACENT, STRIDED = "0", "1", "s"
"""How an operand moves along an axis: not at all, to the next element, by an argument's stride."""


def movement_of(space: Space) -> tuple[tuple[str, ...], Strides]:
    """How each operand moves along the axes, a letter an axis; and all strides that are STRIDED."""
    last = len(space.sizes) - 1
    movement, strides = [], []
    for steps in space.strides:
        moves = "".join(
            REPEATED if step == 0 else ADJACENT if step == 1 and axis == last else STRIDED
            for axis, step in enumerate(steps)
        )
        movement.append(moves)
        strides += [step for step, move in zip(steps, moves, strict=True) if move == STRIDED]
    return tuple(movement), tuple(strides)


def single(op: Op, operands: int) -> Body:
    """A body of one instruction."""
    return Body(operands, (Instruction(op, tuple(range(operands))),), (operands,))


def elementwise_lowerings(
    simple: OneAlgorithm[ContextT, BindingT, CallT],
    pointwise: Pointwise[CallT],
    elementwise: Collection[type],
) -> dict[type, Lowering[ContextT, BindingT, CallT]]:
    """Elementwise ops, each a body of one instruction."""

    def candidates(
        op: Any, inputs: tuple[TensorSpec, ...], context: ContextT
    ) -> tuple[Algorithm, ...]:
        return (simple.elementwise(op, inputs),)

    def calls(binding: BoundStep) -> Sequence[CallT]:
        body = single(binding.op, len(binding.inputs))
        return pointwise(body, binding.inputs, (binding.output,))

    return dict.fromkeys(elementwise, Lowering(candidates, calls))


def fused_lowering(
    simple: OneAlgorithm[ContextT, BindingT, CallT],
    pointwise: Pointwise[CallT],
    elementwise: Container[type],
    anchors: Mapping[type, Lowering[ContextT, BindingT, CallT]],
    with_several_results: Container[type] = (),
) -> Lowering[ContextT, BindingT, CallT]:
    """The lowering of ``Fused``, given those of the anchors, which read the epilogue."""

    def candidates(
        op: Fused, inputs: tuple[TensorSpec, ...], context: ContextT
    ) -> tuple[Algorithm, ...] | Refused:
        answer = can_fuse(op.body, inputs, elementwise, anchors, with_several_results)
        if isinstance(answer, Refused):
            return answer
        lowering = anchors.get(type(op.body.anchor.op))
        if lowering is not None:
            return lowering.candidates(op, inputs, context)
        return (simple.elementwise(op, inputs),)

    def calls(binding: BindingT) -> Sequence[CallT]:
        lowering = anchors.get(type(binding.op.body.anchor.op))
        if lowering is not None:
            return lowering.calls(binding)
        results = [slot for slot in binding.outputs if slot is not None]
        return pointwise(binding.op.body, binding.inputs, results)

    return Lowering(candidates, calls)


def can_fuse(
    body: Body,
    inputs: Sequence[TensorSpec],
    elementwise: Container[type],
    anchors: Container[type],
    with_several_results: Container[type] = (),
) -> Supported | Refused:
    """Whether one kernel can run the body.

    ``with_several_results`` are the anchors that store any results of their epilogue; the others
    store the last result of a chain.
    """
    anchor = type(body.anchor.op)
    if anchor in anchors:
        if anchor not in with_several_results and not body.is_chain:
            return Refused(f"{anchor.__name__} stores the last result of a chain alone")
        return can_finish(body, inputs, elementwise)
    for instruction in body.instructions:
        if type(instruction.op) not in elementwise:
            return Refused(f"no body can have {instruction.op.name} in it")
    specs = body.specs(*inputs)
    if len({specs[number].shape for number in body.outputs}) != 1:
        return Refused("the results differ in shape")
    return Supported()
