"""Tiles of images: where they lie, and how they are read and written.

An image's outputs are cut into tiles of m x m. The inputs of a tile are (m + 2) x (m + 2) pixels,
which overlap those of its neighbours and reach into the padding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from minigraph.backend import Slot
from minigraph.backends.llvm.convolution.winograd_transforms import Grid, Winograd, transform
from minigraph.backends.llvm.kernels.epilogue import EpilogueWriter
from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.value import Value
from minigraph.backends.llvm.language.view import Index, View
from minigraph.ir.spec import DType
from minigraph.ops.geometry import Padding

FLOAT = DType.FLOAT32

N = TypeVar("N", bound=Index)  # int where a call is made, Value within the kernel


class Tiles(NamedTuple, Generic[N]):
    """The tiles of all images, numbered image by image, row by row. Sizes of a kernel."""

    total: N
    rows: N  # of an image
    columns: N
    height: N  # of the outputs that they cover
    width: N

    def place(self, tile: Value) -> tuple[Value, Value, Value]:
        """Image, row of tiles, column of tiles."""
        row = tile // self.columns
        return row // self.rows, row % self.rows, tile % self.columns


class Source(NamedTuple, Generic[N]):
    """An image's sizes and strides, and the padding before its first pixel. Sizes of a kernel."""

    height: N
    width: N
    image: N
    row: N
    pixel: N
    top: N
    left: N

    def view(self, k: Kernel, pointer: object) -> View:
        return k.view(pointer, FLOAT, self.image, self.row, self.pixel, 1)


@dataclass(frozen=True)
class Channels:
    """Neighbouring channels that are wanted."""

    first: Index
    count: Value
    has_tail: bool  # the last vector may not be whole


def tiles_of(winograd: Winograd, batch: int, height: int, width: int) -> Tiles[int]:
    """Tiles that cover outputs of these sizes."""
    rows, columns = -(-height // winograd.outputs), -(-width // winograd.outputs)
    return Tiles(batch * rows * columns, rows, columns, height, width)


def source_of(slot: Slot, padding: Padding = ((0, 0), (0, 0))) -> Source[int]:
    """An operand as a source of tiles."""
    _, _, height, width = slot.spec.shape
    image, _, row, pixel = slot.strides
    return Source(height, width, image, row, pixel, padding[0][0], padding[1][0])


class TileReader:
    """Transforms ``side`` x ``side`` pixels of each tile; those outside the image count as 0.

    A table holds the address of each pixel's first channel, or that of a vector of zeros with as
    many channels: so the loop over channels knows no borders.
    """

    def __init__(
        self, k: Kernel, winograd: Winograd, matrix: np.ndarray, source: Source[Value], image: View
    ) -> None:
        self._k = k
        self._winograd = winograd
        self._matrix = matrix
        self._side = matrix.shape[1]
        self._source = source
        self._image = image
        self._table = k.table(self._side**2)

    def find(self, tiles: Tiles[Value], tile: Value, zeros: View, channel: Index = 0) -> None:
        """Fill the table for a tile, from a channel on; there are as many zeros as will be read."""
        source, side, step = self._source, range(self._side), self._winograd.outputs
        image, tile_row, tile_column = tiles.place(tile)
        row, column = tile_row * step - source.top, tile_column * step - source.left
        first = self._image.at(image, row, column, channel).strided(source.row, source.pixel)
        rows = [_inside(row + i, source.height) for i in side]
        columns = [_inside(column + j, source.width) for j in side]
        nothing = zeros.address()
        for i in side:
            for j in side:
                address = (rows[i] & columns[j]).select(first.address(i, j), nothing)
                self._table.store(address, i * self._side + j)

    def read(self, channel: Index, lanes: int, mask: Value | None) -> Grid:
        """The transform of neighbouring channels of the tile that was found."""

        def load(i: int, j: int) -> Value:
            pixel = self._k.pointer_at(self._table.load(i * self._side + j))
            return self._k.view(pixel, FLOAT, 1).load(channel, lanes=lanes, mask=mask)

        return transform(self._k, self._matrix, load)

    def write_tile(
        self, target: View, tiles: Tiles[Value], tile: Value, zeros: View, channels: Channels
    ) -> None:
        """All channels of a tile to the target (point, channel)."""
        self.find(tiles, tile, zeros, channels.first)
        target, lanes = target.settled(), self._k.lanes(FLOAT)

        def write(channel: Value, mask: Value | None) -> None:
            values = self.read(channel, lanes, mask)
            store_points(self._winograd, values, target.at(0, channel))

        each_vector(self._k, channels.count, lanes, channels.has_tail, write)


def each_vector(
    k: Kernel,
    count: Index,
    lanes: int,
    has_tail: bool,
    body: Callable[[Value, Value | None], None],
) -> None:
    """``body(i, mask)`` for i = 0, lanes, ...; without a tail, all of its code is left out."""
    if has_tail:
        k.vectors(count, lanes, body)
        return
    with k.loop(0, count, lanes) as i:
        body(i, None)


def _inside(position: Value, size: Index) -> Value:
    return (position >= 0) & (position < size)


def at_points(winograd: Winograd, first: View) -> list[View]:
    """Views at each of the points; the first's first stride is the distance between them.

    Each pointer is the one before and a step. Products of the stride would be the same in all
    rounds of all loops around, and LLVM would compute them beforehand and run out of registers.
    """
    views = [first]
    for _ in range(winograd.products - 1):
        views.append(views[-1].at(1))
    return views


def store_points(winograd: Winograd, values: Grid, first: View) -> None:
    """A tile's values at the points; the view's first stride is the distance between them."""
    flat = [value for row in values for value in row]
    for value, view in zip(flat, at_points(winograd, first), strict=True):
        view.store(value)


def write_tile(
    k: Kernel,
    winograd: Winograd,
    products: View,
    writer: EpilogueWriter,
    inside: tuple[Value, Value] | None,
    channel: Value,
    mask: Value | None,
) -> None:
    """Transform the products of a tile (by point), finish and store its outputs.

    ``writer`` stands at the tile's first pixel; ``inside`` is how many rows and columns of the
    tile lie in the image, None if all do.
    """
    points, outputs = winograd.points, range(winograd.outputs)
    views = at_points(winograd, products)
    lanes = k.lanes(FLOAT)
    results = transform(
        k, winograd.output_matrix, lambda i, j: views[i * points + j].load(lanes=lanes)
    )
    for i in outputs:
        for j in outputs:
            if inside is None:
                writer.store(results[i][j], (0, i, j), channel, mask)
                continue
            rows, columns = inside
            with k.when((rows > i) & (columns > j)):
                writer.store(results[i][j], (0, i, j), channel, mask)
