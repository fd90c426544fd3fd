"""The weight gradient of a 3x3 convolution by Winograd's transforms.

The convolution is linear in its weights, so that their gradient is the transpose of what they go
through (`winograd_transforms.py`). With V the transformed inputs, as in the convolution itself, and
Z = A gy A^T the transformed output gradients, for each point p::

    D[p] (output channel, input channel) = Z[p]^T @ V[p]         summed over all tiles
    gw (output channel, row, column, input channel) = G^T D G

A work item makes a block of channels of D from a chunk of the tiles, some tiles at a time: it
transforms these channels of both operands (that costs less than to fetch what another one made) and
adds their products. Where channels are few, there are several chunks; each leaves its D in memory,
and a second call adds them up in order and transforms the sum. Else the item transforms its D.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, NamedTuple

from minigraph.backends.llvm.convolution.tile import Tile, add_products
from minigraph.backends.llvm.convolution.winograd_forward import (
    own_planes,
    own_zeros,
    planes,
    read_sums,
    rounded_up,
    store_sums,
)
from minigraph.backends.llvm.convolution.winograd_tiles import (
    FLOAT,
    Channels,
    N,
    Source,
    TileReader,
    Tiles,
    at_points,
    each_vector,
)
from minigraph.backends.llvm.convolution.winograd_transforms import (
    BY_OUTPUTS,
    TAPS,
    Winograd,
    transform,
)
from minigraph.backends.llvm.kernels.epilogue import Epilogue, EpilogueWriter
from minigraph.backends.llvm.language.code import KernelCode
from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.types import FLOAT32
from minigraph.backends.llvm.language.value import Value
from minigraph.backends.llvm.language.view import View


@dataclass(frozen=True)
class GradientVariant:
    """What all codes of a weight gradient depend on."""

    outputs: int  # m
    tile: Tile  # of the products: rows of output channels, vectors of input channels
    input_tail: bool  # the last vector of input channels is not whole
    output_tail: bool  # the last vector of output channels is not whole

    @property
    def winograd(self) -> Winograd:
        return BY_OUTPUTS[self.outputs]


class Cut(NamedTuple, Generic[N]):
    """How the work is cut. Sizes of a kernel."""

    inputs: N  # channels
    outputs: N
    item_inputs: N  # channels of an item
    item_outputs: N
    part_outputs: N  # channels made at a time: not all of the item's only if chunk <= block
    chunk: N  # tiles of an item
    block: N  # tiles that are transformed at a time


@dataclass(frozen=True)
class WeightGradient(KernelCode):
    """Arguments: image, output gradient, what the epilogue reads; the result, zeros, V, Z, D.

    Sizes: ``Source`` and ``Source`` of the two, ``Tiles``, ``Cut``; the epilogue's. With chunks, D
    is (chunk, point, output, input) and the result is not touched; else it is the thread's own
    (point, output, input).
    """

    variant: GradientVariant
    has_chunks: bool
    epilogue: Epilogue

    @property
    def pointers(self) -> int:
        return 6 + self.epilogue.pointers

    @property
    def sizes(self) -> int:
        own = 2 * len(Source._fields) + len(Tiles._fields) + len(Cut._fields)
        return own + self.epilogue.sizes

    def emit(self, k: Kernel) -> None:
        variant, winograd, tile = self.variant, self.variant.winograd, self.variant.tile
        sizes = iter(k.sizes)
        source, gradient = (Source(*(next(sizes) for _ in Source._fields)) for _ in range(2))
        tiles = Tiles(*(next(sizes) for _ in Tiles._fields))
        cut = Cut(*(next(sizes) for _ in Cut._fields))
        writer = self.epilogue.writer(k, k.pointers[2:-4], list(sizes))
        zeros_pointer, v_pointer, z_pointer, d_pointer = k.pointers[-4:]
        nothing = own_zeros(k, zeros_pointer, k.maximum(cut.item_inputs, cut.part_outputs))
        v = own_planes(k, v_pointer, winograd, cut.block, cut.item_inputs)
        z = own_planes(k, z_pointer, winograd, cut.block, cut.part_outputs)
        image, gradients = source.view(k, k.pointers[0]), gradient.view(k, k.pointers[1])
        read_inputs = TileReader(k, winograd, winograd.input_matrix, source, image)
        read_gradients = TileReader(k, winograd, winograd.output_matrix.T, gradient, gradients)
        input_blocks = (cut.inputs + (cut.item_inputs - 1)) // cut.item_inputs
        output_blocks = (cut.outputs + (cut.item_outputs - 1)) // cut.item_outputs
        blocks = input_blocks * output_blocks
        with k.parallel((tiles.total + (cut.chunk - 1)) // cut.chunk * blocks) as item:
            chunk, first_input = item // blocks, item % input_blocks * cut.item_inputs
            start, stop = chunk * cut.chunk, k.minimum((chunk + 1) * cut.chunk, tiles.total)
            first_output = item % blocks // input_blocks * cut.item_outputs
            last_output = k.minimum(first_output + cut.item_outputs, cut.outputs)
            inputs = Channels(
                first_input,
                k.minimum(cut.item_inputs, cut.inputs - first_input),
                variant.input_tail,
            )
            with k.loop(first_output, last_output, cut.part_outputs) as output:
                outputs = Channels(
                    output, k.minimum(cut.part_outputs, last_output - output), variant.output_tail
                )
                if self.has_chunks:
                    d = chunk_planes(k, d_pointer, variant, cut.inputs, cut.outputs, chunk)
                    d = d.at(0, output, first_input).settled()
                else:
                    d = own_planes(k, d_pointer, winograd, cut.part_outputs, cut.item_inputs)
                with k.loop(start, stop, cut.block) as first:
                    count = k.minimum(cut.block, stop - first)
                    with k.loop(0, count) as row:
                        with k.when(output.equals(first_output)):  # else V is still there
                            at_row = v.at(0, row).strided(v.strides[0], 1)
                            read_inputs.write_tile(at_row, tiles, first + row, nothing, inputs)
                        at_row = z.at(0, row).strided(z.strides[0], 1)
                        read_gradients.write_tile(at_row, tiles, first + row, nothing, outputs)
                    with k.loop(0, winograd.products) as point:
                        add_outer_products(
                            k, tile, count, z.at(point), v.at(point), d.at(point),
                            outputs.count, inputs.count, (first.equals(start), nothing),
                        )  # fmt: skip
                if not self.has_chunks:
                    write_block(k, variant, d, outputs, inputs, writer)


def write_block(
    k: Kernel,
    variant: GradientVariant,
    d: View,
    outputs: Channels,
    inputs: Channels,
    writer: EpilogueWriter,
) -> None:
    """The weights of a block of D."""
    with k.loop(0, outputs.count) as row:
        at_row = d.at(0, row).strided(d.strides[0], 1).settled()
        at_output = writer.at(outputs.first + row, 0, 0)

        def write(column: Value, mask: Value | None) -> None:
            channel = inputs.first + column
            write_weights(k, variant.winograd, at_row.at(0, column), at_output, channel, mask)

        each_vector(k, inputs.count, variant.tile.lanes, inputs.has_tail, write)


@dataclass(frozen=True)
class SumChunks(KernelCode):
    """G^T (sum of D over chunks) G. Arguments: D, what the epilogue reads; the result.

    Sizes: input and output channels, chunks; the epilogue's.
    """

    variant: GradientVariant
    epilogue: Epilogue

    @property
    def pointers(self) -> int:
        return 1 + self.epilogue.pointers

    @property
    def sizes(self) -> int:
        return 3 + self.epilogue.sizes

    def emit(self, k: Kernel) -> None:
        variant, winograd, lanes = self.variant, self.variant.winograd, self.variant.tile.lanes
        inputs, outputs, chunks = k.sizes[:3]
        writer = self.epilogue.writer(k, k.pointers[1:], k.sizes[3:])
        d = chunk_planes(k, k.pointers[0], variant, inputs, outputs, k.index(0))
        chunk = d.strides[0] * winograd.products
        sums = k.local(FLOAT, winograd.products * lanes).strided(lanes, 1)
        with k.parallel(outputs) as output:
            at_output = writer.at(output, 0, 0)

            def write(channel: Value, mask: Value | None) -> None:
                with k.loop(0, winograd.products) as point:
                    here = d.at(point, output, channel).strided(chunk)
                    (total,) = k.carry(
                        0, chunks, [k.zero(FLOAT32.with_lanes(lanes))],
                        lambda i, total: [total[0] + here.load(i, lanes=lanes)],
                    )  # fmt: skip
                    sums.store(total, point)
                write_weights(k, winograd, sums, at_output, channel, mask)

            each_vector(k, inputs, lanes, variant.input_tail, write)


def chunk_planes(
    k: Kernel,
    pointer: object,
    variant: GradientVariant,
    inputs: Value,
    outputs: Value,
    chunk: Value,
) -> View:
    """A chunk's D (point, output, input), with room for whole register tiles."""
    rows, columns = (
        rounded_up(outputs, variant.tile.rows),
        rounded_up(inputs, variant.tile.columns),
    )
    return planes(k, pointer, rows, columns).at(chunk * variant.winograd.products).settled()


