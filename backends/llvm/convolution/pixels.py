"""Convolution of images with one channel, by vectors of neighbouring output pixels.

Vectors of a few output channels (``rows.py``) would leave most of their lanes empty. But with one
channel, and windows one pixel apart, what neighbouring windows take at a tap lies side by side, and
so lanes can be pixels::

    result[channel][pixel] += weight(channel, tap) * x[pixel + tap]        weight: a number

The results of a tile are transposed in registers before its epilogue, as channels lie last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

from minigraph.backend import Algorithm
from minigraph.backends.llvm.call import Binding, Call, Context
from minigraph.backends.llvm.convolution.direct import weight_source
from minigraph.backends.llvm.convolution.method import Method, Problem, estimated_seconds
from minigraph.backends.llvm.convolution.pack import computed, pack_calls
from minigraph.backends.llvm.convolution.rows_lines import (
    Lines,
    LineSizes,
    Window,
    balanced_block,
    line_sizes,
    rows_reach,
    scratch_bytes,
    window_of,
)
from minigraph.backends.llvm.convolution.tile import (
    Results,
    Tile,
    add_steps,
    carry_tile,
    lanes_of,
    zeros,
)
from minigraph.backends.llvm.kernels.epilogue import Epilogue, EpilogueWriter, epilogue_sizes
from minigraph.backends.llvm.kernels.transposition import transposed
from minigraph.backends.llvm.language.code import KernelCode
from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.value import Value
from minigraph.backends.llvm.language.view import Index
from minigraph.backends.llvm.target import Target
from minigraph.ir.spec import DType
from minigraph.lowering.epilogue import anchor_of, anchor_operands, epilogue_places
from minigraph.ops.geometry import ConvGeometry

_MOST_CHANNELS = 8  # of a tile: what is transposed at once
_MOST_VECTORS = 4
_MOST_TAPS = 16  # across
_ATTAINED = 0.85  # of the multiply-adds that could be done
_TRANSPOSE_AND_STORE = 120  # multiply-adds that could be done meanwhile, a vector of pixels


@dataclass(frozen=True)
class PixelProduct(KernelCode):
    """Arguments: inputs, packed weights, the epilogue's; output, scratch.

    Sizes: ``LineSizes``, output channels, the epilogue's strides. There are ``tile.lanes`` output
    pixels in a row at least.
    """

    dtype: DType
    window: Window
    tile: Tile  # rows are output channels
    epilogue: Epilogue

    @property
    def pointers(self) -> int:
        return 3 + self.epilogue.pointers

    @property
    def sizes(self) -> int:
        return len(fields(LineSizes)) + 1 + self.epilogue.sizes

    def emit(self, k: Kernel) -> None:
        own = len(fields(LineSizes))
        s: LineSizes[Value] = LineSizes(*k.sizes[:own])
        outputs, strides = k.sizes[own], k.sizes[own + 1 :]
        writer = self.epilogue.writer(k, k.pointers[2:-1], strides)
        lines = Lines.of(k, self.dtype, self.window, s)
        with (
            lines.blocks() as (image, first, rows),
            k.loop(0, outputs, self.tile.rows) as channel,
            k.loop(0, rows) as row,
        ):
            self._row(k, lines, row, channel, outputs, writer.at(image, first + row))

    def _row(
        self,
        k: Kernel,
        lines: Lines,
        row: Value,
        channel: Value,
        outputs: Value,
        writer: EpilogueWriter,
    ) -> None:
        """A few channels of a row of outputs; the last vector starts where it ends with the row."""
        s, tile, lanes = lines.s, self.tile, self.tile.lanes
        panels = k.view(k.pointers[1], computed(self.dtype), self.window.taps * lanes, lanes, 1)
        weights = panels.at(channel // lanes * s.kernel_rows, 0, channel % lanes)
        count = k.minimum(outputs - channel, tile.rows)
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
                planes = [vectors[j] for vectors in results]
                self._store(k, planes, column, channel, count, writer)

    def _store(
        self,
        k: Kernel,
        planes: Sequence[Value],
        column: Value,
        channel: Value,
        count: Value,
        writer: EpilogueWriter,
    ) -> None:
        """A vector of pixels of each channel, as one vector of channels for each pixel."""
        side = _transposed_at_once(self.tile.lanes)
        mask = k.first_lanes(count, side)
        square = [*planes, *[k.zero(planes[0].type)] * (side - len(planes))]
        for i, vector in enumerate(transposed(square)):
            for first in range(0, vector.lanes, side):  # square by square
                pixel = vector.shuffle(range(first, first + side))
                writer.store(pixel, (0, 0, column + (first + i)), channel, mask)


def _transposed_at_once(lanes: int) -> int:
    return min(_MOST_CHANNELS, lanes)


def _choose_tile(target: Target, dtype: DType, pixels: int, channels: int) -> tuple[Tile, float]:
    """The quickest tile, and the part of its multiply-adds that count: see ``choose_row_tile``."""
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
    if problem.bytes == 0 or g.out_width < lanes_of(context.target, dtype):
        return None
    tile, cost = _choose_tile(context.target, dtype, g.out_width, g.out_channels)
    stores = _TRANSPOSE_AND_STORE / (g.kernel[0] * g.kernel[1] * tile.rows)
    multiply_adds = g.flops / 2 * cost * (1 + stores)
    prepared = _packed_elements(g, tile) * computed(dtype).itemsize
    seconds = estimated_seconds(
        context, dtype, multiply_adds, problem.bytes + prepared, attained=_ATTAINED
    )
    rows = balanced_block(g, dtype, context.threads)
    workspace = context.threads * scratch_bytes(g, dtype, rows)
    return Algorithm(name, workspace, seconds, prepared=prepared, prepares=(problem.operands[1],))


def _packed_elements(g: ConvGeometry, tile: Tile) -> int:
    return -(-g.out_channels // tile.lanes) * tile.lanes * g.kernel[0] * g.kernel[1]


def _calls(binding: Binding) -> Sequence[Call]:
    x, w = anchor_operands(binding.op, binding.inputs)
    g, dtype = anchor_of(binding.op).geometry(x.spec, w.spec), x.spec.dtype
    tile, _ = _choose_tile(binding.target, dtype, g.out_width, g.out_channels)
    assert binding.prepared is not None and binding.workspace is not None
    sizes = line_sizes(g, x, balanced_block(g, dtype, binding.threads))
    product = Call(
        PixelProduct(dtype, window_of(g, x), tile, Epilogue.of(binding)),
        (x, binding.prepared, *epilogue_places(binding)),
        (binding.output, binding.workspace),
        (*astuple(sizes), g.out_channels, *epilogue_sizes(binding)),
    )
    packing = pack_calls(w, binding.prepared, weight_source(w, g, False), tile.lanes)
    return [*packing, product]


PIXELS = Method("pixels", _algorithm, _calls)
