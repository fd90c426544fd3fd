"""The convolutions: which methods there are, and how a step becomes the calls of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from minigraph.backend import Algorithm, Refused
from minigraph.backends.llvm.call import Binding, Call, Context, Lowering
from minigraph.backends.llvm.convolution import (
    direct,
    pixels,
    rows,
    rows_gradient,
    rows_spread,
    weight_gradient,
)
from minigraph.backends.llvm.convolution.method import Method, problem_of
from minigraph.backends.llvm.convolution.winograd import winograd_calls, winograd_candidates
from minigraph.ir.spec import TensorSpec
from minigraph.ops.conv import Conv2d, Conv2dGradWeight, ConvTranspose2d

CANDIDATES: Mapping[type, tuple[Method, ...]] = {
    Conv2d: (direct.DIRECT, rows.ROWS, pixels.PIXELS),
    ConvTranspose2d: (direct.DIRECT, rows_spread.SPREAD),
    Conv2dGradWeight: (weight_gradient.SUMS, rows_gradient.ROWS),
}
"""Every method by op. The compiler takes the quickest whose error and workspace it allows."""


def _lowering(methods: Sequence[Method]) -> Lowering:
    by_name = {method.name: method for method in methods}

    def candidates(
        op: Any, inputs: tuple[TensorSpec, ...], context: Context
    ) -> tuple[Algorithm, ...] | Refused:
        problem = problem_of(op, inputs)
        offers = (method.algorithm(method.name, problem, context) for method in methods)
        found = tuple(offer for offer in offers if offer is not None)
        return (*found, *winograd_candidates(op, inputs, context))

    def calls(binding: Binding) -> Sequence[Call]:
        method = by_name.get(binding.algorithm)
        return winograd_calls(binding) if method is None else method.calls(binding)

    return Lowering(candidates, calls)


LOWERINGS: Mapping[type, Lowering] = {op: _lowering(methods) for op, methods in CANDIDATES.items()}
ANCHORS: Mapping[type, Lowering] = {op: LOWERINGS[op] for op in (Conv2d, ConvTranspose2d)}
"""Those that finish their results by an epilogue."""
