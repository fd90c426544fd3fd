"""Elementwise ops, each a kernel of one instruction, and what else is a copy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minigraph.backend import Algorithm
from minigraph.backends.cupy.call import Binding, Call, Context, Lowering, memory_seconds, simple
from minigraph.backends.cupy.kernels.copy import copy_calls
from minigraph.backends.cupy.kernels.expressions import EXPRESSIONS
from minigraph.backends.cupy.kernels.pointwise import elementwise_calls
from minigraph.ir.spec import TensorSpec
from minigraph.ops.broadcast import Expand
from minigraph.ops.control import StopGradient


def _candidates(op: Any, inputs: tuple[TensorSpec, ...], context: Context) -> tuple[Algorithm, ...]:
    (output,) = op.infer(*inputs)
    overwrites = tuple(i for i, spec in enumerate(inputs) if spec == output)
    return (Algorithm("cuda", 0, memory_seconds(op, inputs), overwrites=overwrites),)


def _copy(binding: Binding) -> list[Call]:
    return copy_calls(binding.inputs[0], binding.output)


LOWERINGS: Mapping[type, Lowering] = {
    **{op: Lowering(_candidates, elementwise_calls) for op in EXPRESSIONS},
    Expand: simple(_copy),
    StopGradient: simple(_copy),
}
