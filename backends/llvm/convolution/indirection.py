"""Where each pixel of a block finds its inputs: a table of addresses, one a tap and pixel.

Products read their rows through this table (Dukhan, "The Indirect Convolution Algorithm", 2019), so
that one kernel serves every stride, dilation and padding, and a tile may run on from one row of an
image to the next. Where a window reaches into the padding the address is that of some zeros.
"""

from __future__ import annotations

from dataclasses import dataclass

from minigraph.backends.llvm.convolution.axis import Windows
from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.types import UINT64
from minigraph.backends.llvm.language.value import Value
from minigraph.backends.llvm.language.view import Index, View
from minigraph.ir.spec import DType

IMAGE, ROW, COLUMN, INPUT_ROW, INPUT_COLUMN, ADDRESS = range(6)
PLACES = 6
"""What is noted of a pixel: its output's place; its first tap's input and that one's address."""

_SLACK = 8  # words: what a vector may run over the end of a table
_OUTSIDE = -(1 << 40)  # a row that no window reaches from the image


@dataclass(frozen=True)
class Image:
    """What windows read: images of pixels with neighbouring channels."""

    view: View  # [image][row][column] with strides in elements
    height: Value
    width: Value

    @property
    def itemsize(self) -> int:
        return self.view.dtype.itemsize


def words_of_block(block: int, taps: int) -> int:
    """64-bit words of the tables for a block of pixels."""
    return (PLACES + taps) * (block + _SLACK)


@dataclass(frozen=True)
class Indirection:
    """The tables of one block of pixels, in scratch memory of this thread."""

    k: Kernel
    places: View  # [what][pixel]
    addresses: View  # [tap][pixel]

    @staticmethod
    def within(k: Kernel, scratch: View, block: Value) -> Indirection:
        """Tables for up to ``block`` pixels at the start of some scratch memory."""
        places = k.view(scratch.pointer, DType.INT64, block + _SLACK, 1)
        return Indirection(k, places, places.at(PLACES))

    def fill(
        self,
        image: Image,
        rows: Windows,
        columns: Windows,
        first: Value,
        count: Value,
        granule: int,
        nothing: Value,
    ) -> None:
        """Note ``count`` pixels from pixel ``first`` on; up to whole granules, others read zeros.

        Pixels are numbered by image, row, column of the windows. ``nothing`` is the address of
        zeros.
        """
        padded = (count + (granule - 1)) // granule * granule
        self.locate(image, rows, columns, first, count, padded)
        self.find(image, rows, columns, 0, self.k.index(rows.taps) * columns.taps, padded, nothing)

    def find(
        self,
        image: Image,
        rows: Windows,
        columns: Windows,
        first_tap: Index,
        last_tap: Index,
        padded: Value,
        nothing: Value,
    ) -> None:
        """Note the addresses of located pixels for some taps; those that are none read zeros."""
        k, lanes = self.k, self.k.target.lanes(8)
        _, row_stride, pixel_stride = image.view.strides
        with k.loop(first_tap, last_tap) as tap:
            down = tap // columns.taps * rows.tap_step
            across = tap % columns.taps * columns.tap_step
            step = (down * row_stride + across * pixel_stride) * image.itemsize
            exists = tap < k.index(rows.taps) * columns.taps
            with k.loop(0, padded, lanes) as i:
                row, column, address = (
                    self.places.load(what, i, lanes=lanes)
                    for what in (INPUT_ROW, INPUT_COLUMN, ADDRESS)
                )
                inside = self._inside(row + down, image.height)
                inside = inside & self._inside(column + across, image.width) & exists
                self.addresses.store(inside.select(address + step, nothing), tap, i)

    def _inside(self, position: Value, size: Value) -> Value:
        """0 <= position < size: as unsigned numbers, negative ones are large."""
        return position.to(UINT64) < size.to(UINT64)

    def locate(
        self,
        image: Image,
        rows: Windows,
        columns: Windows,
        first: Value,
        count: Value,
        padded: Value,
    ) -> None:
        """Row by row of the windows, in vectors that may run over the end of a row: the next row
        overwrites what is too much."""
        k, lanes = self.k, self.k.target.lanes(8)
        across = k.index(columns.count)
        numbers = k.lane_numbers(lanes)
        output_steps = numbers * columns.output_step
        input_steps = numbers * columns.input_step
        address_steps = input_steps * image.view.strides[2] * image.itemsize
        start = first // across

        def note_row(number: Value, row: Value, column: Value, done: Value) -> Value:
            """Note the windows from one of a row on; how many are noted then."""
            input_row = row * rows.input_step + rows.first_input
            length = k.minimum(across - column, count - done)
            with k.loop(0, length, lanes) as i:
                window = column + i
                input_column = window * columns.input_step + columns.first_input
                noted = (
                    number.spread(lanes),
                    (row * rows.output_step + rows.first_output).spread(lanes),
                    window * columns.output_step + columns.first_output + output_steps,
                    input_row.spread(lanes),
                    input_column + input_steps,
                    image.view.address(number, input_row, input_column) + address_steps,
                )
                for what, value in enumerate(noted):
                    self.places.store(value, what, done + i)
            return done + length

        place = [start // rows.count, start % rows.count, first % across, k.index(0)]

        def note(_: Value, carried: list[Value]) -> list[Value]:
            number, row, column, done = carried
            done = note_row(number, row, column, done)
            ends = (row + 1).equals(rows.count)
            return [ends.select(number + 1, number), ends.select(0, row + 1), k.index(0), done]

        lines = (first % across + count + across - 1) // across
        k.carry(0, lines, place, note)
        with k.loop(count, padded) as i:
            self.places.store(k.index(_OUTSIDE), INPUT_ROW, i)

    def pixel(self, i: Value) -> tuple[Value, Value, Value]:
        """Image, row and column of a pixel's output."""
        image, row, column = (self.places.load(what, i) for what in (IMAGE, ROW, COLUMN))
        return image, row, column

    def pixel_at(self, tap: Value, i: Value, dtype: DType) -> View:
        """The channels that a pixel reads by a tap."""
        return self.k.view(self.k.pointer_at(self.addresses.load(tap, i)), dtype, 1)
