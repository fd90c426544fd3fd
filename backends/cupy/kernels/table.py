"""Every op that the backend runs, and how."""

from __future__ import annotations

from collections.abc import Mapping

from minigraph.backends.cupy.call import Lowering
from minigraph.backends.cupy.kernels import elementwise, fill, indexing, random, reduce, scan, shape
from minigraph.backends.cupy.kernels.fused import fused_lowering
from minigraph.ops.fused import Fused

ANCHORS: Mapping[type, Lowering] = {}
"""Ops that can finish their results by an epilogue before they store them."""

LOWERINGS: Mapping[type, Lowering] = {
    **ANCHORS,
    **elementwise.LOWERINGS,
    **fill.LOWERINGS,
    **indexing.LOWERINGS,
    **random.LOWERINGS,
    **reduce.LOWERINGS,
    **scan.LOWERINGS,
    **shape.LOWERINGS,
    Fused: fused_lowering(ANCHORS),
}
"""Every op that the backend runs. A family of kernels adds a line."""