def add_outer_products(
    k: Kernel,
    tile: Tile,
    count: Value,
    z: View,
    v: View,
    d: View,
    rows: Value,
    columns: Value,
    start: tuple[Value, View],
) -> None:
    """``d += z^T @ v`` over ``count`` tiles. Views: (point, row, column); ``start`` as above."""
    z, v, d = (view.strided(*view.strides[1:]).settled() for view in (z, v, d))
    with k.loop(0, rows, tile.rows) as row, k.loop(0, columns, tile.columns) as column:
        numbers, vectors = z.at(0, row).settled(), v.at(0, column).settled()
        target = d.at(row, column).settled()
        sums = add_products(
            k, tile, 0, count,
            lambda i, t: numbers.load(t, i),
            lambda t, j: vectors.load(t, j * tile.lanes, lanes=tile.lanes),
            read_sums(k, tile, target, *start),
        )  # fmt: skip
        store_sums(tile, target, sums)


def write_weights(
    k: Kernel,
    winograd: Winograd,
    sums: View,
    writer: EpilogueWriter,
    channel: Value,
    mask: Value | None,
) -> None:
    """The nine taps of a vector of input channels, from D by point; the writer stands at their
    output channel."""
    points, lanes, views = winograd.points, k.lanes(FLOAT), at_points(winograd, sums)
    taps = transform(
        k, winograd.weight_matrix.T, lambda i, j: views[i * points + j].load(lanes=lanes)
    )
    for r in range(TAPS):
        for s in range(TAPS):
            writer.store(taps[r][s], (0, r, s), channel, mask)
