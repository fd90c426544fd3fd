"""Winograd convolutions: many tiles of few channels, or few tiles of many channels.

For each of the points p of a tile (36 of F(4, 3), 16 of F(2, 3)) there is one matrix product::

    M[p] (tile, output channel) = V[p] (tile, input channel) @ U[p] (input channel, output channel)

V are transformed inputs, U transformed weights, and the outputs are transformed from M. All three
are kept in cache:

- Many tiles: U is made once, by a call of its own. Blocks of tiles are the work items: each makes
  its V, then M and outputs panel by panel of output channels.
- Many channels: U would be larger than the caches, so it never reaches memory: V is made by a call
  of its own; the work items are pairs of a panel and a group of tiles, which transform the panel's
  weights block by block of input channels as they go and add up M.

Each output is computed by one item, in an order of sums that no plan changes.
"""

from __future__ import annotations

from dataclasses import dataclass

from minigraph.backends.llvm.convolution.tile import Tile, add_products, zeros
from minigraph.backends.llvm.convolution.winograd_tiles import (
    FLOAT,
    Channels,
    Source,
    TileReader,
    Tiles,
    each_vector,
    store_points,
    write_tile,
)
from minigraph.backends.llvm.convolution.winograd_transforms import BY_OUTPUTS, Winograd
from minigraph.backends.llvm.convolution.winograd_weights import PanelWriter, Weights
from minigraph.backends.llvm.kernels.epilogue import Epilogue, EpilogueWriter
from minigraph.backends.llvm.language.code import KernelCode
from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.types import FLOAT32
from minigraph.backends.llvm.language.value import Value
from minigraph.backends.llvm.language.view import Index, View

PLANE_GAP = 16
"""Floats between the planes of points: else all would begin in the same set of the caches."""


@dataclass(frozen=True)
class Variant:
    """What all codes of a convolution depend on."""

    outputs: int  # m
    tile: Tile  # of the products; a panel has its columns
    adjoint: bool  # weights flipped, their channels exchanged
    input_tail: bool  # the last vector of input channels is not whole
    output_tail: bool  # the last panel is not whole
    partial_tiles: bool  # tiles reach beyond the image

    @property
    def winograd(self) -> Winograd:
        return BY_OUTPUTS[self.outputs]


@dataclass(frozen=True)
class TransformWeights(KernelCode):
    """U[panel][point][input][output]. Arguments: weights; U. Sizes: ``Weights``, panels."""

    variant: Variant

    pointers = 2
    sizes = len(Weights._fields) + 1

    def emit(self, k: Kernel) -> None:
        variant, tile = self.variant, self.variant.tile
        weights, panels = Weights(*k.sizes[:-1]), k.sizes[-1]
        u = planes(k, k.pointers[1], rounded_up(weights.inputs, tile.lanes), tile.columns)
        writer = panel_writer(k, variant, tile, weights)
        vectors = (weights.inputs + (tile.lanes - 1)) // tile.lanes
        with k.parallel(panels * vectors) as item:
            panel, first = item // vectors, item % vectors * tile.lanes
            count = k.minimum(weights.inputs - first, tile.lanes)
            target = u.at(panel * variant.winograd.products, first)
            writer.write(panel, first, count, target.settled())


@dataclass(frozen=True)
class TransformInputs(KernelCode):
    """V[block of channels][point][tile][channel]. Arguments: image; zeros, V.

    Sizes: ``Source``, ``Tiles``, channels, rows of V (tiles, rounded up to whole register tiles).
    """

    outputs: int
    channel_block: int
    input_tail: bool

    pointers = 3
    sizes = len(Source._fields) + len(Tiles._fields) + 2

    def emit(self, k: Kernel) -> None:
        winograd, lanes = BY_OUTPUTS[self.outputs], k.lanes(FLOAT)
        source, tiles, (channels, rows) = split_sizes(k)
        image_pointer, zeros_pointer, v_pointer = k.pointers
        nothing = own_zeros(k, zeros_pointer, channels)
        v = planes(k, v_pointer, rows, self.channel_block)
        image = source.view(k, image_pointer)
        reader = TileReader(k, winograd, winograd.input_matrix, source, image)
        with k.parallel(rows) as row:
            reader.find(tiles, k.minimum(row, tiles.total - 1), nothing)
            at_row = v.at(0, row).settled()

            def write(channel: Value, mask: Value | None) -> None:
                block, within = channel // self.channel_block, channel % self.channel_block
                values = reader.read(channel, lanes, mask)
                store_points(winograd, values, at_row.at(block * winograd.products, 0, within))

            each_vector(k, channels, lanes, self.input_tail, write)


