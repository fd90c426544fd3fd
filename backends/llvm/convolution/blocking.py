"""How products are cut into pieces."""

from __future__ import annotations

from dataclasses import astuple, dataclass

from minigraph.backend import aligned
from minigraph.backends.llvm.convolution.pack import computed
from minigraph.backends.llvm.convolution.product import (
    Product,
    ProductSizes,
    granule,
    scratch_bytes,
)
from minigraph.backends.llvm.convolution.tile import Tile, choose_tile
from minigraph.backends.llvm.kernels.epilogue import Epilogue
from minigraph.backends.llvm.target import Target
from minigraph.ir.spec import DType

_BLOCK = 96  # pixels
_PANELS_BYTES = 256 << 10  # of panels that stay in the second-level cache
_STEPS = 512  # of the sum: tiles load and store what they keep between steps
FEW_CHANNELS = 15


@dataclass(frozen=True)
class Sums:
    """A product's extents: ``pixels`` results of ``outputs`` columns, each a sum of so many."""

    pixels: int  # of one phase, at most
    phases: int
    groups: int
    outputs: int  # of a group
    channels: int  # of a group
    taps: int
    phase_taps: int  # of one phase, at most
    depthwise: bool = False  # one group of one channel, that of the output's number

    @property
    def pixel_channels(self) -> int:
        """Channels of a pixel that a product may read."""
        return self.outputs if self.depthwise else self.channels

    @property
    def depth(self) -> int:
        return self.phase_taps * self.channels


@dataclass(frozen=True)
class Blocking:
    """How a product is cut into pieces that stay in caches and keep all threads busy."""

    tile: Tile
    block: int
    panels_at_once: int
    taps_at_once: int
    channels_at_once: int

    def in_steps(self, sums: Sums) -> bool:
        return self.taps_at_once < sums.phase_taps or self.channels_at_once < sums.channels

    def packed_elements(self, sums: Sums) -> int:
        """Elements of the packed panels of one group."""
        panels = -(-sums.outputs // self.tile.columns)
        return panels * sums.taps * sums.channels * self.tile.columns

    def scratch_bytes(self, sums: Sums, dtype: DType) -> int:
        """Scratch memory of a thread."""
        kept = self.panels_at_once if self.in_steps(sums) else 0
        return scratch_bytes(
            self.tile, dtype, sums.pixel_channels, self.block, sums.phase_taps, kept
        )


def choose_blocking(sums: Sums, dtype: DType, target: Target, threads: int) -> Blocking:
    """Results do not depend on it but for the order of sums, which follows from shapes alone."""
    tile = choose_tile(target, dtype, sums.outputs)
    if sums.depth <= 3 * _STEPS // 2:
        taps, channels = max(sums.phase_taps, 1), sums.channels
    elif sums.channels > _STEPS:
        pieces = -(-sums.channels // _STEPS)
        taps, channels = 1, -(-sums.channels // pieces // 4) * 4
    else:
        taps, channels = _STEPS // sums.channels, sums.channels
    unit = granule(tile)
    block = max(1, min(_BLOCK // unit, -(-sums.pixels // unit))) * unit
    panels = -(-sums.outputs // tile.columns)
    panel_bytes = taps * channels * tile.columns * computed(dtype).itemsize  # of a step
    at_once = max(1, min(panels, _PANELS_BYTES // max(panel_bytes, 1)))

    def items() -> int:
        return sums.groups * sums.phases * -(-panels // at_once) * -(-sums.pixels // block)

    while items() < 4 * threads and at_once > 1:
        at_once = -(-at_once // 2)
    while items() < 4 * threads and block > unit:
        block = -(-block // 2 // unit) * unit
    return Blocking(tile, block, at_once, taps, channels)


@dataclass(frozen=True)
class Inputs:
    """How the inputs lie: their sizes, and strides in elements."""

    images: int
    height: int
    width: int
    image_stride: int
    row_stride: int
    pixel_stride: int


def product_code(
    sums: Sums, blocking: Blocking, dtype: DType, epilogue: Epilogue, transposed: bool, flat: bool
) -> Product:
    """The kernel of a product."""
    return Product(
        dtype,
        blocking.tile,
        epilogue,
        transposed,
        few_channels=sums.channels if sums.channels <= FEW_CHANNELS and sums.taps > 1 else 0,
        in_steps=blocking.in_steps(sums),
        whole_panels=sums.outputs % blocking.tile.columns == 0,
        flat=flat,
        depthwise=sums.depthwise,
    )


def product_sizes(
    sums: Sums,
    blocking: Blocking,
    dtype: DType,
    inputs: Inputs,
    *,
    group_stride: int,
    output_group_stride: int,
    shared_panels: bool = False,
) -> tuple[int, ...]:
    """Its first sizes. ``shared_panels``: all groups are multiplied by the same."""
    sizes = ProductSizes(
        images=inputs.images,
        height=inputs.height,
        width=inputs.width,
        image_stride=inputs.image_stride,
        row_stride=inputs.row_stride,
        pixel_stride=inputs.pixel_stride,
        groups=sums.groups,
        channels=sums.channels,
        outputs=sums.outputs,
        group_stride=group_stride,
        packed_group_stride=0 if shared_panels else blocking.packed_elements(sums),
        output_group_stride=output_group_stride,
        taps=sums.taps,
        block=blocking.block,
        panels_at_once=blocking.panels_at_once,
        taps_at_once=blocking.taps_at_once,
        channels_at_once=blocking.channels_at_once,
        scratch_bytes=aligned(blocking.scratch_bytes(sums, dtype)),
        phase_taps=sums.phase_taps,
    )
    return astuple(sizes)
