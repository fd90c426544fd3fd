"""The convolutions: which methods there are, and how a step becomes the calls of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from minigraph.backend import Algorithm, Refused
from minigraph.backends.cupy.call import AnyCall, Binding, Context, Lowering
from minigraph.backends.cupy.cudnn import methods as cudnn
from minigraph.backends.cupy.kernels import conv_direct, conv_gemm
from minigraph.backends.cupy.kernels.method import Method, Problem
from minigraph.ir.spec import TensorSpec
from minigraph.ops.conv import Conv2d, Conv2dGradWeight, ConvTranspose2d

METHODS: tuple[Method, ...] = (
    *cudnn.METHODS,
    conv_gemm.PLAIN,
    conv_gemm.IMPLICIT,
    conv_direct.DIRECT,
)
"""Every method. The compiler takes the quickest whose error and workspace it allows."""


def candidates(
    op: Any, inputs: tuple[TensorSpec, ...], context: Context
) -> tuple[Algorithm, ...] | Refused:
    """What every method offers for a convolution, fused or not."""
    problem = Problem.of(op, inputs)
    offers = (method.algorithm(problem, context) for method in METHODS)
    return tuple(offer for offer in offers if offer is not None)


def calls(binding: Binding) -> Sequence[AnyCall]:
    """The calls of the method that was chosen."""
    (chosen,) = (method for method in METHODS if method.name == binding.algorithm)
    return chosen.calls(binding)


LOWERINGS: Mapping[type, Lowering] = {
    op: Lowering(candidates, calls) for op in (Conv2d, ConvTranspose2d, Conv2dGradWeight)
}
