"""Elementwise ops, each a kernel of one instruction, and what else is a copy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minigraph.backend import Algorithm
from minigraph.backends.llvm.call import Binding, Call, Context, Lowering, simple
from minigraph.backends.llvm.kernels.copy import copy_calls
from minigraph.backends.llvm.kernels.instructions import EMITTERS
from minigraph.backends.llvm.kernels.pointwise import elementwise_calls
from minigraph.ir.spec import TensorSpec
from minigraph.ops.broadcast import Expand
from minigraph.ops.control import StopGradient


def _candidates(op: Any, inputs: tuple[TensorSpec, ...], context: Context) -> tuple[Algorithm, ...]:
    (output,) = op.infer(*inputs)
    overwrites = tuple(i for i, spec in enumerate(inputs) if spec == output)
    return (Algorithm("llvm", 0, op.cost(*inputs).bytes / 1e10, overwrites=overwrites),)


def _copy(binding: Binding) -> list[Call]:
    return copy_calls(binding.inputs[0], binding.output)


LOWERINGS: Mapping[type, Lowering] = {
    **{op: Lowering(_candidates, elementwise_calls) for op in EMITTERS},
    Expand: simple(_copy),
    StopGradient: simple(_copy),
}
