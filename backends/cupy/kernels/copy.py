"""Copies between memory orders, and fills."""

from __future__ import annotations

from minigraph.backend import Slot
from minigraph.backends.cupy.call import Call
from minigraph.backends.cupy.kernels.pointwise import pointwise_calls
from minigraph.backends.cupy.kernels.transposition import transposed_copy_calls
from minigraph.lowering.elementwise import single
from minigraph.ops.elementwise import Cast
from minigraph.places import Place, repeated_number


def copy_calls(source: Place, target: Place) -> list[Call]:
    """Copy a tensor; shapes are equal (or broadcast), strides may differ."""
    by_tiles = transposed_copy_calls(source, target)
    return by_tiles or pointwise_calls(single(Cast(target.spec.dtype), 1), (source,), (target,))


def fill_calls(target: Slot, number: float) -> list[Call]:
    """Fill a tensor. The number is read from memory: one kernel writes all numbers."""
    return copy_calls(repeated_number(number, target.spec.dtype), target)
