"""The weight gradient of a 3x3 convolution by Winograd's transforms.

The convolution is linear in its weights, so their gradient is the transpose of what they go through
(`winograd_transforms.py`). With V the transformed inputs, as in the convolution itself, and Z = A gy
A^T the transformed output gradients, for each point p::

    D[p] (output channel, input channel) = Z[p]^T @ V[p]         summed over all tiles
    gw (output channel, row, column, input channel) = G^T D G

A work item makes a block of channels of D from a chunk of the tiles, some tiles at a time: it
transforms these channels of both operands (that costs less than to fetch what another one made) and
adds their products. Where channels are few, there are several chunks; each leaves its D in memory,
and a second call adds them up in order and transforms the sum. Else the item transforms its D.
"""

from __future__ import annotations

from dataclasses import dataclass

from minigraph.backends.llvm.convolution.tile import Tile, add_products
from minigraph.backends.llvm.convolution.winograd_forward import (
    own_planes,
    own_zeros,
    planes,
    read_sums,
    rounded_up,
)
from minigraph.backends.llvm.convolution.winograd_tiles import (
    FLOAT,
    Source,
    TileReader,
    Tiles,
    at_points,
    each_vector,
    store_points,
)
from minigraph.backends.llvm.convolution.winograd_transforms import (
    BY_OUTPUTS,
    TAPS,
    Grid,
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


@dataclass(frozen=True)
class Block:
    """The channels of D that an item makes. Counts are rounded up to whole register tiles."""

    first_output: Value
    first_input: Value
    outputs: Value  # that there are
    inputs: Value


@dataclass(frozen=True)
class WeightGradient(KernelCode):
    """Arguments: image, output gradient, what the epilogue reads; the result, zeros, V, Z, D.

    Sizes: ``Source`` and ``Source`` of the two, ``Tiles``; input and output channels, those of an
    item; tiles of a chunk, and of a block; the epilogue's. With chunks, D is (chunk, point, output,
    input) and the result is not touched; else it is the thread's own (point, output, input).
    """

    variant: GradientVariant
    has_chunks: bool
    epilogue: Epilogue

    @property
    def pointers(self) -> int:
        return 6 + self.epilogue.pointers

    @property
    def sizes(self) -> int:
        return 2 * len(Source._fields) + len(Tiles._fields) + 6 + self.epilogue.sizes

    def emit(self, k: Kernel) -> None:
        variant, winograd, tile = self.variant, self.variant.winograd, self.variant.tile
        own = len(k.sizes) - self.epilogue.sizes
        writer = self.epilogue.writer(k, k.pointers[2:-4], k.sizes[own:])
        sizes = iter(k.sizes[:own])
        source, gradient = (Source(*(next(sizes) for _ in Source._fields)) for _ in range(2))
        tiles = Tiles(*(next(sizes) for _ in Tiles._fields))
        inputs, outputs, item_inputs, item_outputs, chunk, block = sizes
        zeros_pointer, v_pointer, z_pointer, d_pointer = k.pointers[-4:]
        nothing = own_zeros(k, zeros_pointer, k.maximum(item_inputs, item_outputs))
        v = own_planes(k, v_pointer, winograd, block, item_inputs)
        z = own_planes(k, z_pointer, winograd, block, item_outputs)
        image = source.view(k, k.pointers[0])
        gradients = gradient.view(k, k.pointers[1])
        read_inputs = TileReader(k, winograd, winograd.input_matrix, source, image)
        read_gradients = TileReader(k, winograd, winograd.output_matrix.T, gradient, gradients)
        input_blocks = (inputs + (item_inputs - 1)) // item_inputs
        output_blocks = (outputs + (item_outputs - 1)) // item_outputs
        blocks = input_blocks * output_blocks
        with k.parallel((tiles.count + (chunk - 1)) // chunk * blocks) as item:
            first_output = item % blocks // input_blocks * item_outputs
            first_input = item % input_blocks * item_inputs
            part = Block(
                first_output, first_input,
                k.minimum(item_outputs, outputs - first_output),
                k.minimum(item_inputs, inputs - first_input),
            )  # fmt: skip
            if self.has_chunks:
                d = chunk_planes(k, d_pointer, variant, inputs, outputs, item // blocks)
                d = d.at(0, first_output, first_input)
            else:
                d = own_planes(k, d_pointer, winograd, item_outputs, item_inputs)
            start = item // blocks * chunk
            stop = k.minimum(start + chunk, tiles.count)
            with k.loop(start, stop, block) as first:
                count = k.minimum(block, stop - first)
                with k.loop(0, count) as row:
                    read_inputs.find(tiles, first + row, nothing, first_input)
                    read_gradients.find(tiles, first + row, nothing, first_output)

                    for reader, target, channels, has_tail in (
                        (read_inputs, v, part.inputs, variant.input_tail),
                        (read_gradients, z, part.outputs, variant.output_tail),
                    ):
                        at_row = target.at(0, row).settled()

                        def store(channel: Value, values: Grid, at_row: View = at_row) -> None:
                            store_points(winograd, values, at_row.at(0, 0, channel))

                        reader.each_vector(channels, tile.lanes, has_tail, store)
                with k.loop(0, winograd.products) as point:
                    add_outer_products(
                        k, tile, part, count, z.at(point), v.at(point), d.at(point),
                        first.equals(start), nothing,
                    )  # fmt: skip
            if not self.has_chunks:
                with k.loop(0, part.outputs) as output:

                    def write(channel: Value, mask: Value | None, output: Value = output) -> None:
                        write_weights(
                            k, winograd,
                            d.at(0, output, channel),
                            writer, first_output + output, first_input + channel, mask,
                        )  # fmt: skip

                    each_vector(k, part.inputs, tile.lanes, variant.input_tail, write)


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

            def write(channel: Value, mask: Value | None) -> None:
                with k.loop(0, winograd.products) as point:
                    here = d.at(point, output, channel).strided(chunk)
                    (total,) = k.carry(
                        0, chunks, [k.zero(FLOAT32.with_lanes(lanes))],
                        lambda i, total: [total[0] + here.load(i, lanes=lanes)],
                    )  # fmt: skip
                    sums.store(total, point)
                write_weights(k, winograd, sums, writer, output, channel, mask)

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
    block: Block,
    depth: Value,
    z: View,
    v: View,
    d: View,
    is_first: Value,
    nothing: View,
) -> None:
    """``d = z^T @ v`` the first time, then ``+=``, at one point. Views: (point, row, column)."""
    z, v, d = (view.strided(*view.strides[1:]).settled() for view in (z, v, d))
    with k.loop(0, block.outputs, tile.rows) as row, k.loop(0, block.inputs, tile.columns) as first:
        numbers, vectors = z.at(0, row).settled(), v.at(0, first).settled()
        target = d.at(row, first).settled()
        sums = add_products(
            k, tile, 0, depth,
            lambda i, t: numbers.load(t, i),
            lambda t, j: vectors.load(t, j * tile.lanes, lanes=tile.lanes),
            read_sums(k, tile, target, is_first, nothing),
        )  # fmt: skip
        for i, row_sums in enumerate(sums):
            for j, value in enumerate(row_sums):
                target.store(value, i, j * tile.lanes)


def write_weights(
    k: Kernel,
    winograd: Winograd,
    sums: View,
    writer: EpilogueWriter,
    output: Value,
    channel: Value,
    mask: Value | None,
) -> None:
    """The nine weights of one output channel and a vector of input channels, from D by point."""
    points, lanes, views = winograd.points, k.lanes(FLOAT), at_points(winograd, sums)
    taps = transform(
        k, winograd.weight_matrix.T, lambda i, j: views[i * points + j].load(lanes=lanes)
    )
    for r in range(TAPS):
        for s in range(TAPS):
            writer.store(taps[r][s], (output, r, s), channel, mask)
