"""The adjoint of a convolution whose inputs have few channels: sums that are spread over rows.

With channels last, what one pixel x of gy adds to one row of the result, by one row of the weight,
lies side by side: ``taps x channels`` numbers (the "columns" below). So they fill vectors though
the channels are few, and lie ``stride x channels`` further on for the next pixel::

    for each row of the result:
        for each tile of pixels x: sum, over the weight's rows and gy's channels, its columns;
            add them to a line in scratch memory, pixel by pixel
        store the line without its padding
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Generic, TypeVar

from minigraph.backend import Slot
from minigraph.backends.llvm.call import Call
from minigraph.backends.llvm.convolution.pack import computed
from minigraph.backends.llvm.convolution.tile import (
    Results,
    Tile,
    add_products,
    carry_tile,
    zeros,
)
from minigraph.backends.llvm.kernels.epilogue import Epilogue, EpilogueWriter
from minigraph.backends.llvm.language.code import KernelCode
from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.types import value_type
from minigraph.backends.llvm.language.value import Value
from minigraph.backends.llvm.language.view import Index, View
from minigraph.ir.spec import DType

N = TypeVar("N")  # int where a call is made, Value within the kernel


@dataclass(frozen=True)
class SpreadSizes(Generic[N]):
    """Sizes of a call; strides in elements."""

    images: N
    height: N  # of the results
    width: N
    in_height: N  # of gy
    in_width: N
    in_channels: N
    image_stride: N
    row_stride: N
    kernel_rows: N
    stride_down: N
    top: N
    left: N
    line: N  # elements of scratch memory of a thread


@dataclass(frozen=True)
class RowSpread(KernelCode):
    """Arguments: gy, packed weights, the epilogue's; output, scratch.

    Sizes: ``SpreadSizes``, the epilogue's strides. gy has ``tile.rows`` pixels in a row at least.
    """

    dtype: DType
    tile: Tile  # rows are neighbouring pixels of gy
    channels: int  # of the results
    columns: int
    step: int  # elements of the line from a pixel of gy to the next
    pixel_stride: int  # of gy
    epilogue: Epilogue

    @property
    def pointers(self) -> int:
        return 3 + self.epilogue.pointers

    @property
    def sizes(self) -> int:
        return len(fields(SpreadSizes)) + self.epilogue.sizes

    def emit(self, k: Kernel) -> None:
        own = len(fields(SpreadSizes))
        s: SpreadSizes[Value] = SpreadSizes(*k.sizes[:own])
        writer = self.epilogue.writer(k, k.pointers[2:-1], k.sizes[own:])
        line = k.view(k.pointers[-1], computed(self.dtype), 1).at(k.thread * s.line)
        zero = k.zero(value_type(self.dtype, self.tile.lanes))
        with k.parallel(s.images * s.height) as item:
            image, row = item // s.height, item % s.height
            with k.loop(0, s.line, self.tile.lanes) as i:
                line.store(zero, i)
            for panel in range(-(-self.columns // self.tile.columns)):
                self._panel(k, s, line, image, row, panel)
            self._finish(k, s, line, writer.at(image, row))

    def _panel(
        self, k: Kernel, s: SpreadSizes[Value], line: View, image: Value, row: Value, panel: int
    ) -> None:
        """Add a panel's columns of all pixels to the line.

        Row h of the result takes from row ``last - j`` of gy by the weight's row
        ``first_tap + j * stride``, where those exist.
        """
        tile = self.tile
        last, first_tap = (row + s.top) // s.stride_down, (row + s.top) % s.stride_down
        start = k.maximum(last + 1 - s.in_height, 0)
        taps = (k.maximum(s.kernel_rows - first_tap, 0) + s.stride_down - 1) // s.stride_down
        stop = k.minimum(last + 1, taps)
        gy = k.view(
            k.pointers[0], self.dtype, s.image_stride, s.row_stride, self.pixel_stride, 1
        ).at(image)
        packed = k.view(k.pointers[1], computed(self.dtype), tile.columns, 1)
        with k.loop(0, s.in_width, tile.rows) as wanted:
            column = k.minimum(wanted, s.in_width - tile.rows)

            def add_row(j: Value, results: Results, column: Value = column) -> Results:
                numbers = gy.at(0, last - j, column).strided(self.pixel_stride, 1).settled()
                tap = panel * s.kernel_rows + first_tap + j * s.stride_down
                vectors = packed.at(tap * s.in_channels).settled()

                def number(i: int, channel: Index) -> Value:
                    return numbers.load(i, channel)

                def vector(channel: Index, j: int) -> Value:
                    return vectors.load(channel, j * tile.lanes, lanes=tile.lanes)

                return add_products(k, tile, 0, s.in_channels, number, vector, results)

            results = carry_tile(k, tile, start, stop, zeros(k, tile, self.dtype), add_row)
            for i, vectors in enumerate(results):
                # The last tile ends with the row: what it has in common with others counts once.
                with k.when(column + i >= wanted):
                    place = line.at((column + i) * self.step + panel * tile.columns)
                    self._add(k, place, vectors, self.columns - panel * tile.columns)

    def _add(self, k: Kernel, place: View, vectors: list[Value], columns: int) -> None:
        """Add one pixel's columns; nothing (not even 0 times infinity) to what follows them."""
        lanes = self.tile.lanes
        for j, vector in enumerate(vectors):
            present = columns - j * lanes
            if present <= 0:
                break
            if present < lanes:
                vector = k.first_lanes(present, lanes).select(vector, k.zero(vector.type))
            place.store(place.load(j * lanes, lanes=lanes) + vector, j * lanes)

    def _finish(self, k: Kernel, s: SpreadSizes[Value], line: View, writer: EpilogueWriter) -> None:
        lanes = self.tile.lanes
        with k.loop(0, s.width) as column:
            pixel = line.at((column + s.left) * self.channels)
            for c in range(0, self.channels, lanes):
                present = self.channels - c
                mask = k.first_lanes(present, lanes) if present < lanes else None
                writer.store(pixel.load(c, lanes=lanes), (0, 0, column), c, mask)


