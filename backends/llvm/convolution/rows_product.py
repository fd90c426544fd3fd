"""Convolution of images with few channels: sums over the rows of ``rows_lines.py``.

``LineProduct`` is what such kernels share; ``RowProduct`` takes vectors of output channels:

::

    for each block of output rows:
        copy the input rows that it reads, padding included
        for each panel of output channels, output row, and tile of its pixels:
            for each of the kernel's rows: add the products of all its steps (taps x channels)
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, fields

from minigraph.backends.llvm.convolution.pack import computed
from minigraph.backends.llvm.convolution.rows_lines import Lines, LineSizes, Window
from minigraph.backends.llvm.convolution.tile import (
    Results,
    Tile,
    add_steps,
    carry_tile,
    zeros,
)
from minigraph.backends.llvm.kernels.epilogue import Epilogue, EpilogueWriter
from minigraph.backends.llvm.language.code import KernelCode
from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.value import Value
from minigraph.backends.llvm.language.view import Index
from minigraph.ir.spec import DType


@dataclass(frozen=True)
class LineProduct(KernelCode):
    """Arguments: inputs, packed panels, the epilogue's; output, scratch.

    Sizes: ``LineSizes``, output channels, the epilogue's strides.
    """

    dtype: DType
    window: Window
    tile: Tile
    epilogue: Epilogue

    @property
    def pointers(self) -> int:
        return 3 + self.epilogue.pointers

    @property
    def sizes(self) -> int:
        return len(fields(LineSizes)) + 1 + self.epilogue.sizes

    @property
    @abstractmethod
    def channels(self) -> int:
        """Output channels of a tile."""

    def emit(self, k: Kernel) -> None:
        own = len(fields(LineSizes))
        s: LineSizes[Value] = LineSizes(*k.sizes[:own])
        outputs, strides = k.sizes[own], k.sizes[own + 1 :]
        writer = self.epilogue.writer(k, k.pointers[2:-1], strides)
        lines = Lines.of(k, self.dtype, self.window, s)
        with (
            lines.blocks() as (image, first, rows),
            k.loop(0, outputs, self.channels) as channel,
            k.loop(0, rows) as row,
        ):
            place = writer.at(image, first + row)
            self.emit_row(k, lines, row, channel, outputs - channel, place)

    @abstractmethod
    def emit_row(
        self, k: Kernel, lines: Lines, row: Value, channel: Value, left: Value, out: EpilogueWriter
    ) -> None:
        """A row of outputs, tile by tile, from a channel on; so many channels are left."""


@dataclass(frozen=True)
class RowProduct(LineProduct):
    """Tiles of neighbouring output pixels (rows) and vectors of output channels.

    There are ``tile.rows`` output pixels in a row at least. The last tile of a row starts where it
    ends with the row.
    """

    whole_panels: bool  # no panel is filled up

    @property
    def channels(self) -> int:
        return self.tile.columns

    def emit_row(
        self, k: Kernel, lines: Lines, row: Value, channel: Value, left: Value, out: EpilogueWriter
    ) -> None:
        s, tile, steps = lines.s, self.tile, self.window.steps
        masks: list[Value | None] = [None] * tile.vectors
        if not self.whole_panels:
            masks = [k.first_lanes(left - j * tile.lanes, tile.lanes) for j in range(tile.vectors)]
        packed = k.view(k.pointers[1], computed(self.dtype), steps * tile.columns, tile.columns, 1)
        weights = packed.at(channel // tile.columns * s.kernel_rows)
        with k.loop(0, s.out_width, tile.rows) as start:
            column = k.minimum(start, s.out_width - tile.rows)

            def add_row(tap_row: Value, results: Results, column: Value = column) -> Results:
                numbers = lines.windows(row, tap_row, column).settled()
                vectors = weights.at(tap_row).strided(tile.columns, 1).settled()

                def number(i: int, step: Index) -> Value:
                    return numbers.at(i * self.window.pixel).load(step)

                def vector(step: Index, j: int) -> Value:
                    return vectors.load(step, j * tile.lanes, lanes=tile.lanes)

                def add_tap(first: Value, results: Results) -> Results:
                    # No more steps at once: LLVM would keep what neighbouring windows share.
                    taps = [first + c for c in range(self.window.channels)]
                    return add_steps(k, taps, number, vector, results)

                by = self.window.channels
                return carry_tile(k, tile, 0, steps, results, add_tap, by)

            before = zeros(k, tile, self.dtype)
            results = carry_tile(k, tile, k.index(0), s.kernel_rows, before, add_row)
            for i, vectors in enumerate(results):
                for j, (value, mask) in enumerate(zip(vectors, masks, strict=True)):
                    out.store(value, (0, 0, column + i), channel + j * tile.lanes, mask)
