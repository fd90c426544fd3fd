"""Convolution of images with one channel, by vectors of neighbouring output pixels.

Vectors of a few output channels (``rows.py``) would leave most of their lanes empty. But with one
channel, and windows one pixel apart, what neighbouring windows take at a tap lies side by side, and
so lanes can be pixels::

    result[channel][pixel] += weight(channel, tap) * x[pixel + tap]        weight: a number

The results of a tile are transposed in registers before its epilogue, as channels lie last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from minigraph.backend import Algorithm
from minigraph.backends.llvm.call import Binding, Call, Context
from minigraph.backends.llvm.convolution.method import Method, Problem
from minigraph.backends.llvm.convolution.pack import computed
from minigraph.backends.llvm.convolution.rows import line_algorithm, line_calls
from minigraph.backends.llvm.convolution.rows_lines import Lines, rows_reach, window_of
from minigraph.backends.llvm.convolution.rows_product import LineProduct
from minigraph.backends.llvm.convolution.tile import (
    Results,
    Tile,
    add_steps,
    carry_tile,
    lanes_of,
    zeros,
)
from minigraph.backends.llvm.kernels.epilogue import Epilogue, EpilogueWriter
from minigraph.backends.llvm.kernels.transposition import transposed
from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.value import Value
from minigraph.backends.llvm.language.view import Index
from minigraph.backends.llvm.target import Target
from minigraph.ir.spec import DType
from minigraph.lowering.epilogue import anchor_of, anchor_operands

_MOST_CHANNELS = 8  # of a tile: what is transposed at once
_MOST_VECTORS = 4
_MOST_TAPS = 16  # across
_ATTAINED = 0.85  # of the multiply-adds that could be done
_TRANSPOSE_AND_STORE = 120  # multiply-adds that could be done meanwhile, a vector of pixels


@dataclass(frozen=True)
class PixelProduct(LineProduct):
    """Tiles of output channels (rows) and vectors of neighbouring output pixels.

    There are ``tile.lanes`` output pixels in a row at least. The last vector of a row starts where
    it ends with the row.
    """

    @property
    def channels(self) -> int:
        return self.tile.rows

    def emit_row(
        self, k: Kernel, lines: Lines, row: Value, channel: Value, left: Value, out: EpilogueWriter
    ) -> None:
        s, tile, lanes = lines.s, self.tile, self.tile.lanes
        panels = k.view(k.pointers[1], computed(self.dtype), self.window.taps * lanes, lanes, 1)
        weights = panels.at(channel // lanes * s.kernel_rows, 0, channel % lanes)
        mask = k.first_lanes(k.minimum(left, tile.rows), _transposed_at_once(lanes))
        with k.loop(0, s.out_width, tile.columns) as start:
            ends = s.out_width - lanes
            columns = [k.minimum(start + j * lanes, ends) for j in range(tile.vectors)]

            def add_row(
                tap_row: Value, results: Results, columns: Sequence[Value] = columns
            ) -> Results:
                windows = [lines.windows(row, tap_row, column).settled() for column in columns]
                numbers = weights.at(tap_row).strided(lanes, 1).settled()

                def number(i: int, tap: Index) -> Value:
                    return numbers.load(tap, i)

                def vector(tap: Index, j: int) -> Value:
                    return windows[j].load(tap, lanes=lanes)

                return add_steps(k, range(self.window.taps), number, vector, results)

            before = zeros(k, tile, self.dtype)
            results = carry_tile(k, tile, k.index(0), s.kernel_rows, before, add_row)
            for j, column in enumerate(columns):
                for i, pixel in enumerate(_pixels(k, [vectors[j] for vectors in results])):
                    out.store(pixel, (0, 0, column + i), channel, mask)


def _pixels(k: Kernel, planes: Sequence[Value]) -> list[Value]:
    """Vectors of pixels, one a channel, as vectors of channels, one a pixel."""
    lanes = planes[0].lanes
    side = _transposed_at_once(lanes)
    square = [*planes, *[k.zero(planes[0].type)] * (side - len(planes))]
    mixed = transposed(square)
    return [
        mixed[pixel % side].shuffle(range(pixel - pixel % side, pixel - pixel % side + side))
        for pixel in range(lanes)
    ]


def _transposed_at_once(lanes: int) -> int:
    return min(_MOST_CHANNELS, lanes)


def _choose_tile(target: Target, dtype: DType, pixels: int, channels: int) -> tuple[Tile, float]:
    """The quickest tile, and what a multiply-add of a result costs: see ``choose_row_tile``."""
    lanes = lanes_of(target, dtype)
    rows = min(channels, _transposed_at_once(lanes))
    # Sums, a vector of pixels for each, and a weight stay in registers.
    most = max(1, min(_MOST_VECTORS, (target.vector_registers - 1) // (rows + 1)))
    best, least = Tile(rows, 1, lanes, 1), float("inf")
    for vectors in range(1, most + 1):
        columns = vectors * lanes
        computed_pixels = -(-pixels // columns) * columns / pixels
        cost = computed_pixels * max(1.0, 8 / (rows * vectors))  # sums wait for the last ones
        if cost < least:
            best, least = Tile(rows, vectors, lanes, 1), cost
    return best, least * -(-channels // rows) * rows / channels


def _algorithm(name: str, problem: Problem, context: Context) -> Algorithm | None:
    g, dtype = problem.geometry, problem.dtype
    if g.in_channels != 1 or g.stride[1] != 1 or g.kernel[1] > _MOST_TAPS or not rows_reach(g):
        return None
    if 0 in g.output_shape or problem.bytes == 0 or g.out_width < lanes_of(context.target, dtype):
        return None
    tile, cost = _choose_tile(context.target, dtype, g.out_width, g.out_channels)
    stores = _TRANSPOSE_AND_STORE / (g.kernel[0] * g.kernel[1] * tile.rows)
    multiply_adds = g.flops / 2 * cost * (1 + stores) / _ATTAINED
    return line_algorithm(name, problem, context, multiply_adds, tile.lanes)


def _calls(binding: Binding) -> Sequence[Call]:
    x, w = anchor_operands(binding.op, binding.inputs)
    g, dtype = anchor_of(binding.op).geometry(x.spec, w.spec), x.spec.dtype
    tile, _ = _choose_tile(binding.target, dtype, g.out_width, g.out_channels)
    code = PixelProduct(dtype, window_of(g, x), tile, Epilogue.of(binding))
    return line_calls(binding, code, tile.lanes)


PIXELS = Method("pixels", _algorithm, _calls)
