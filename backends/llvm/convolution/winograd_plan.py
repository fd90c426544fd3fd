"""How a Winograd convolution is cut into work items that fit the caches: sizes from shapes.

What decides the order of sums (blocks of input channels, chunks of tiles) follows from the shape
alone. The number of threads may change only which outputs an item makes.
"""

from __future__ import annotations

from dataclasses import dataclass

from minigraph.backends.llvm.call import Context, carved_bytes
from minigraph.backends.llvm.convolution.tile import Tile, choose_tile
from minigraph.backends.llvm.convolution.winograd_forward import PLANE_GAP
from minigraph.backends.llvm.convolution.winograd_transforms import Winograd
from minigraph.ir.spec import DType

Part = tuple[DType, int]

BLOCK_TILES = 32  # tiles of an item where there are many
GROUP_TILES = 64  # tiles of an item where there are many channels
CHANNEL_BLOCK = 64  # input channels whose weights are transformed at a time
SMALL_PRODUCT = 64 * 128  # input times output channels whose U fits the cache beside the rest


@dataclass(frozen=True)
class Plan:
    """A convolution's cut. Its workspace has the shared operand, then each thread's scratch."""

    winograd: Winograd
    tile: Tile
    tiles: int
    inputs: int
    outputs: int
    threads: int

    @property
    def panels(self) -> int:
        return -(-self.outputs // self.tile.columns)

    @property
    def depth(self) -> int:
        """Input channels, padded to whole vectors."""
        return rounded_up(self.inputs, self.tile.lanes)

    @property
    def has_many_tiles(self) -> bool:
        return self.tiles >= 2 * BLOCK_TILES and self.inputs * self.outputs <= SMALL_PRODUCT

    @property
    def block(self) -> int:
        """Tiles of an item where there are many."""
        return rounded_up(min(BLOCK_TILES, self.tiles), self.tile.rows)

    @property
    def panels_of_item(self) -> int:
        """All where there are many tiles, unless threads would go without work."""
        blocks = -(-self.tiles // self.block)
        groups = min(-(-self.threads // blocks), self.panels)
        return -(-self.panels // groups)

    @property
    def group(self) -> int:
        """Tiles of an item where there are many channels."""
        wanted = -(-self.threads // self.panels)
        groups = max(-(-self.tiles // GROUP_TILES), min(wanted, self.tiles // 16))
        return rounded_up(-(-self.tiles // groups), self.tile.rows)

    def parts(self) -> list[Part]:
        """The workspace: zeros, then (many tiles) U, V, M or (many channels) V, U, M."""
        depth, columns, channel_blocks = (
            self.depth,
            self.tile.columns,
            -(-self.depth // CHANNEL_BLOCK),
        )
        if self.has_many_tiles:
            sizes = (
                self.threads * depth,
                self.panels * self._planes(depth, columns),
                self.threads * self._planes(self.block, depth),
                self.threads * self._planes(self.block, columns),
            )
        else:
            rows = rounded_up(self.tiles, self.tile.rows)
            sizes = (
                self.threads * max(depth, columns),
                channel_blocks * self._planes(rows, CHANNEL_BLOCK),
                self.threads * self._planes(CHANNEL_BLOCK, columns),
                self.threads * self._planes(self.group, columns),
            )
        return [(DType.FLOAT32, size) for size in sizes]

    def workspace(self) -> int:
        """Bytes."""
        return carved_bytes(*self.parts())

    def _planes(self, rows: int, columns: int) -> int:
        return self.winograd.products * (rows * columns + PLANE_GAP)


def plan_of(winograd: Winograd, tiles: int, inputs: int, outputs: int, context: Context) -> Plan:
    """The plan for a convolution of these channels."""
    tile = choose_tile(context.target, DType.FLOAT32, outputs)
    return Plan(winograd, tile, tiles, inputs, outputs, context.threads)


def rounded_up(count: int, step: int) -> int:
    return -(-count // step) * step
