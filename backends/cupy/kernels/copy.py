"""Copies between memory orders."""

from __future__ import annotations

from minigraph.backends.cupy.call import Call
from minigraph.backends.cupy.kernels.pointwise import pointwise_calls, single
from minigraph.backends.cupy.kernels.transposition import transposed_copy_calls
from minigraph.ops.elementwise import Cast
from minigraph.places import Place


def copy_calls(source: Place, target: Place) -> list[Call]:
    """Copy a tensor; shapes are equal (or broadcast), strides may differ."""
    by_tiles = transposed_copy_calls(source, target)
    return by_tiles or pointwise_calls(single(Cast(target.spec.dtype), 1), (source,), (target,))
