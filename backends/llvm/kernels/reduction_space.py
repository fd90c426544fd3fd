"""The space that a reduction goes through: axes that are kept, and axes that are reduced.

Pure arithmetic on sizes and strides; the kernel is in ``reduction.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import gcd, prod


@dataclass(frozen=True)
class Axis:
    """One axis of the source; of a reduced one ``target`` is None."""

    size: int
    source: int  # stride
    target: int | None = None  # stride in what is written

    @property
    def kept(self) -> bool:
        return self.target is not None


_ONE_COLUMN = Axis(1, 1, 1)


@dataclass(frozen=True)
class ReductionSpace:
    """Axes from the outermost to the innermost in the source, of each kind.

    ``columns`` is the innermost axis of all where that is kept: vectors lie along it. Where it is
    reduced, vectors lie along the last reduced axis, and there is one column.
    """

    kept: tuple[Axis, ...]  # without the columns
    reduced: tuple[Axis, ...]  # one at least
    columns: Axis

    @property
    def has_columns(self) -> bool:
        return self.columns != _ONE_COLUMN

    @property
    def depth(self) -> int:
        """How many elements make one result."""
        return prod(axis.size for axis in self.reduced)

    @property
    def results(self) -> int:
        return prod(axis.size for axis in self.kept) * self.columns.size

    def packed(self) -> ReductionSpace:
        """With results that lie one after the other, in the order of the axes."""
        columns, step = replace(self.columns, target=1), self.columns.size
        kept: list[Axis] = []
        for axis in reversed(self.kept):
            kept.insert(0, replace(axis, target=step))
            step *= axis.size
        return replace(self, kept=tuple(kept), columns=columns)

    def folded(self, rows: int) -> ReductionSpace:
        """Several rows taken as one of as many times the columns; a later step adds them up."""
        *outer, last = self.reduced
        assert last.source == self.columns.size and last.size % rows == 0
        return replace(
            self,
            reduced=(*outer, Axis(last.size // rows, last.source * rows)),
            columns=replace(self.columns, size=self.columns.size * rows),
        )


def reduction_space(axes: Iterable[Axis]) -> ReductionSpace:
    """Order the axes by their strides in the source, and join neighbours that lie as one."""
    joined: list[Axis] = []
    for axis in sorted((a for a in axes if a.size != 1), key=lambda a: -abs(a.source)):
        if joined and _lie_as_one(joined[-1], axis):
            joined[-1] = replace(axis, size=joined[-1].size * axis.size)
        else:
            joined.append(axis)
    columns = joined.pop() if joined and joined[-1].kept else _ONE_COLUMN
    kept = tuple(axis for axis in joined if axis.kept)
    reduced = tuple(axis for axis in joined if not axis.kept)
    return ReductionSpace(kept, reduced or (Axis(1, 1),), columns)


def _lie_as_one(outer: Axis, inner: Axis) -> bool:
    if outer.kept != inner.kept or outer.source != inner.source * inner.size:
        return False
    if outer.target is None or inner.target is None:
        return True
    return outer.target == inner.target * inner.size


_WORTH_FOLDING = 64  # rows of the folded space, at least


def fold(space: ReductionSpace, lanes: int) -> int:
    """How many rows to take as one, so that few columns fill whole vectors.

    3 columns fill 3 of 16 lanes, but 16 rows of them, which lie as 48 numbers, fill 3 vectors.
    """
    columns, last = space.columns, space.reduced[-1]
    rows = lanes // gcd(columns.size, lanes)
    fits = columns.source == 1 and last.source == columns.size and last.size % rows == 0
    enough = last.size >= rows * _WORTH_FOLDING and columns.size < 16 * lanes
    return rows if space.has_columns and fits and enough else 1


_PARALLEL = 128  # pieces of work wanted
_CHUNK = 8192  # elements that a chunk has, at least
_BLOCK = 64  # columns that are done at a time, about


def chunks(depth: int, results: int) -> int:
    """Into how many parts each reduction is cut: fixed by the shape, whatever the threads."""
    blocks = -(-results // _BLOCK)
    return max(min(-(-_PARALLEL // blocks), depth * min(results, _BLOCK) // _CHUNK), 1)


def axes_of(
    shape: Sequence[int], source: Sequence[int], target: Sequence[int | None]
) -> list[Axis]:
    """Axes from sizes and strides."""
    return [Axis(*axis) for axis in zip(shape, source, target, strict=True)]
