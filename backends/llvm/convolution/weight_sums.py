"""Gradients of weights: sums over pixels, by two kernels.

The gradient of the weight from input channel c, by a tap, to output channel k is the sum, over all
output pixels p, of ``gy[p][k] * x[where p reads by the tap][c]``. A tile of these sums has rows
along one of the two channel axes and vectors along the other:

- ``channels``: vectors of input channels, rows of output channels; one tap a tile.
- ``outputs``: vectors of output channels; rows are the few input channels of several taps. For
  depthwise convolutions rows are taps, and the input's number is a vector as well.

``WeightSums`` goes through the pixels block by block. The pixels are split into a number of parts
that the shapes alone determine, each with sums of its own; ``WeightTotals`` adds them in order.

Where rows (or vectors) do not come out even, the last tile starts earlier and computes some sums a
second time, for itself: so there are no incomplete tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Generic, TypeVar

import llvmlite.ir as ir

from minigraph.backends.llvm.convolution.axis import AXIS_SIZES, Windows, windows
from minigraph.backends.llvm.convolution.indirection import (
    COLUMN,
    IMAGE,
    ROW,
    Image,
    Indirection,
)
from minigraph.backends.llvm.convolution.pack import computed
from minigraph.backends.llvm.convolution.tile import Results, Tile, add_steps, carry_tile
from minigraph.backends.llvm.language.code import KernelCode
from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.types import value_type
from minigraph.backends.llvm.language.value import Value
from minigraph.backends.llvm.language.view import View
from minigraph.ir.spec import DType

N = TypeVar("N")  # int where a call is made, Value within the kernel


@dataclass(frozen=True)
class Form:
    """How sums are arranged in tiles."""

    tile: Tile
    few_channels: int  # vectors of outputs and rows of so many input channels a tap; 0: the other
    taps_in_tile: int
    masked: bool  # there are fewer columns than a tile has
    depthwise: bool = False  # inputs are vectors too: those of the outputs' numbers

    def wide(self, channels: N, outputs: N) -> N:
        """The size of the axis that vectors lie along."""
        return outputs if self.few_channels else channels


@dataclass(frozen=True)
class Extents(Generic[N]):
    """Sizes that both kernels take."""

    groups: N
    channels: N  # of a group
    outputs: N  # of a group
    splits: N
    taps_down: N
    taps_across: N


@dataclass(frozen=True)
class Tiles:
    """Which tiles there are, and where their sums lie: ``[split][group][panel][taps][rows]``."""

    k: Kernel
    form: Form
    e: Extents[Value]

    @property
    def taps(self) -> Value:
        return self.e.taps_down * self.e.taps_across

    @property
    def tap_tiles(self) -> Value:
        return (self.taps + (self.form.taps_in_tile - 1)) // self.form.taps_in_tile

    @property
    def panels(self) -> Value:
        wide = self.form.wide(self.e.channels, self.e.outputs)
        return (wide + (self.form.tile.columns - 1)) // self.form.tile.columns

    @property
    def row_tiles(self) -> Value:
        if self.form.few_channels:
            return self.k.index(1)
        return (self.e.outputs + (self.form.tile.rows - 1)) // self.form.tile.rows

    def first_column(self, panel: Value) -> Value:
        columns = self.form.tile.columns
        last = self.k.maximum(self.form.wide(self.e.channels, self.e.outputs) - columns, 0)
        return self.k.minimum(panel * columns, last)

    def first_row(self, row_tile: Value) -> Value:
        """Of a tile whose rows are output channels."""
        rows = self.form.tile.rows
        return self.k.minimum(row_tile * rows, self.e.outputs - rows)

    def place(
        self, split: Value, group: Value, panel: Value, tap_tile: Value, row_tile: Value
    ) -> Value:
        """How many tiles lie before this one."""
        place = (split * self.e.groups + group) * self.panels + panel
        return (place * self.tap_tiles + tap_tile) * self.row_tiles + row_tile

    def per_split(self) -> Value:
        return self.e.groups * self.panels * self.tap_tiles * self.row_tiles

    def view(self, pointer: ir.Value, dtype: DType) -> View:
        """Sums as [tile][row][column]."""
        tile = self.form.tile
        return self.k.view(
            pointer,
            computed(dtype),
            tile.rows * tile.columns,
            tile.columns,
            1,
        )

    def masks(self) -> list[Value | None]:
        """For each vector of a panel, its lanes that there are."""
        tile = self.form.tile
        if not self.form.masked:
            return [None] * tile.vectors
        wide = self.form.wide(self.e.channels, self.e.outputs)
        return [self.k.first_lanes(wide - j * tile.lanes, tile.lanes) for j in range(tile.vectors)]


@dataclass(frozen=True)
class SumSizes(Generic[N]):
    """What ``WeightSums`` takes beside the extents, and before its axes."""

    images: N
    height: N  # of the inputs
    width: N
    image_stride: N
    row_stride: N
    pixel_stride: N
    gradient_image_stride: N
    gradient_row_stride: N
    gradient_pixel_stride: N
    block: N  # pixels
    tap_tiles_at_once: N  # that one thread goes through with the same block
    panels_at_once: N
    scratch_bytes: N  # of a thread


@dataclass(frozen=True)
class WeightSums(KernelCode):
    """Arguments: inputs, gradients; sums, scratch. Sizes: ``Extents``, ``SumSizes``, axes."""

    dtype: DType
    form: Form

    pointers = 4
    sizes = len(fields(Extents)) + len(fields(SumSizes)) + 2 * AXIS_SIZES

    def emit(self, k: Kernel) -> None:
        common, own = len(fields(Extents)), len(fields(SumSizes))
        e: Extents[Value] = Extents(*k.sizes[:common])
        s: SumSizes[Value] = SumSizes(*k.sizes[common : common + own])
        axes = k.sizes[common + own :]
        rows, columns = windows(axes[:AXIS_SIZES]), windows(axes[AXIS_SIZES:])
        tiles = Tiles(k, self.form, e)
        total = s.images * rows.count * columns.count
        blocks = (total + s.block - 1) // s.block
        tap_chunks = (tiles.tap_tiles + s.tap_tiles_at_once - 1) // s.tap_tiles_at_once
        panel_chunks = (tiles.panels + s.panels_at_once - 1) // s.panels_at_once
        scratch = k.view(k.pointers[3], DType.UINT8, 1).at(k.thread * s.scratch_bytes)
        tables = Indirection.within(k, scratch, s.block)
        found = tiles.tap_tiles * self.form.taps_in_tile  # addresses of inputs, then of gradients
        nothing = k.view(tables.addresses.at(found + 1).pointer, computed(self.dtype), 1)
        zeros = k.maximum(e.channels, self.form.tile.rows * self.form.tile.columns)
        if self.form.depthwise:
            zeros = k.maximum(e.outputs, zeros)
        lanes = self.form.tile.lanes
        zeros = (zeros + 15) // 16 * 16  # whole cache lines
        copied = k.view(nothing.at(zeros).pointer, computed(self.dtype), self.form.tile.columns, 1)
        with k.loop(0, zeros, lanes) as i:
            nothing.store(k.zero(nothing.type.with_lanes(lanes)), i)
        with k.parallel(e.splits * e.groups * tap_chunks * panel_chunks) as item:
            panel_chunk, rest = item % panel_chunks, item // panel_chunks
            tap_chunk, rest = rest % tap_chunks, rest // tap_chunks
            group, split = rest % e.groups, rest // e.groups
            first_tap = tap_chunk * s.tap_tiles_at_once
            first_panel = panel_chunk * s.panels_at_once
            part = _Part(
                k, self, tiles, s, tables, nothing.address(0), copied, found, split, group,
                (first_tap, k.minimum(first_tap + s.tap_tiles_at_once, tiles.tap_tiles)),
                (first_panel, k.minimum(first_panel + s.panels_at_once, tiles.panels)),
            )  # fmt: skip
            first_block = blocks * split // e.splits
            with k.loop(first_block, blocks * (split + 1) // e.splits) as block:
                first = block * s.block
                count = k.minimum(s.block, total - first)
                part.note(rows, columns, first, count)
                part.add(count, block.equals(first_block))


@dataclass(frozen=True)
class _Part:
    """Some taps and panels over one part of the pixels: what one thread does."""

    k: Kernel
    code: WeightSums
    tiles: Tiles
    s: SumSizes[Value]
    tables: Indirection
    nothing: Value
    copied: View  # a block's vectors as [pixel][column]
    found: Value  # the row of the table where gradients are noted
    split: Value
    group: Value
    taps: tuple[Value, Value]
    panels: tuple[Value, Value]

    def note(self, rows: Windows, columns: Windows, first: Value, count: Value) -> None:
        """Note where a block's pixels find their inputs and their gradients."""
        k, s, e, in_tile = self.k, self.s, self.tiles.e, self.code.form.taps_in_tile
        lanes = k.target.lanes(8)
        padded = (count + (lanes - 1)) // lanes * lanes
        view = k.view(k.pointers[0], self.code.dtype, s.image_stride, s.row_stride, s.pixel_stride)
        image = Image(view.shifted(self.group * e.channels), s.height, s.width)
        self.tables.locate(image, rows, columns, first, count, padded)
        start, stop = (tap * in_tile for tap in self.taps)
        self.tables.find(image, rows, columns, start, stop, padded, self.nothing)
        gradients = k.view(k.pointers[1], self.code.dtype, 1).at(self.group * e.outputs)
        strides = (s.gradient_image_stride, s.gradient_row_stride, s.gradient_pixel_stride)
        with k.loop(0, padded, lanes) as i:
            place = k.zero(i.type.with_lanes(lanes))
            for what, stride in zip((IMAGE, ROW, COLUMN), strides, strict=True):
                place = place + self.tables.places.load(what, i, lanes=lanes) * stride
            address = place * self.code.dtype.itemsize + gradients.address(0)
            self.tables.addresses.store(address, self.found, i)

    def add(self, count: Value, is_first: Value) -> None:
        """Add a block's products to all sums of this part."""
        k, tiles = self.k, self.tiles
        sums = tiles.view(k.pointers[2], self.code.dtype)
        with k.loop(*self.panels) as panel, k.loop(*self.taps) as tap_tile:
            column = tiles.first_column(panel)
            if not self.code.form.few_channels:
                self._copy(count, tap_tile, column)
            with k.loop(0, tiles.row_tiles) as row_tile:
                self._tile(sums, count, is_first, panel, tap_tile, row_tile, column)

    def _copy(self, count: Value, tap: Value, column: Value) -> None:
        """A block's vectors side by side, so that they stay in the cache for all rows."""
        tile = self.code.form.tile
        with self.k.loop(0, count) as i:
            line = self.tables.pixel_at(tap, i, self.code.dtype).at(column)
            for j, mask in enumerate(self.tiles.masks()):
                vector = line.load(j * tile.lanes, lanes=tile.lanes, mask=mask)
                self.copied.store(vector, i, j * tile.lanes)

    def _tile(
        self,
        sums: View,
        count: Value,
        is_first: Value,
        panel: Value,
        tap_tile: Value,
        row_tile: Value,
        column: Value,
    ) -> None:
        """Add a block's products to one tile."""
        k, tiles, tile = self.k, self.tiles, self.code.form.tile
        kept = sums.at(tiles.place(self.split, self.group, panel, tap_tile, row_tile))
        kept = kept.strided(tile.columns, 1)
        start = k.pointer_at(is_first.select(self.nothing, kept.address()))
        before = k.view(start, kept.dtype, tile.columns, 1)
        results = [
            [before.load(i, j * tile.lanes, lanes=tile.lanes) for j in range(tile.vectors)]
            for i in range(tile.rows)
        ]
        masks = tiles.masks()

        def add_pixel(i: Value, results: Results) -> Results:
            return self._pixel(i, results, tap_tile, row_tile, column, masks)

        results = carry_tile(k, tile, k.index(0), count, results, add_pixel)
        for i, vectors in enumerate(results):
            for j, vector in enumerate(vectors):
                kept.store(vector, i, j * tile.lanes)

    def _pixel(
        self,
        i: Value,
        results: Results,
        tap_tile: Value,
        row_tile: Value,
        column: Value,
        masks: Sequence[Value | None],
    ) -> Results:
        """The products of one pixel."""
        form, dtype, lanes = self.code.form, self.code.dtype, self.code.form.tile.lanes
        gradient = self.tables.pixel_at(self.found, i, dtype)
        if not form.few_channels:
            rows = gradient.at(self.tiles.first_row(row_tile))
            numbers = [rows.load(row) for row in range(form.tile.rows)]
            vectors = [self.copied.load(i, j * lanes, lanes=lanes) for j in range(len(masks))]
            return self._products(numbers, vectors, results)
        taps = [
            self.tables.pixel_at(tap_tile * form.taps_in_tile + t, i, dtype)
            for t in range(form.taps_in_tile)
        ]
        line = gradient.at(column)
        vectors = [line.load(j * lanes, lanes=lanes, mask=mask) for j, mask in enumerate(masks)]
        if not form.depthwise:
            numbers = [tap.load(c) for tap in taps for c in range(form.few_channels)]
            return self._products(numbers, vectors, results)
        inputs = [
            [tap.load(column + j * lanes, lanes=lanes, mask=mask) for j, mask in enumerate(masks)]
            for tap in taps
        ]
        return [
            [self.k.fma(*each) for each in zip(of_tap, vectors, sums, strict=True)]
            for of_tap, sums in zip(inputs, results, strict=True)
        ]

    def _products(
        self, numbers: Sequence[Value], vectors: Sequence[Value], results: Results
    ) -> Results:
        return add_steps(self.k, [0], lambda row, _: numbers[row], lambda _, j: vectors[j], results)


