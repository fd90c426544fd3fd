"""Every op that the backend runs, and how."""

from __future__ import annotations

from collections.abc import Mapping

from minigraph.backends.cupy.call import Lowering
from minigraph.backends.cupy.kernels import conv, elementwise, fill, matmul, reduce
from minigraph.backends.cupy.kernels.fused import fused_lowering
from minigraph.ops.conv import Conv2dGradWeight
from minigraph.ops.fused import Fused

ANCHORS: Mapping[type, Lowering] = {
    op: lowering
    for op, lowering in {**conv.LOWERINGS, **matmul.LOWERINGS}.items()
    if op is not Conv2dGradWeight
}
"""Ops that can finish their results by an epilogue before they store them."""

LOWERINGS: Mapping[type, Lowering] = {
    **conv.LOWERINGS,
    **elementwise.LOWERINGS,
    **fill.LOWERINGS,
    **matmul.LOWERINGS,
    **reduce.LOWERINGS,
    Fused: fused_lowering(ANCHORS),
}
"""Every op that the backend runs. A family of kernels adds a line."""
