"""Sums over few elements, which tables list: windows, their adjoints, and maps along axes.

A *tap* of an output position along one axis is an element of the input that it takes: how far in
memory that lies from the first, and what else a kernel wants to know of it (a weight, a place in
the window). All taps of an axis are one table, made from the shapes when a program is built: there
is no arithmetic of borders, strides and dilation in any kernel, and an output whose window
reaches beyond the image has fewer taps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from minigraph.backend import Slot
from minigraph.backends.llvm.call import Call
from minigraph.backends.llvm.kernels.iteration import decode, product
from minigraph.backends.llvm.language.code import KernelCode
from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.types import FLOAT64, value_type
from minigraph.backends.llvm.language.value import Value
from minigraph.backends.llvm.language.view import View
from minigraph.ir.spec import DType
from minigraph.places import Place, Table

PIECES = 16  # parts of the first mapped axis, for threads to share

# ---- tables


def tap_table(outputs: Sequence[Sequence[tuple[int, ...]]], words: int) -> Table:
    """Each output's taps of so many ``words``, the first of which is the distance in memory.

    In the table, first come the positions where each output's taps start, and where the last one's
    end; then all taps.
    """
    head = len(outputs) + 1
    counts = [len(taps) * words for taps in outputs]
    starts = head + np.cumsum([0, *counts])
    flat = [word for taps in outputs for tap in taps for word in tap]
    return Table(np.array([*starts, *flat], np.int64))


def as_word(weight: float) -> int:
    """The bits of a float64."""
    return int(np.float64(weight).view(np.int64))


class Taps:
    """The taps of one output position, within a kernel."""

    def __init__(self, table: View, output: Value, words: int) -> None:
        self.table = table
        self.first, self.last = table.load(output), table.load(output + 1)
        self.words = words

    def carry(
        self,
        k: Kernel,
        initial: Sequence[Value],
        body: Callable[[list[Value], list[Value]], Sequence[Value]],
    ) -> list[Value]:
        """``values = body(the words of a tap, values)`` for all taps in their order."""

        def step(at: Value, values: list[Value]) -> Sequence[Value]:
            return body(self._words_at(at), values)

        return k.carry(self.first, self.last, initial, step, self.words)

    def tap(self, number: int) -> list[Value]:
        """The words of one tap."""
        return self._words_at(self.first + number * self.words)

    def _words_at(self, position: Value) -> list[Value]:
        return [self.table.load(position + word) for word in range(self.words)]


def tables(k: Kernel, count: int) -> list[View]:
    """The first pointers of a kernel, as tables."""
    return [k.view(pointer, DType.INT64, 1) for pointer in k.pointers[:count]]


@contextmanager
def pieces_of(
    k: Kernel, outer: Sequence[Value], count: Value
) -> Iterator[tuple[list[Value], Value]]:
    """(indices of the outer axes, index of the next axis of ``count``), shared by the threads."""
    with k.parallel(product([*outer, k.index(PIECES)])) as item:
        indices, piece = decode(item // PIECES, outer), item % PIECES
        with k.loop(count * piece // PIECES, count * (piece + 1) // PIECES) as i:
            yield indices, i


# ---- sums


@dataclass(frozen=True)
class TapSum(KernelCode):
    """Weighted sums along one mapped axis or two; the innermost axis is carried along.

    y[o, i, j, c] = sum over taps (a, v) of i and (b, w) of j of  v w x[o, a, b, c]

    Arguments: the table of each mapped axis; x, y; sizes of the outer axes, of the mapped axes and
    of the innermost axis; strides of x along the outer axes and the innermost; strides of y along
    all axes. Without weights, a tap is the distance alone.
    """

    dtype: DType
    outer: int
    mapped: int
    weighted: bool
    adjacent: bool  # along the innermost axis, in x and y

    @property
    def pointers(self) -> int:
        return self.mapped + 2

    @property
    def sizes(self) -> int:
        return 3 * self.outer + 2 * self.mapped + 3

    @property
    def _axes(self) -> int:
        return self.outer + self.mapped + 1

    def emit(self, k: Kernel) -> None:
        sizes, strides = k.sizes[: self._axes], k.sizes[self._axes :]
        x_strides, y_strides = strides[: self.outer + 1], strides[self.outer + 1 :]
        x = k.view(k.pointers[-2], self.dtype, *x_strides[:-1])
        y = k.view(k.pointers[-1], self.dtype, *y_strides)
        inner = (1, 1) if self.adjacent else (x_strides[-1], y_strides[-1])
        outer, mapped, length = sizes[: self.outer], sizes[self.outer : -1], sizes[-1]
        axes = tables(k, self.mapped)
        words = 2 if self.weighted else 1
        with pieces_of(k, outer, mapped[0]) as (indices, i):
            image, first = x.at(*indices), Taps(axes[0], i, words)
            if self.mapped == 1:
                target = y.at(*indices, i).strided(inner[1])
                self._line(k, [first], image.strided(inner[0]), target, length)
                return
            with k.loop(0, mapped[1]) as j:
                target = y.at(*indices, i, j).strided(inner[1])
                both = [first, Taps(axes[1], j, words)]
                self._line(k, both, image.strided(inner[0]), target, length)

    def _line(self, k: Kernel, taps: Sequence[Taps], x: View, y: View, length: Value) -> None:
        """All elements along the innermost axis."""
        lanes = k.lanes(self.dtype) if self.adjacent else 1

        def body(at: Value, mask: Value | None) -> None:
            y.store(self._sum(k, taps, x.at(at), lanes, mask), at, mask=mask)

        if self.mapped == 2:
            k.vectors(length, lanes, body)
            return
        count = (taps[0].last - taps[0].first) // taps[0].words
        for few in (1, 2):  # as most resizes have: what the taps say is read but once
            with k.when(count.equals(few)):
                self._short_line(k, taps[0], few, x, y, length)
        with k.when(count.equals(0) | (count > 2)):
            k.vectors(length, lanes, body)

    def _short_line(
        self, k: Kernel, taps: Taps, count: int, x: View, y: View, length: Value
    ) -> None:
        lanes = k.lanes(self.dtype) if self.adjacent else 1
        known = [taps.tap(number) for number in range(count)]
        sources = [x.strided(1).at(tap[0]).strided(*x.strides) for tap in known]
        weights = [self._weight(tap, lanes) for tap in known] if self.weighted else []

        def body(at: Value, mask: Value | None) -> None:
            values = [source.load(at, lanes=lanes, mask=mask) for source in sources]
            if self.weighted:
                values = [v * w for v, w in zip(values, weights, strict=True)]
            total = values[0]
            for value in values[1:]:
                total = total + value
            y.store(total, at, mask=mask)

        k.vectors(length, lanes, body)

    def _weight(self, tap: list[Value], lanes: int) -> Value:
        return tap[1].bits_as(FLOAT64).to(value_type(self.dtype)).spread(lanes)

    def _sum(
        self, k: Kernel, taps: Sequence[Taps], x: View, lanes: int, mask: Value | None
    ) -> Value:
        """The sum over the taps of the first axis of the sums over those of the next."""
        zero = k.zero(value_type(self.dtype, lanes))

        def add(tap: list[Value], sums: list[Value]) -> list[Value]:
            there = x.strided(1).at(tap[0]).strided(*x.strides)
            if len(taps) > 1:
                value = self._sum(k, taps[1:], there, lanes, mask)
            else:
                value = there.load(lanes=lanes, mask=mask)
            if not self.weighted:
                return [sums[0] + value]
            return [k.fma(value, self._weight(tap, lanes), sums[0])]

        return taps[0].carry(k, [zero], add)[0]


def plane_sum_calls(
    x: Slot,
    x_strides: Sequence[int],
    y: Slot,
    taps: Sequence[Sequence[Sequence[tuple[int, ...]]]],
    weighted: bool,
) -> list[Call]:
    """Sums over height and width: y (N,C,H,W), with the strides of x along N and C.

    ``taps`` are those of every row, and of every column.
    """
    if y.spec.size == 0:
        return []
    n, c, height, width = y.spec.shape
    words = 2 if weighted else 1
    y_image, y_channel, y_row, y_pixel = y.strides
    adjacent = c > 1 and x_strides[1] == y_channel == 1
    code = TapSum(y.spec.dtype, 1, 2, weighted, adjacent)
    sizes = (n, height, width, c, *x_strides, y_image, y_row, y_pixel, y_channel)
    maps: tuple[Place, ...] = tuple(tap_table(lists, words) for lists in taps)
    return [Call(code, (*maps, x), (y,), sizes)]