@dataclass(frozen=True)
class SpreadPack(KernelCode):
    """Pack a weight as ``[panel][row][input channel][column]``. Arguments: weight; packed.

    Sizes: the kernel's rows, input channels, then the weight's strides of channels of gy, rows,
    taps across and channels of results. Columns that only fill a panel up are zero.
    """

    dtype: DType
    panel: int  # columns
    channels: int
    columns: int

    pointers = 2
    sizes = 6

    def emit(self, k: Kernel) -> None:
        rows, inputs, *strides = k.sizes
        weight = k.view(k.pointers[0], self.dtype, *strides)
        packed = k.view(k.pointers[1], computed(self.dtype), self.panel, 1)
        panels = -(-self.columns // self.panel)
        zero = k.zero(packed.type)
        with k.parallel(panels * rows * inputs) as item:
            channel, rest = item % inputs, item // inputs
            row, first = rest % rows, rest // rows * self.panel
            line = packed.at(item).strided(1)
            there = k.minimum(self.columns - first, self.panel)
            with k.loop(0, there) as i:
                tap, output = (first + i) // self.channels, (first + i) % self.channels
                line.store(weight.load(channel, row, tap, output), i)
            with k.loop(there, self.panel) as i:
                line.store(zero, i)


def spread_pack_call(
    w: Slot, packed: Slot, panel: int, kernel: tuple[int, int], inputs: int, channels: int
) -> Call:
    """Pack a weight (K,C,R,S)."""
    out, inner, down, across = w.strides
    code = SpreadPack(w.spec.dtype, panel, channels, kernel[1] * channels)
    sizes = (kernel[0], inputs, out, down, across, inner)
    return Call(code, (w,), (packed,), sizes, prepares=True)
