"""Kernels that choose elements by indices of another tensor, and that add to chosen ones.

Indices are checked first, by a kernel of their own: it refuses the first (in logical order) that is
outside of its axis. The kernels after it clamp what they read, so that nothing beyond a tensor is
touched in a call that is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from minigraph.backend import Slot, Strides
from minigraph.backends.llvm.call import Call
from minigraph.backends.llvm.kernels.copy import copy_calls
from minigraph.backends.llvm.kernels.iteration import decode, product
from minigraph.backends.llvm.kernels.taps import PIECES
from minigraph.backends.llvm.kernels.vectors import offset
from minigraph.backends.llvm.language.code import KernelCode
from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.types import INDEX
from minigraph.backends.llvm.language.value import Value
from minigraph.backends.llvm.language.view import View
from minigraph.ir.spec import DType
from minigraph.iteration import collapse, row_major_strides
from minigraph.lowering.indexing import IndexedAxis, IndexKernels, Moves

_SHORT = 8  # vectors: a piece of a line has as many
_SHARED = 4  # vectors of results: a piece of fewer passes through memory in short hops


@dataclass(frozen=True)
class CheckIndices(KernelCode):
    """Refuse indices outside of [lowest, count).

    Arguments: indices; lowest, count; sizes of the axes; strides of the indices; steps of the
    position that a refusal tells.
    """

    dtype: DType
    axes: int

    pointers = 1

    @property
    def sizes(self) -> int:
        return 2 + 3 * self.axes

    def emit(self, k: Kernel) -> None:
        lowest, count, *rest = k.sizes
        n = self.axes
        sizes, strides, steps = rest[:n], rest[n : 2 * n], rest[2 * n :]
        indices = k.view(k.pointers[0], self.dtype, *strides)
        with shared_lines(k, sizes, lanes=1) as (outer, first, last):
            line, start = indices.at(*outer).strided(strides[-1]), offset(outer, steps[:-1])
            with k.loop(first, last) as i:
                index = line.load(i).to(INDEX)
                k.refuse((index < lowest) | (index >= count), i * steps[-1] + start)


def check_calls(indices: Slot, lowest: int, count: int) -> list[Call]:
    """Refuse the indices outside of [lowest, count)."""
    shape = indices.spec.shape
    if 0 in shape:
        return []
    space = collapse(shape, [row_major_strides(shape), indices.strides])
    positions, strides = space.strides
    code = CheckIndices(indices.spec.dtype, len(space.sizes))
    sizes = (lowest, count, *space.sizes, *strides, *positions)
    return [Call(code, (indices,), (), sizes)]


@dataclass(frozen=True, slots=True)
class IndexedPlane(IndexedAxis):
    """The two axes of an image that indices count through, where its rows do not adjoin."""

    width: int  # of a row
    row_step: int


def plane_of(slot: Slot) -> IndexedAxis:
    """Height and width of (N,C,H,W), as one axis where that will do."""
    (height, width), (row, pixel) = slot.spec.shape[2:], slot.strides[2:]
    if row == width * pixel:
        return IndexedAxis(height * width, pixel)
    return IndexedPlane(height * width, pixel, width, row)


def _axis_sizes(axis: IndexedAxis) -> tuple[int, int, int, int]:
    """As kernels take them."""
    if isinstance(axis, IndexedPlane):
        return axis.count, axis.step, axis.width, axis.row_step
    return axis.count, axis.step, 1, 0


def _place(k: Kernel, index: Value, axis: Sequence[Value], has_rows: bool) -> Value:
    """How far in memory an index leads; one outside of the axis leads to some place within."""
    count, step, width, row_step = axis
    wide = index.to(INDEX)
    wrapped = (wide < 0).select(wide + count, wide)
    position = k.minimum(k.maximum(wrapped, 0), count - 1)
    if has_rows:
        return position // width * row_step + position % width * step
    return position * step


@dataclass(frozen=True)
class Take(KernelCode):
    """y = x at the indices' places along one axis; all other axes are those of y.

    Arguments: x, indices; y; the four sizes of the indexed axis; sizes of the axes of y; strides
    of x along these (0 where it does not move), of the indices, of y.
    """

    dtype: DType
    indices: DType
    axes: int
    has_rows: bool  # the indexed axis
    in_vectors: bool  # one index for all of the innermost axis, adjacent in x and y

    pointers = 3

    @property
    def sizes(self) -> int:
        return 4 + 4 * self.axes

    def emit(self, k: Kernel) -> None:
        n, axis, rest = self.axes, k.sizes[:4], k.sizes[4:]
        sizes = rest[:n]
        dtypes = (self.dtype, self.indices, self.dtype)
        x, indices, y = (
            k.view(pointer, kind, *rest[n * (i + 1) : n * (i + 2)])
            for i, (pointer, kind) in enumerate(zip(k.pointers, dtypes, strict=True))
        )
        lanes = k.lanes(self.dtype) if self.in_vectors else 1
        with shared_lines(k, sizes, lanes) as (outer, first, last):
            x, indices, y = (v.at(*outer).strided(v.strides[-1]) for v in (x, indices, y))
            if self.in_vectors:
                place = _place(k, indices.load(), axis, self.has_rows)
                _copy_line(k, x.strided(1).at(place + first), y.strided(1).at(first), last - first)
                return
            with k.loop(first, last) as i:
                place = _place(k, indices.load(i), axis, self.has_rows)
                y.store(x.at(i).strided(1).load(place), i)


@contextmanager
def shared_lines(
    k: Kernel, sizes: Sequence[Value], lanes: int, shortest: int = _SHORT
) -> Iterator[tuple[list[Value], Value, Value]]:
    """(indices of the outer axes, start, stop along the innermost axis), shared by the threads.

    The innermost axis is cut into pieces of ``shortest`` whole vectors or more.
    """
    *outer, length = sizes
    vectors = (length + (lanes - 1)) // lanes
    pieces = k.minimum(k.maximum(vectors // shortest, 1), PIECES)
    with k.parallel(product([*outer, pieces])) as item:
        indices, piece = decode(item // pieces, outer), item % pieces
        first = vectors * piece // pieces * lanes
        last = k.minimum(vectors * (piece + 1) // pieces * lanes, length)
        with k.when(first < last):
            yield indices, first, last


def _copy_line(k: Kernel, source: View, target: View, length: Value) -> None:
    lanes = k.lanes(source.dtype)

    def body(i: Value, mask: Value | None) -> None:
        target.store(source.load(i, lanes=lanes, mask=mask), i, mask=mask)

    k.vectors(length, lanes, body)


def take_calls(
    x: Slot, x_strides: Strides, axis: IndexedAxis, indices: Slot, i_strides: Strides, y: Slot
) -> list[Call]:
    """Elements of x along an axis; the strides are along the axes of y, 0 where nothing moves."""
    if y.spec.size == 0 or axis.count == 0:
        return []
    space = collapse(y.spec.shape, [x_strides, i_strides, y.strides])
    along_x, along_i, along_y = space.strides
    in_vectors = along_i[-1] == 0 and along_x[-1] == along_y[-1] == 1
    dtype = DType.UINT8 if y.spec.dtype is DType.BOOL else y.spec.dtype
    has_rows = isinstance(axis, IndexedPlane)
    code = Take(dtype, indices.spec.dtype, len(space.sizes), has_rows, in_vectors)
    sizes = (*_axis_sizes(axis), *space.sizes, *along_x, *along_i, *along_y)
    return [Call(code, (x, indices), (y,), sizes)]


@dataclass(frozen=True)
class AddAt(KernelCode):
    """y += updates at the indices' places along one axis, one after the other.

    Every line of the shared axes is one thread's, which goes through the ordered axes row by row.
    Arguments: indices, updates; y; the four sizes of the indexed axis; sizes of the shared axes,
    then of the ordered axes; strides of the indices and of the updates along all of them, of y
    along the shared ones.
    """

    dtype: DType  # of y
    updates: DType
    indices: DType
    shared: int
    ordered: int
    has_rows: bool  # the indexed axis
    in_vectors: bool  # one index for all of the innermost shared axis, adjacent elsewhere

    pointers = 3

    @property
    def sizes(self) -> int:
        return 4 + 3 * (self.shared + self.ordered) + self.shared

    def emit(self, k: Kernel) -> None:
        axis, rest, n = k.sizes[:4], k.sizes[4:], self.shared + self.ordered
        sizes, last_axis = rest[:n], self.shared - 1
        indices = k.view(k.pointers[0], self.indices, *rest[n : 2 * n])
        updates = k.view(k.pointers[1], self.updates, *rest[2 * n : 3 * n])
        y = k.view(k.pointers[2], self.dtype, *rest[3 * n :])
        lines = shared_lines(k, sizes[: self.shared], k.lanes(self.dtype), _SHARED)
        with lines as (outer, first, last):
            line = y.at(*outer, first).strided(1 if self.in_vectors else y.strides[last_axis])
            with nested(k, sizes[self.shared :]) as order:
                index = indices.at(*outer, first, *order).strided(indices.strides[last_axis])
                update = updates.at(*outer, first, *order)
                update = update.strided(1 if self.in_vectors else updates.strides[last_axis])
                if self.in_vectors:
                    place = _place(k, index.load(), axis, self.has_rows)
                    _add_line(k, update, line.at(place), last - first)
                else:
                    with k.loop(0, last - first) as i:
                        place = _place(k, index.load(i), axis, self.has_rows)
                        target = line.at(i).strided(1)
                        target.store(target.load(place) + update.load(i).to(y.type), place)


@contextmanager
def nested(k: Kernel, sizes: Sequence[Value]) -> Iterator[list[Value]]:
    """One loop within the other, an index for each."""
    if not sizes:
        yield []
        return
    with k.loop(0, sizes[0]) as i, nested(k, sizes[1:]) as inner:
        yield [i, *inner]


def _add_line(k: Kernel, source: View, target: View, length: Value) -> None:
    lanes = k.lanes(target.dtype)

    def body(i: Value, mask: Value | None) -> None:
        added = source.load(i, lanes=lanes, mask=mask)
        target.store(target.load(i, lanes=lanes, mask=mask) + added, i, mask=mask)

    k.vectors(length, lanes, body)


def add_calls(
    y: Slot,
    others: Sequence[int],
    axis: IndexedAxis,
    indices: Moves,
    updates: Moves,
    ordered: Sequence[int],
) -> list[Call]:
    """Add updates to y, whose other axes are ``others``, in the order of axes of these sizes."""
    if updates.slot.spec.size == 0 or y.spec.size == 0:
        return []
    space = collapse(
        [y.spec.shape[a] for a in others],
        [indices.shared, updates.shared, tuple(y.strides[a] for a in others)],
    )
    along_i, along_u, along_y = space.strides
    code = AddAt(
        y.spec.dtype,
        updates.slot.spec.dtype,
        indices.slot.spec.dtype,
        len(space.sizes),
        len(ordered),
        isinstance(axis, IndexedPlane),
        in_vectors=along_i[-1] == 0 and along_u[-1] == along_y[-1] == 1,
    )
    sizes = (
        *(*_axis_sizes(axis), *space.sizes, *ordered),
        *(*along_i, *indices.ordered, *along_u, *updates.ordered, *along_y),
    )
    return [Call(code, (indices.slot, updates.slot), (y,), sizes)]


INDEX_KERNELS = IndexKernels(check_calls, take_calls, add_calls, copy_calls)
