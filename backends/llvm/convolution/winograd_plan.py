"""How a Winograd convolution is cut into work items that fit the caches: sizes from shapes.

What decides the order of sums (blocks of input channels, chunks of tiles) follows from the shape
alone. The number of threads may change only which outputs an item makes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from minigraph.backends.llvm.convolution.tile import Tile
from minigraph.backends.llvm.convolution.winograd_forward import PLANE_GAP
from minigraph.backends.llvm.convolution.winograd_gradient import Cut
from minigraph.backends.llvm.convolution.winograd_transforms import F4, Winograd
from minigraph.ir.spec import DType
from minigraph.places import carved_bytes

Part = tuple[DType, int]

BLOCK_TILES = 16  # tiles of an item, by tiles
GROUP_TILES = 64  # tiles of an item, by channels
CHANNEL_BLOCK = 32  # input channels whose weights are transformed at a time
SMALL_PRODUCT = 128 * 128  # input times output channels whose U fits the cache beside the rest

CHUNK_TILES = 128  # tiles at least of each chunk of a weight gradient
MAX_CHUNKS = 8
CHUNK_BYTES = 10 << 20  # of all chunks
ITEM_CHANNELS = 64  # input and output channels of an item of a weight gradient
GRADIENT_BLOCK = 32  # tiles transformed at a time
FEW_TILES = 64  # up to here all of them
PART_CHANNELS = 16  # output channels that are then made at a time

# Cycles that F(4, 3) spends on each vector of channels of a tile, or of an output's weights.
INPUT_CYCLES = 250
OUTPUT_CYCLES = 180
WEIGHT_CYCLES = 130


@dataclass(frozen=True)
class Plan:
    """A convolution's cut. Its workspace has the shared operand, then each thread's scratch.

    ``by_tiles``: all weights are transformed first, and items are blocks of tiles. Otherwise all
    inputs are, and items are panels of output channels, which transform their own weights.
    """

    winograd: Winograd
    tile: Tile
    tiles: int
    inputs: int
    outputs: int
    threads: int
    by_tiles: bool

    @property
    def panels(self) -> int:
        return -(-self.outputs // self.tile.columns)

    @property
    def depth(self) -> int:
        """Input channels, padded to whole vectors."""
        return rounded_up(self.inputs, self.tile.lanes)

    @property
    def fits(self) -> bool:
        """Whether the weights of a plan by tiles stay in the cache."""
        return not self.by_tiles or self.inputs * self.outputs <= SMALL_PRODUCT

    @property
    def block(self) -> int:
        """Tiles of an item, by tiles."""
        return rounded_up(min(BLOCK_TILES, self.tiles), self.tile.rows)

    @property
    def panels_of_item(self) -> int:
        """By tiles: all, unless threads would go without work."""
        blocks = -(-self.tiles // self.block)
        groups = min(-(-self.threads // blocks), self.panels)
        return -(-self.panels // groups)

    @property
    def group(self) -> int:
        """Tiles of an item, by channels."""
        wanted = -(-self.threads // self.panels)
        groups = max(-(-self.tiles // GROUP_TILES), min(wanted, self.tiles // 16))
        return rounded_up(-(-self.tiles // groups), self.tile.rows)

    def parts(self) -> list[Part]:
        """The workspace: zeros, then (by tiles) V, M or (by channels) U, M and the shared V."""
        depth, columns, channel_blocks = (
            self.depth,
            self.tile.columns,
            -(-self.depth // CHANNEL_BLOCK),
        )
        sizes: tuple[int, ...]
        if self.by_tiles:
            sizes = (
                self.threads * depth,
                self.threads * _planes(self.winograd, self.block, depth),
                self.threads * _planes(self.winograd, self.block, columns),
            )
        else:
            rows = rounded_up(self.tiles, self.tile.rows)
            sizes = (
                self.threads * max(depth, columns),
                self.threads * _planes(self.winograd, CHANNEL_BLOCK, columns),
                self.threads * _planes(self.winograd, self.group, columns),
                channel_blocks * _planes(self.winograd, rows, CHANNEL_BLOCK),
            )
        return [(DType.FLOAT32, size) for size in sizes]

    def workspace(self) -> int:
        """Bytes."""
        return carved_bytes(*self.parts())

    def prepared(self) -> int:
        """Bytes of U where it is made beforehand."""
        if not self.by_tiles:
            return 0
        return 4 * self.panels * _planes(self.winograd, self.depth, self.tile.columns)

    def multiply_adds(self) -> float:
        """All of the products, and what else could be done in the time of the transforms."""
        columns, rows = self.panels * self.tile.columns, rounded_up(self.tiles, self.tile.rows)
        products = self.winograd.products * rows * self.inputs * columns
        transforms = self.tiles * (INPUT_CYCLES * self.depth + OUTPUT_CYCLES * columns)
        times = 1 if self.by_tiles else -(-self.tiles // self.group)
        transforms += times * WEIGHT_CYCLES * self.depth * columns
        return products + 2 * transforms * self.winograd.products / F4.products

    def moved(self) -> int:
        """Bytes of U or V written and read."""
        if self.by_tiles:
            return 2 * self.prepared()
        return 8 * _planes(self.winograd, self.tiles, self.depth)


@dataclass(frozen=True)
class GradientPlan:
    """A weight gradient's cut. Chunks of tiles follow from the shape alone.

    ``by_tiles``: each item sums some of the tiles, and the sums D are added up afterwards.
    Otherwise each sums all, and finishes the weights of its channels.
    """

    winograd: Winograd
    tile: Tile
    tiles: int
    inputs: int
    outputs: int
    threads: int
    by_tiles: bool

    @property
    def fits(self) -> bool:
        """Whether there is a chunk at all; and no sum over all tiles where they make several."""
        return self._chunks >= 1 if self.by_tiles else self._chunks <= 1

    @property
    def _chunks(self) -> int:
        """Many tiles in each, and few chunks, so that adding up their D costs little."""
        bytes_of_d = 4 * self.winograd.products * self.inputs * self.outputs
        return min(MAX_CHUNKS, max(self.tiles // CHUNK_TILES, 1), CHUNK_BYTES // bytes_of_d)

    @property
    def chunk(self) -> int:
        """Tiles of a chunk."""
        chunks = self._chunks if self.by_tiles else 1
        return rounded_up(-(-self.tiles // max(chunks, 1)), GRADIENT_BLOCK)

    @property
    def chunks(self) -> int:
        return -(-self.tiles // self.chunk)

    @property
    def cut(self) -> Cut[int]:
        """Channels of an item, fewer if else threads would go without work.

        Where the tiles are few, V is made once for all outputs of an item, which are made part by
        part. Else V is made anew for each block of tiles, and D stays until all are done.
        """
        columns, step = self.tile.columns, math.lcm(self.tile.rows, self.tile.lanes)
        inputs = min(rounded_up(self.inputs, columns), rounded_up(ITEM_CHANNELS, columns))
        part = min(rounded_up(self.outputs, step), rounded_up(ITEM_CHANNELS, step))
        outputs, block = part, GRADIENT_BLOCK
        if self.tiles <= FEW_TILES:
            part = min(part, rounded_up(PART_CHANNELS, step))
            outputs, block = rounded_up(self.outputs, part), FEW_TILES
        while self._items(inputs, outputs) < self.threads and outputs > part:
            outputs = rounded_up(outputs // 2, part)
        while self._items(inputs, outputs) < self.threads and max(inputs - columns, part - step):
            if part > step and (part > inputs or inputs == columns):
                outputs = part = rounded_up(part // 2, step)
            else:
                inputs = rounded_up(inputs // 2, columns)
        block = min(block, self.tiles)
        return Cut(self.inputs, self.outputs, inputs, outputs, part, self.chunk, block)

    def _items(self, inputs: int, outputs: int) -> int:
        return self.chunks * -(-self.inputs // inputs) * -(-self.outputs // outputs)

    def parts(self) -> list[Part]:
        """The workspace: zeros, V, Z, D."""
        _, _, inputs, _, part, _, block = self.cut
        if self.by_tiles:
            rows = rounded_up(self.outputs, self.tile.rows)
            columns = rounded_up(self.inputs, self.tile.columns)
            d = self.chunks * _planes(self.winograd, rows, columns)
        else:
            d = self.threads * _planes(self.winograd, part, inputs)
        sizes = (
            self.threads * rounded_up(max(inputs, part), self.tile.lanes),
            self.threads * _planes(self.winograd, block, inputs),
            self.threads * _planes(self.winograd, block, part),
            d,
        )
        return [(DType.FLOAT32, size) for size in sizes]

    def workspace(self) -> int:
        """Bytes."""
        return carved_bytes(*self.parts())

    def multiply_adds(self) -> float:
        """All of the products, and what else could be done in the time of the transforms."""
        cut, products = self.cut, self.winograd.products
        inputs = rounded_up(self.inputs, self.tile.columns)
        outputs = rounded_up(self.outputs, self.tile.rows)
        input_times = -(-self.outputs // cut.item_outputs)
        output_times = -(-self.inputs // cut.item_inputs)
        transforms = self.tiles * INPUT_CYCLES * inputs * input_times
        transforms += self.tiles * OUTPUT_CYCLES * outputs * output_times
        transforms += WEIGHT_CYCLES * inputs * outputs
        return products * self.tiles * inputs * outputs + 2 * transforms * products / F4.products

    def moved(self) -> int:
        """Bytes of D written and read."""
        if not self.by_tiles:
            return 0
        return 8 * self.chunks * _planes(self.winograd, self.outputs, self.inputs)


def _planes(winograd: Winograd, rows: int, columns: int) -> int:
    """Elements of a matrix for each point."""
    return winograd.products * (rows * columns + PLANE_GAP)


def rounded_up(count: int, step: int) -> int:
    return -(-count // step) * step
