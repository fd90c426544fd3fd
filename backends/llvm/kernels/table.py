"""Every op that the backend runs, and how."""

from __future__ import annotations

from collections.abc import Mapping

from minigraph.backends.llvm.call import Lowering
from minigraph.backends.llvm.kernels import (
    axis_map,
    conv,
    elementwise,
    fill,
    indexing,
    loss,
    matmul,
    median,
    moments,
    pool,
    random,
    reduce,
    scan,
    shape,
    softmax,
    unfold,
    unpool,
)
from minigraph.backends.llvm.kernels.fused import fused_lowering
from minigraph.ops.fused import Fused

ANCHORS: Mapping[type, Lowering] = {
    **conv.ANCHORS,
    **matmul.LOWERINGS,
}
"""Ops that can finish their results by an epilogue before they store them."""

LOWERINGS: Mapping[type, Lowering] = {
    **ANCHORS,
    **axis_map.LOWERINGS,
    **conv.LOWERINGS,
    **elementwise.LOWERINGS,
    **fill.LOWERINGS,
    **indexing.LOWERINGS,
    **loss.LOWERINGS,
    **median.LOWERINGS,
    **moments.LOWERINGS,
    **pool.LOWERINGS,
    **random.LOWERINGS,
    **reduce.LOWERINGS,
    **scan.LOWERINGS,
    **shape.LOWERINGS,
    **softmax.LOWERINGS,
    **unfold.LOWERINGS,
    **unpool.LOWERINGS,
    Fused: fused_lowering(ANCHORS),
}
