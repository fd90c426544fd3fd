"""What one position of an operation's output reads of its operands, along one axis."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

Interval = tuple[int, int]  # positions start <= i < stop
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Footprint:
    """Output position ``i`` reads ``ceil(stride * i + first)`` to ``floor(stride * i + last)``.

    These are positions along the operand's axis ``axis``. Those outside of the operand are padding:
    the operation puts something there that depends on no element (where it mirrors some, the
    footprint has to cover them). A stride below one is that of an operation that enlarges.
    ``Footprint(axis)`` reads position ``i`` alone.
    """

    axis: int
    stride: Fraction | int = 1
    first: Fraction | int = 0
    last: Fraction | int = 0

    def reads(self, start: int, stop: int) -> Interval:
        """The positions that the outputs ``start <= i < stop`` read, padding included."""
        low = math.ceil(self.stride * start + self.first)
        return low, max(low, math.floor(self.stride * (stop - 1) + self.last) + 1)

    def readers(self, start: int | None, stop: int | None) -> tuple[int | None, int | None]:
        """The outputs that read nothing but ``start <= j < stop``; None is no bound."""
        # ceil(stride i + first) >= start  <=>  stride i + first > start - 1
        # floor(stride i + last) < stop    <=>  stride i + last < stop
        low = high = None
        if start is not None:
            low = math.floor((start - 1 - self.first) / Fraction(self.stride)) + 1
        if stop is not None:
            high = math.ceil((stop - self.last) / Fraction(self.stride))
        return low, high


def broadcast_footprint(axis: int, shape: Shape, output: Shape) -> Footprint | None:
    """That of an operand of some shape that NumPy's rules broadcast to the output's."""
    own = axis - (len(output) - len(shape))
    return Footprint(own) if own >= 0 and shape[own] == output[axis] else None
