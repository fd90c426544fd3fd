"""A few rows of an image, copied into scratch memory with the zeros of the padding around them.

With channels last, what one row of a kernel reads lies side by side: ``taps x channels`` numbers
(the "steps" below), and the next window's start ``stride x channels`` further on. So where channels
are few a product can take a kernel's row as one long run of numbers, once the padding is really
there. Every input row of a block of output rows is copied once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from minigraph.backend import Slot
from minigraph.backends.llvm.convolution.pack import computed
from minigraph.backends.llvm.convolution.tile import lanes_of
from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.types import UINT64, value_type
from minigraph.backends.llvm.language.value import Value
from minigraph.backends.llvm.language.view import View
from minigraph.ir.spec import DType
from minigraph.ops.geometry import ConvGeometry

N = TypeVar("N", int, Value)  # int where a call is made, Value within the kernel

_LINES_BYTES = 16 << 10  # of a block, which stays in the first-level cache
_ITEMS = 8  # blocks of each thread, at least
_SLACK = 16  # elements: what vectors may run over the end of a line


@dataclass(frozen=True)
class Window:
    """What a kernel is specialised for: the steps of one of a kernel's rows."""

    channels: int
    taps: int  # across
    stride: int  # across
    dense: bool  # the pixels of a row follow each other without gaps

    @property
    def steps(self) -> int:
        return self.taps * self.channels

    @property
    def pixel(self) -> int:
        """Elements from one window to the next."""
        return self.stride * self.channels


@dataclass(frozen=True)
class LineSizes(Generic[N]):
    """Sizes of images and of the copies of their rows. Strides are in elements."""

    images: N
    height: N  # of the inputs
    width: N  # that windows reach
    image_stride: N
    row_stride: N
    pixel_stride: N
    top: N  # rows of padding
    left: N
    out_height: N
    out_width: N
    kernel_rows: N
    stride_down: N
    dilation_down: N
    block: N  # output rows
    line: N  # elements from line to line
    scratch_bytes: N  # of a thread

    def lines_of(self, rows: N) -> N:
        """Input rows that so many output rows read."""
        reach = (rows - 1) * self.stride_down
        return reach + (self.kernel_rows - 1) * self.dilation_down + 1


def window_of(g: ConvGeometry, x: Slot | None = None) -> Window:
    """The window of a convolution; ``x`` is its input, where that has its place."""
    dense = x is None or g.width == 1 or x.strides[3] == g.in_channels
    return Window(g.in_channels, g.kernel[1], g.stride[1], dense)


def rows_reach(g: ConvGeometry) -> bool:
    """Whether the windows of a convolution can be read from such lines."""
    return g.groups == 1 and g.dilation[1] == 1 and min(*g.padding[0], *g.padding[1]) >= 0


