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
    what the operation puts there depends on no element, or, where it repeats or mirrors some, on
    the first ``border[0]`` elements (before the operand) and the last ``border[1]`` (behind it). A
    stride below one is that of an operation that enlarges. ``Footprint(axis)`` reads position ``i``
    alone.
    """

    axis: int
    stride: Fraction | int = 1
    first: Fraction | int = 0
    last: Fraction | int = 0
    border: tuple[int, int] = (0, 0)

    def reads(self, start: int, stop: int) -> Interval:
        """The positions that the outputs ``start <= i < stop`` read, padding included."""
        low = math.ceil(self.stride * start + self.first)
        return low, max(low, math.floor(self.stride * (stop - 1) + self.last) + 1)

    def reads_within(self, start: int, stop: int, size: int) -> Interval:
        """The elements of an operand of this size that the outputs ``start <= i < stop`` read."""
        low, high = self.reads(start, stop)
        first = min(low, size - self.border[1]) if high > size else low
        last = max(high, self.border[0]) if low < 0 else high
        return clip_to((first, last), size)

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


def clip_to(interval: Interval, size: int) -> Interval:
    """The part of an interval within ``0 <= i < size``; where there is none, an empty one."""
    start = min(max(interval[0], 0), size)
    return start, max(start, min(interval[1], size))


def broadcast_footprint(axis: int, shape: Shape, output: Shape) -> Footprint | None:
    """That of an operand of some shape that NumPy's rules broadcast to the output's."""
    own = axis - (len(output) - len(shape))
    return Footprint(own) if own >= 0 and shape[own] == output[axis] else None