@dataclass(frozen=True)
class WeightTotals(KernelCode):
    """Add the sums of all parts. Arguments: sums; weight gradient.

    Sizes: ``Extents``, then the strides of outputs, rows, columns and channels of the gradient.
    """

    dtype: DType
    form: Form

    pointers = 2
    sizes = len(fields(Extents)) + 4

    def emit(self, k: Kernel) -> None:
        e: Extents[Value] = Extents(*k.sizes[: len(fields(Extents))])
        target = k.view(k.pointers[1], self.dtype, *k.sizes[len(fields(Extents)) :])
        tiles = Tiles(k, self.form, e)
        tall = e.channels if self.form.few_channels else e.outputs
        with k.parallel(e.groups * tall * tiles.taps) as item:
            tap, rest = item % tiles.taps, item // tiles.taps
            row, group = rest % tall, rest // tall
            tap_down, tap_across = tap // e.taps_across, tap % e.taps_across
            with k.loop(0, tiles.panels) as panel:
                first = tiles.first_column(panel)
                for j, total in enumerate(self._totals(k, tiles, group, panel, tap, row)):
                    column = first + j * self.form.tile.lanes
                    mask = tiles.masks()[j]
                    if self.form.few_channels:
                        output = target.at(group * e.outputs + column, tap_down, tap_across, row)
                        steps = [target.strides[0] * lane for lane in range(total.lanes)]
                        output.scatter(total, steps, mask)
                    else:
                        line = target.at(group * e.outputs + row, tap_down, tap_across)
                        line.strided(1).store(total, column, mask=mask)

    def _totals(
        self, k: Kernel, tiles: Tiles, group: Value, panel: Value, tap: Value, row: Value
    ) -> list[Value]:
        """A panel's vectors of one row, added over all parts in order."""
        form = self.form
        if form.few_channels:
            tap_tile, row_tile = tap // form.taps_in_tile, k.index(0)
            row = tap % form.taps_in_tile * form.few_channels + row
        else:
            tap_tile = tap
            row_tile = k.minimum(row // form.tile.rows, tiles.row_tiles - 1)
            row = row - tiles.first_row(row_tile)
        sums = tiles.view(k.pointers[0], self.dtype)
        sums = sums.at(tiles.place(k.index(0), group, panel, tap_tile, row_tile), row)
        per_split, lanes = tiles.per_split(), form.tile.lanes

        def add(split: Value, totals: list[Value]) -> list[Value]:
            part = sums.at(split * per_split)
            return [
                total + part.load(0, 0, j * lanes, lanes=lanes) for j, total in enumerate(totals)
            ]

        zero = k.zero(value_type(self.dtype, lanes))
        return k.carry(0, tiles.e.splits, [zero] * form.tile.vectors, add)
