"""Matrix products: which methods there are, and how a step becomes the calls of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from minigraph.backend import Algorithm
from minigraph.backends.llvm.call import Binding, Call, Context, Lowering
from minigraph.backends.llvm.matmul.few_rows import FEW_ROWS
from minigraph.backends.llvm.matmul.few_steps import FEW_STEPS
from minigraph.backends.llvm.matmul.packed import PACKED
from minigraph.ir.spec import TensorSpec
from minigraph.ops.matmul import MatMul

METHODS = {method.name: method for method in (PACKED, FEW_ROWS, FEW_STEPS)}


def _candidates(op: Any, inputs: tuple[TensorSpec, ...], context: Context) -> tuple[Algorithm, ...]:
    offers = (method.algorithm(op, inputs, context) for method in METHODS.values())
    return tuple(offer for offer in offers if offer is not None)


def _calls(binding: Binding) -> Sequence[Call]:
    return METHODS[binding.algorithm].calls(binding)


LOWERINGS: Mapping[type, Lowering] = {MatMul: Lowering(_candidates, _calls)}
