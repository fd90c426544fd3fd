"""Copies between two innermost axes: planes of pixels to pixels of channels, and back.

Along ``rows`` the source's elements are adjacent, along ``columns`` the target's. Square tiles are
loaded row by row, transposed in registers, and stored column by column, so that both sides are read
and written in whole vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from minigraph.backends.llvm.kernels.iteration import decode, product
from minigraph.backends.llvm.language.code import KernelCode
from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.value import Value
from minigraph.backends.llvm.language.view import View
from minigraph.ir.spec import DType

MOST_LANES = 16  # rows of a tile; more of them would not fit the registers
_TILES = 4  # tiles along each side of the block that is one thread's piece of work


def transposed(vectors: Sequence[Value]) -> list[Value]:
    """Vectors of as many lanes as there are: rows and columns exchanged.

    Wider ones are squares side by side, and each is transposed. Round by round, blocks of 1, 2, 4,
    ... lanes are exchanged between rows that far apart: lane bits and row bits change places one by
    one.
    """
    rows, lanes, width = list(vectors), vectors[0].lanes, 1
    while width < len(rows):
        low = [i if i & width == 0 else lanes + i - width for i in range(lanes)]
        high = [i + width if i & width == 0 else lanes + i for i in range(lanes)]
        for i in (i for i in range(len(rows)) if i & width == 0):
            a, b = rows[i], rows[i + width]
            rows[i], rows[i + width] = a.shuffle(low, b), a.shuffle(high, b)
        width *= 2
    return rows


@dataclass(frozen=True)
class TransposedCopy(KernelCode):
    """Copy a (rows, columns) matrix, or many of them.

    Arguments: source, target; sizes of the outer axes, numbers of rows and of columns; strides of
    the source along the outer axes and from column to column; strides of the target along the
    outer axes and from row to row.
    """

    dtype: DType
    outer: int

    pointers = 2

    @property
    def sizes(self) -> int:
        return 2 + self.outer + 2 * (self.outer + 1)

    def emit(self, k: Kernel) -> None:
        outer, (rows, columns) = k.sizes[: self.outer], k.sizes[self.outer : self.outer + 2]
        strides = k.sizes[self.outer + 2 :]
        source = k.view(k.pointers[0], self.dtype, *strides[: self.outer + 1], 1)
        target = k.view(k.pointers[1], self.dtype, *strides[self.outer + 1 :], 1)
        lanes = min(MOST_LANES, k.lanes(self.dtype))
        block = lanes * _TILES
        across, down = (columns + (block - 1)) // block, (rows + (block - 1)) // block
        with k.parallel(product([*outer, down, across])) as item:
            first_column, first_row = item % across * block, item // across % down * block
            matrix = decode(item // across // down, outer)
            last_row = k.minimum(first_row + block, rows)
            last_column = k.minimum(first_column + block, columns)
            with (
                k.loop(first_row, last_row, lanes) as row,
                k.loop(first_column, last_column, lanes) as column,
            ):
                tile = _Tile(
                    source.at(*matrix, column, row).strided(strides[self.outer], 1),
                    target.at(*matrix, row, column).strided(strides[-1], 1),
                    last_row - row,
                    last_column - column,
                )
                whole = (tile.rows >= lanes) & (tile.columns >= lanes)
                with k.when_else(whole) as (then, otherwise):
                    with then:
                        _copy_whole(tile, lanes)
                    with otherwise:
                        _copy_edge(k, tile, lanes)


@dataclass(frozen=True)
class _Tile:
    source: View  # by column, row
    target: View  # by row, column
    rows: Value  # that are left; a tile takes as many as a vector has lanes
    columns: Value


def _copy_whole(tile: _Tile, lanes: int) -> None:
    loaded = [tile.source.load(column, 0, lanes=lanes) for column in range(lanes)]
    for row, vector in enumerate(transposed(loaded)):
        tile.target.store(vector, row, 0)


def _copy_edge(k: Kernel, tile: _Tile, lanes: int) -> None:
    """What is missing is loaded twice, and not stored."""
    in_rows, in_columns = (k.first_lanes(n, lanes) for n in (tile.rows, tile.columns))
    last = tile.columns - 1
    columns = [k.minimum(last, column) for column in range(lanes)]
    loaded = [tile.source.load(column, 0, lanes=lanes, mask=in_rows) for column in columns]
    for row, vector in enumerate(transposed(loaded)):
        with k.when(tile.rows > row):
            tile.target.store(vector, row, 0, mask=in_columns)


@dataclass(frozen=True)
class Interleave(KernelCode):
    """A few planes to pixels of so many channels without gaps, or (``apart``) back to planes.

    Arguments: source, target; numbers of images and of pixels; the planes' strides by image and
    by channel; the pixels' stride by image.
    """

    dtype: DType
    channels: int
    apart: bool

    pointers = 2
    sizes = 5

    def emit(self, k: Kernel) -> None:
        images, pixels, plane_image, plane_step, pixel_image = k.sizes
        lanes = min(MOST_LANES, k.lanes(self.dtype))
        first, second = k.pointers[::-1] if self.apart else k.pointers
        planes = k.view(first, self.dtype, plane_image, plane_step, 1)
        mixed = k.view(second, self.dtype, pixel_image, self.channels, 1)
        pieces = (pixels + (lanes * _TILES - 1)) // (lanes * _TILES)
        with k.parallel(images * pieces) as item:
            image, start = item // pieces, item % pieces * (lanes * _TILES)
            stop = k.minimum(start + lanes * _TILES, pixels)
            whole = start + (stop - start) // lanes * lanes
            with k.loop(start, whole, lanes) as pixel:
                self._vectors(planes.at(image, 0, pixel), mixed.at(image, pixel), lanes)
            with k.loop(whole, stop) as pixel:
                self._vectors(planes.at(image, 0, pixel), mixed.at(image, pixel), 1)

    def _vectors(self, planes: View, mixed: View, lanes: int) -> None:
        """As many pixels as a vector has lanes."""
        channels, count = range(self.channels), self.channels
        if self.apart:
            loaded = [mixed.load(0, 0, c * lanes, lanes=lanes) for c in channels]
            for channel in channels:
                places = [pixel * count + channel for pixel in range(lanes)]
                planes.store(_picked(loaded, places, lanes), 0, channel)
            return
        loaded = [planes.load(0, c, lanes=lanes) for c in channels]
        for vector in channels:
            places = [
                at % count * lanes + at // count
                for at in range(vector * lanes, (vector + 1) * lanes)
            ]
            mixed.store(_picked(loaded, places, lanes), 0, 0, vector * lanes)


def _picked(vectors: Sequence[Value], places: Sequence[int], lanes: int) -> Value:
    """The elements at these places of vectors side by side."""
    if lanes == 1:
        return vectors[places[0]]
    result = vectors[0].shuffle([place % lanes for place in places])
    for number, vector in enumerate(vectors[1:], start=1):
        mask = [
            lanes + place % lanes if place // lanes == number else lane
            for lane, place in enumerate(places)
        ]
        result = result.shuffle(mask, vector)
    return result
