"""Every op that the backend runs, and how."""

from __future__ import annotations

from collections.abc import Mapping

from minigraph.backends.cupy.call import Lowering
from minigraph.backends.cupy.kernels import (
    average_pool,
    axis_map,
    conv,
    elementwise,
    fill,
    indexing,
    loss,
    matmul,
    max_pool,
    median_pool,
    moments,
    random,
    reduce,
    scan,
    shape,
    softmax,
    unfold,
    unpool,
    window_sum,
)
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
    **average_pool.LOWERINGS,
    **axis_map.LOWERINGS,
    **conv.LOWERINGS,
    **elementwise.LOWERINGS,
    **fill.LOWERINGS,
    **indexing.LOWERINGS,
    **loss.LOWERINGS,
    **matmul.LOWERINGS,
    **max_pool.LOWERINGS,
    **median_pool.LOWERINGS,
    **moments.LOWERINGS,
    **random.LOWERINGS,
    **reduce.LOWERINGS,
    **scan.LOWERINGS,
    **shape.LOWERINGS,
    **softmax.LOWERINGS,
    **unfold.LOWERINGS,
    **unpool.LOWERINGS,
    **window_sum.LOWERINGS,
    Fused: fused_lowering(ANCHORS),
}
"""Every op that the backend runs. A family of kernels adds a line."""