@dataclass(frozen=True)
class ManyTiles(KernelCode):
    """Outputs from an image and U, a block of tiles at a time.

    Arguments: image, U, what the epilogue reads; output, zeros, V, M.
    Sizes: ``Source``, ``Tiles``, input and output channels, tiles of a block, panels of an item;
    the epilogue's.
    """

    variant: Variant
    epilogue: Epilogue

    @property
    def pointers(self) -> int:
        return 5 + self.epilogue.pointers

    @property
    def sizes(self) -> int:
        return len(Source._fields) + len(Tiles._fields) + 4 + self.epilogue.sizes

    def emit(self, k: Kernel) -> None:
        variant, winograd, tile = self.variant, self.variant.winograd, self.variant.tile
        own = len(k.sizes) - self.epilogue.sizes
        source, tiles, (inputs, outputs, block, group) = split_sizes(k, own)
        writer = self.epilogue.writer(k, k.pointers[2:-3], k.sizes[own:])
        zeros_pointer, v_pointer, m_pointer = k.pointers[-3:]
        nothing = own_zeros(k, zeros_pointer, inputs)
        depth = rounded_up(inputs, tile.lanes)
        v = own_planes(k, v_pointer, winograd, block, depth)
        m = own_planes(k, m_pointer, winograd, block, tile.columns)
        u = planes(k, k.pointers[1], depth, tile.columns)
        image = source.view(k, k.pointers[0])
        reader = TileReader(k, winograd, winograd.input_matrix, source, image)
        channels = Channels(0, inputs, variant.input_tail)
        panels = (outputs + (tile.columns - 1)) // tile.columns
        groups = (panels + (group - 1)) // group
        with k.parallel((tiles.total + (block - 1)) // block * groups) as item:
            first, first_panel = item // groups * block, item % groups * group
            count = k.minimum(block, tiles.total - first)
            rows = rounded_up(count, tile.rows)
            with k.loop(0, rows) as row:
                at_row = v.at(0, row).strided(v.strides[0], 1)
                reader.write_tile(
                    at_row, tiles, k.minimum(first + row, tiles.total - 1), nothing, channels
                )
            with k.loop(first_panel, k.minimum(first_panel + group, panels)) as panel:
                u_of_panel = u.at(panel * winograd.products)
                with k.loop(0, winograd.products) as point:
                    multiply(k, tile, rows, inputs, v.at(point), u_of_panel.at(point), m.at(point))
                write_panel(k, variant, tile, tiles, first, count, m, writer, panel, outputs)


@dataclass(frozen=True)
class ManyChannels(KernelCode):
    """Outputs from V and weights, a panel of output channels and a group of tiles at a time.

    Arguments: V, weights, what the epilogue reads; output, zeros, U, M.
    Sizes: ``Weights``, ``Tiles``, tiles of a group; the epilogue's.
    """

    variant: Variant
    channel_block: int
    epilogue: Epilogue

    @property
    def pointers(self) -> int:
        return 5 + self.epilogue.pointers

    @property
    def sizes(self) -> int:
        return len(Weights._fields) + len(Tiles._fields) + 1 + self.epilogue.sizes

    def emit(self, k: Kernel) -> None:
        variant, winograd, tile = self.variant, self.variant.winograd, self.variant.tile
        own = len(k.sizes) - self.epilogue.sizes
        weights = Weights(*k.sizes[: len(Weights._fields)])
        tiles, group = Tiles(*k.sizes[len(Weights._fields) : own - 1]), k.sizes[own - 1]
        writer = self.epilogue.writer(k, k.pointers[2:-3], k.sizes[own:])
        zeros_pointer, u_pointer, m_pointer = k.pointers[-3:]
        nothing = own_zeros(k, zeros_pointer, k.index(tile.columns))
        v = planes(k, k.pointers[0], rounded_up(tiles.total, tile.rows), self.channel_block)
        u = own_planes(k, u_pointer, winograd, self.channel_block, tile.columns)
        m = own_planes(k, m_pointer, winograd, group, tile.columns)
        panel_writer_ = panel_writer(k, variant, tile, weights)
        groups = (tiles.total + (group - 1)) // group
        panels = (weights.outputs + (tile.columns - 1)) // tile.columns
        with k.parallel(panels * groups) as item:
            panel, first = item // groups, item % groups * group
            count = k.minimum(group, tiles.total - first)
            with k.loop(0, weights.inputs, self.channel_block) as channel:
                channels = k.minimum(weights.inputs - channel, self.channel_block)
                panel_writer_.write(panel, channel, channels, u)
                block = v.at(channel // self.channel_block * winograd.products, first)
                with k.loop(0, winograd.products) as point:
                    multiply(
                        k, tile, rounded_up(count, tile.rows), channels, block.at(point),
                        u.at(point), m.at(point), start=(channel.equals(0), nothing),
                    )  # fmt: skip
            write_panel(k, variant, tile, tiles, first, count, m, writer, panel, weights.outputs)


# ---- parts of these


def multiply(
    k: Kernel,
    tile: Tile,
    rows: Value,
    depth: Value,
    left: View,
    right: View,
    result: View,
    start: tuple[Value, View] | None = None,
) -> None:
    """result = left @ right, for ``rows`` rows of matrices with the column of a tile.

    The views' first stride is that of points. With ``start`` (is_first, zeros) products are added
    to the result, but for the first time.
    """
    left, right, result = (v.strided(*v.strides[1:]).settled() for v in (left, right, result))
    lanes = tile.lanes
    with k.loop(0, rows, tile.rows) as row:
        a, c = left.at(row).settled(), result.at(row).settled()
        sums = zeros(k, tile, FLOAT) if start is None else read_sums(k, tile, c, *start)
        sums = add_products(
            k, tile, 0, depth,
            lambda i, d: a.load(i, d),
            lambda d, j: right.load(d, j * lanes, lanes=lanes),
            sums,
        )  # fmt: skip
        store_sums(tile, c, sums)


def read_sums(
    k: Kernel, tile: Tile, sums: View, is_first: Value, nothing: View
) -> list[list[Value]]:
    """A tile of sums (row, column) to add to; the first time zeros, which are read as its rows."""
    pointer = k.pointer_at(is_first.select(nothing.address(), sums.address()))
    row = is_first.select(k.index(0), k.index(sums.strides[0]))
    view = k.view(pointer, FLOAT, row, 1)
    return [
        [view.load(i, j * tile.lanes, lanes=tile.lanes) for j in range(tile.vectors)]
        for i in range(tile.rows)
    ]


def store_sums(tile: Tile, target: View, sums: list[list[Value]]) -> None:
    """A tile of sums to a matrix (row, column)."""
    for i, vectors in enumerate(sums):
        for j, value in enumerate(vectors):
            target.store(value, i, j * tile.lanes)


def write_panel(
    k: Kernel,
    variant: Variant,
    tile: Tile,
    tiles: Tiles[Value],
    first: Value,
    count: Value,
    m: View,
    writer: EpilogueWriter,
    panel: Value,
    outputs: Value,
) -> None:
    """Outputs of ``count`` tiles from M, for the channels of a panel."""
    winograd, step = variant.winograd, variant.outputs
    channel = panel * tile.columns
    width: Index = tile.columns
    if variant.output_tail:
        width = k.minimum(outputs - channel, tile.columns)
    with k.loop(0, count) as row:
        image, tile_row, tile_column = tiles.place(first + row)
        y, x = tile_row * step, tile_column * step
        inside = (tiles.height - y, tiles.width - x) if variant.partial_tiles else None
        at_tile, products = writer.at(image, y, x), m.at(0, row).settled()

        def write(column: Value, mask: Value | None) -> None:
            at_column = products.at(0, 0, column).strided(products.strides[0])
            write_tile(k, winograd, at_column, at_tile, inside, channel + column, mask)

        each_vector(k, width, tile.lanes, variant.output_tail, write)


def panel_writer(k: Kernel, variant: Variant, tile: Tile, weights: Weights[Value]) -> PanelWriter:
    """The weights are a kernel's second pointer, or its first of two."""
    pointer = k.pointers[0] if len(k.pointers) == 2 else k.pointers[1]
    return PanelWriter(
        k, variant.winograd, tile, weights, pointer,
        adjoint=variant.adjoint, input_tail=variant.input_tail, output_tail=variant.output_tail,
    )  # fmt: skip


def planes(k: Kernel, pointer: object, rows: Value, columns: Index) -> View:
    """Matrices (point, row, column), one a point, with gaps between them."""
    if isinstance(columns, Value):
        columns = columns.settled()
    return k.view(pointer, FLOAT, (rows * columns + PLANE_GAP).settled(), columns, 1)


def own_planes(k: Kernel, pointer: object, winograd: Winograd, rows: Index, columns: Index) -> View:
    """This thread's matrices (point, row, column)."""
    return planes(k, pointer, k.index(rows), columns).at(k.thread * winograd.products).settled()


def own_zeros(k: Kernel, pointer: object, count: Value) -> View:
    """This thread's zeros, as many as ``count`` or a few more."""
    lanes = k.lanes(FLOAT)
    size = rounded_up(count, lanes)
    zeros = k.view(pointer, FLOAT, 1).at(k.thread * size)
    with k.loop(0, size, lanes) as i:
        zeros.store(k.zero(FLOAT32.with_lanes(lanes)), i)
    return zeros


def split_sizes(
    k: Kernel, own: int | None = None
) -> tuple[Source[Value], Tiles[Value], list[Value]]:
    """A kernel's sizes: a source, tiles, and what follows (up to its ``own`` ones)."""
    source, tiles = len(Source._fields), len(Tiles._fields)
    return (
        Source(*k.sizes[:source]),
        Tiles(*k.sizes[source : source + tiles]),
        k.sizes[source + tiles : own],
    )


def rounded_up(count: Value, step: int) -> Value:
    """To a multiple."""
    return (count + (step - 1)) // step * step