def line_elements(g: ConvGeometry) -> int:
    """Elements from line to line."""
    pixels = (g.out_width - 1) * g.stride[1] + g.kernel[1]
    return -(-pixels * g.in_channels // _SLACK) * _SLACK + _SLACK


def lines_needed(g: ConvGeometry, rows: int) -> int:
    """Input rows that so many output rows read."""
    return (rows - 1) * g.stride[0] + (g.kernel[0] - 1) * g.dilation[0] + 1


def block_rows(g: ConvGeometry, dtype: DType) -> int:
    """Output rows whose input rows stay in the first-level cache; one at least."""
    line_bytes = line_elements(g) * computed(dtype).itemsize
    rows = 1
    while rows < g.out_height and lines_needed(g, rows + 1) * line_bytes <= _LINES_BYTES:
        rows += 1
    return rows


def balanced_block(g: ConvGeometry, dtype: DType, threads: int) -> int:
    """The same, but fewer where that gives threads their share. No sum may depend on it."""
    rows = block_rows(g, dtype)
    while rows > 1 and g.batch * -(-g.out_height // rows) < _ITEMS * threads:
        rows = -(-rows // 2)
    return rows


def scratch_bytes(g: ConvGeometry, dtype: DType, rows: int) -> int:
    """Memory for the lines of a block of output rows, in whole cache lines."""
    return -(-lines_needed(g, rows) * line_elements(g) * computed(dtype).itemsize // 64) * 64


def line_sizes(g: ConvGeometry, x: Slot, rows: int) -> LineSizes[int]:
    """Sizes for blocks of so many output rows."""
    image, _, row, pixel = x.strides
    left = g.padding[1][0]
    reach = max((g.out_width - 1) * g.stride[1] + g.kernel[1] - left, 0)
    return LineSizes(
        g.batch, g.height, min(g.width, reach), image, row, pixel,
        g.padding[0][0], left, g.out_height, g.out_width,
        g.kernel[0], g.stride[0], g.dilation[0],
        rows, line_elements(g), scratch_bytes(g, x.spec.dtype, rows),
    )  # fmt: skip


@dataclass(frozen=True)
class Lines:
    """The lines of one block, in scratch memory of this thread."""

    k: Kernel
    window: Window
    s: LineSizes[Value]
    image: View  # [image][row][pixel]
    copies: View  # [line][element]

    @staticmethod
    def of(k: Kernel, dtype: DType, window: Window, s: LineSizes[Value]) -> Lines:
        """Inputs are the kernel's first argument, scratch memory is its last."""
        image = k.view(k.pointers[0], dtype, s.image_stride, s.row_stride, s.pixel_stride)
        memory = k.view(k.pointers[-1], DType.UINT8, 1).at(k.thread * s.scratch_bytes)
        return Lines(k, window, s, image, k.view(memory.pointer, computed(dtype), s.line, 1))

    @contextmanager
    def blocks(self) -> Iterator[tuple[Value, Value, Value]]:
        """This thread's blocks of output rows, copied: image, first row, number of rows."""
        k, s = self.k, self.s
        down = (s.out_height + s.block - 1) // s.block
        with k.parallel(s.images * down) as item:
            image, first = item // down, item % down * s.block
            rows = k.minimum(s.block, s.out_height - first)
            self.fill(image, first, rows)
            yield image, first, rows

    def fill(self, image: Value, first: Value, rows: Value) -> None:
        """Copy what ``rows`` output rows from the first on read."""
        k, s = self.k, self.s
        lanes = lanes_of(k.target, self.image.dtype)
        zero = k.zero(value_type(self.image.dtype, lanes))
        lead = s.left * self.window.channels
        with k.loop(0, s.lines_of(rows)) as i:
            row = first * s.stride_down + i - s.top
            line = self.copies.at(i).strided(1)
            with k.loop(0, lead, lanes) as j:
                line.store(zero, j)
            is_there = row.to(UINT64) < s.height.to(UINT64)
            width = is_there.select(s.width, 0)
            self._copy(self.image.at(image, row), line.at(lead), width)
            with k.loop(lead + width * self.window.channels, s.line - _SLACK, lanes) as j:
                line.store(zero, j)

    def _copy(self, source: View, line: View, width: Value) -> None:
        """One row's pixels; vectors may write zeros behind them."""
        k, channels = self.k, self.window.channels
        if self.window.dense:
            row = source.strided(1)
            lanes = lanes_of(k.target, source.dtype)

            def copy(i: Value, mask: Value | None) -> None:
                line.store(row.load(i, lanes=lanes, mask=mask), i)

            k.vectors(width * channels, lanes, copy)
            return
        with k.loop(0, width) as i:
            pixel, target = source.strided(source.strides[2], 1).at(i), line.at(i * channels)
            for c in range(channels):
                target.store(pixel.load(0, c), c)

    def windows(self, row: Value, tap_row: Value, column: Value) -> View:
        """What windows of the block's output row read by one of the kernel's rows.

        Element ``i * window.pixel + step`` is the number that window ``column + i`` takes at a
        step.
        """
        line = row * self.s.stride_down + tap_row * self.s.dilation_down
        return self.copies.at(line, column * self.window.pixel).strided(1)
