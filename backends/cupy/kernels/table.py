"""Every op that the backend runs, and how."""

from __future__ import annotations

from collections.abc import Mapping

from minigraph.backends.cupy.call import Lowering, simple
from minigraph.backends.cupy.kernels import (
    average_pool,
    axis_map,
    conv,
    loss,
    matmul,
    max_pool,
    median_pool,
    moments,
    random,
    reduce,
    scan,
    softmax,
    unfold,
    unpool,
    window_sum,
)
from minigraph.backends.cupy.kernels.copy import copy_calls
from minigraph.backends.cupy.kernels.expressions import EXPRESSIONS
from minigraph.backends.cupy.kernels.indexed import INDEX_KERNELS
from minigraph.backends.cupy.kernels.pointwise import pointwise_calls
from minigraph.lowering.elementwise import elementwise_lowerings, fused_lowering
from minigraph.lowering.indexing import indexing_lowerings, one_hot_lowering
from minigraph.lowering.moves import move_lowerings
from minigraph.ops.conv import Conv2dGradWeight
from minigraph.ops.fused import Fused
from minigraph.ops.indexing import OneHot

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
    **loss.LOWERINGS,
    **matmul.LOWERINGS,
    **max_pool.LOWERINGS,
    **median_pool.LOWERINGS,
    **moments.LOWERINGS,
    **random.LOWERINGS,
    **reduce.LOWERINGS,
    **scan.LOWERINGS,
    **softmax.LOWERINGS,
    **unfold.LOWERINGS,
    **unpool.LOWERINGS,
    **window_sum.LOWERINGS,
    **move_lowerings(simple, copy_calls),
    **elementwise_lowerings(simple, pointwise_calls, EXPRESSIONS),
    **indexing_lowerings(simple, INDEX_KERNELS),
    OneHot: one_hot_lowering(simple, pointwise_calls),
    Fused: fused_lowering(simple, pointwise_calls, EXPRESSIONS, ANCHORS),
}
"""Every op that the backend runs. A family of kernels adds a line."""
