"""The spaces that kernels go through: as few axes as the operands' strides allow.

Pure arithmetic on sizes and strides, for backends that generate their kernels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod

from minigraph.backend import Slot, Strides, channels_last, dense_strides, row_major
from minigraph.ir.spec import TensorSpec
from minigraph.ops.broadcast import normalise_axes
from minigraph.places import Place


@dataclass(frozen=True)
class Space:
    """Axes from the outermost to the innermost: their sizes, and each operand's stride on each."""

    sizes: tuple[int, ...]
    strides: tuple[Strides, ...]


def row_major_strides(shape: Sequence[int]) -> Strides:
    """Strides of an array without gaps, the last axis innermost."""
    spec = TensorSpec(tuple(shape))
    return dense_strides(spec, row_major(spec))


def without_gaps(place: Place) -> Strides:
    """Strides for the same order of axes in memory, elements side by side."""
    order = sorted(range(place.spec.ndim), key=lambda axis: -place.strides[axis])
    return dense_strides(place.spec, tuple(order))


def broadcast_strides(place: Place, shape: Sequence[int]) -> Strides:
    """An operand's strides under the shape that it is broadcast to: 0 where it is repeated."""
    missing = len(shape) - place.spec.ndim
    return (0,) * missing + tuple(
        0 if size == 1 else stride
        for size, stride in zip(place.spec.shape, place.strides, strict=True)
    )


def batch_strides(matrices: Slot, batch: Sequence[int]) -> Strides:
    """The strides of an operand, whose last two axes are matrices, along the result's batch."""
    outer = TensorSpec(matrices.spec.shape[:-2], matrices.spec.dtype)
    return broadcast_strides(replace(matrices, spec=outer, strides=matrices.strides[:-2]), batch)


def collapse(shape: Sequence[int], operands: Sequence[Strides]) -> Space:
    """Order the axes by the last operand's strides, and join those that lie as one in all operands.

    Two neighbours join where every operand steps over the inner one's end to the next of the outer.
    There is always one axis at least.
    """
    leading = operands[-1]
    axes = [axis for axis, size in enumerate(shape) if size != 1]
    axes.sort(key=lambda axis: -leading[axis])
    sizes: list[int] = []
    strides: list[list[int]] = []  # by axis, then operand
    for axis in axes:
        here = [operand[axis] for operand in operands]
        if sizes and strides[-1] == [step * shape[axis] for step in here]:
            sizes[-1] *= shape[axis]
            strides[-1] = here
        else:
            sizes.append(shape[axis])
            strides.append(here)
    if not sizes:
        sizes, strides = [1], [[1] * len(operands)]
    return Space(tuple(sizes), tuple(zip(*strides, strict=True)))


# ---- reductions


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


def axes_of(
    shape: Sequence[int], source: Sequence[int], target: Sequence[int | None]
) -> list[Axis]:
    """Axes from sizes and strides."""
    return [Axis(*axis) for axis in zip(shape, source, target, strict=True)]


def reduced_axes(source: Place, axes: tuple[int, ...] | None, target: Place) -> list[Axis]:
    """The source's axes, those that are kept with their strides in the target."""
    ndim = source.spec.ndim
    reduced = normalise_axes(axes, ndim)
    strides = iter(target.strides)
    keepdims = target.spec.ndim == ndim
    found: list[int | None] = []
    for axis in range(ndim):
        stride = next(strides) if keepdims or axis not in reduced else None
        found.append(None if axis in reduced else stride)
    return axes_of(source.spec.shape, source.strides, found)


def usual_axes(source: TensorSpec, axes: tuple[int, ...] | None) -> list[Axis]:
    """The same for values in their usual order in memory, before it is known where they lie."""
    reduced = normalise_axes(axes, source.ndim)
    kept = [None if axis in reduced else 0 for axis in range(source.ndim)]
    return axes_of(source.shape, dense_strides(source, channels_last(source)), kept)


def strides_without(place: Place, axis: int, ndim: int) -> Strides:
    """Strides of a result whose ``axis`` of ``ndim`` was reduced, and is kept as one or is gone."""
    axis %= ndim
    if place.spec.ndim < ndim:
        return place.strides
    return place.strides[:axis] + place.strides[axis + 1 :]
