"""Fused nodes: elementwise bodies, and anchors with an epilogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from minigraph.backend import Algorithm, Refused, Supported
from minigraph.backends.llvm.call import Binding, Call, Context, Lowering
from minigraph.backends.llvm.kernels.instructions import EMITTERS
from minigraph.backends.llvm.kernels.pointwise import pointwise_calls
from minigraph.ir.spec import TensorSpec
from minigraph.lowering.epilogue import can_finish
from minigraph.ops.fused import Body, Fused
from minigraph.ops.matmul import MatMul


def fused_lowering(anchors: Mapping[type, Lowering]) -> Lowering:
    """The lowering of ``Fused``, given those of the anchors, which read the epilogue."""

    def candidates(
        op: Fused, inputs: tuple[TensorSpec, ...], context: Context
    ) -> tuple[Algorithm, ...] | Refused:
        answer = can_fuse(op.body, inputs, anchors)
        if isinstance(answer, Refused):
            return answer
        lowering = anchors.get(type(op.body.anchor.op))
        if lowering is not None:
            return lowering.candidates(op, inputs, context)
        outputs = op.infer(*inputs)
        overwrites = tuple(i for i, spec in enumerate(inputs) if spec in outputs)
        seconds = op.cost(*inputs).bytes / 1e10
        return (Algorithm("llvm", 0, seconds, overwrites=overwrites),)

    def calls(binding: Binding) -> Sequence[Call]:
        lowering = anchors.get(type(binding.op.body.anchor.op))
        if lowering is not None:
            return lowering.calls(binding)
        results = [slot for slot in binding.outputs if slot is not None]
        return pointwise_calls(binding.op.body, binding.inputs, results)

    return Lowering(candidates, calls)


def can_fuse(
    body: Body, inputs: Sequence[TensorSpec], anchors: Mapping[type, Any]
) -> Supported | Refused:
    """Whether one kernel can run the body."""
    if type(body.anchor.op) in anchors:
        if not (body.is_chain or isinstance(body.anchor.op, MatMul)):
            return Refused("a convolution stores the last result of a chain alone")
        return can_finish(body, inputs, EMITTERS)
    for instruction in body.instructions:
        if type(instruction.op) not in EMITTERS:
            return Refused(f"no body can have {instruction.op.name} in it")
    specs = body.specs(*inputs)
    if len({specs[number].shape for number in body.outputs}) != 1:
        return Refused("the results differ in shape")
    return Supported()
