"""Copies between memory orders."""

from __future__ import annotations

from minigraph.backends.llvm.call import Call, Place
from minigraph.backends.llvm.kernels.pointwise import pointwise_calls, single
from minigraph.ops.elementwise import Cast


def copy_calls(source: Place, target: Place) -> list[Call]:
    """Copy a tensor element by element; shapes are equal (or broadcast), strides may differ."""
    return pointwise_calls(single(Cast(target.spec.dtype), 1), (source,), (target,))
