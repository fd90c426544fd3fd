"""Every op that the backend runs, and how."""

from __future__ import annotations

from collections.abc import Mapping

from minigraph.backends.llvm.call import Lowering, simple
from minigraph.backends.llvm.kernels import (
    axis_map,
    channel_sums,
    conv,
    loss,
    matmul,
    median,
    moments,
    pool,
    random,
    reduce,
    scan,
    softmax,
    unfold,
    unpool,
)
from minigraph.backends.llvm.kernels.copy import copy_calls
from minigraph.backends.llvm.kernels.indexed import INDEX_KERNELS
from minigraph.backends.llvm.kernels.instructions import EMITTERS
from minigraph.backends.llvm.kernels.pointwise import pointwise_calls
from minigraph.lowering.elementwise import elementwise_lowerings, fused_lowering
from minigraph.lowering.indexing import indexing_lowerings, one_hot_lowering
from minigraph.lowering.moves import move_lowerings
from minigraph.ops.fused import Fused
from minigraph.ops.indexing import OneHot
from minigraph.ops.matmul import MatMul

ANCHORS: Mapping[type, Lowering] = {
    **conv.ANCHORS,
    **matmul.LOWERINGS,
}
"""Ops that can finish their results by an epilogue before they store them."""

WITH_SEVERAL_RESULTS = frozenset({MatMul})
"""Those of them that can store other values of the epilogue beside its last one."""

LOWERINGS: Mapping[type, Lowering] = {
    **ANCHORS,
    **axis_map.LOWERINGS,
    **channel_sums.LOWERINGS,
    **conv.LOWERINGS,
    **loss.LOWERINGS,
    **median.LOWERINGS,
    **moments.LOWERINGS,
    **pool.LOWERINGS,
    **random.LOWERINGS,
    **reduce.LOWERINGS,
    **scan.LOWERINGS,
    **softmax.LOWERINGS,
    **unfold.LOWERINGS,
    **unpool.LOWERINGS,
    **move_lowerings(simple, copy_calls),
    **elementwise_lowerings(simple, pointwise_calls, EMITTERS),
    **indexing_lowerings(simple, INDEX_KERNELS),
    OneHot: one_hot_lowering(simple, pointwise_calls),
    Fused: fused_lowering(simple, pointwise_calls, EMITTERS, ANCHORS, WITH_SEVERAL_RESULTS),
}
