"""Convolution and transposed convolution by summing over taps and channels: any geometry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

from minigraph.backend import Algorithm, Slot
from minigraph.backends.llvm.call import Binding, Call, Context, carve, carved_bytes
from minigraph.backends.llvm.convolution.axis import axis_sizes, cycle_of
from minigraph.backends.llvm.convolution.method import Method, Problem, estimated_seconds
from minigraph.backends.llvm.convolution.pack import (
    Source,
    computed,
    pack_calls,
    packed_elements,
)
from minigraph.backends.llvm.convolution.product import (
    Product,
    ProductSizes,
    granule,
    scratch_bytes,
)
from minigraph.backends.llvm.convolution.tile import Tile, choose_tile
from minigraph.backends.llvm.kernels.epilogue import (
    Kind,
    anchor_of,
    anchor_operands,
    epilogue_of,
    epilogue_places,
    epilogue_sizes,
)
from minigraph.backends.llvm.target import Target
from minigraph.ir.spec import DType
from minigraph.ops.conv import ConvTranspose2d
from minigraph.ops.geometry import ConvGeometry

_BLOCK = 96  # pixels
_PANELS_BYTES = 256 << 10  # of panels that stay in the second-level cache
_STEPS = 256  # of the sum, whose panel stays in the first-level cache
_FEW_CHANNELS = 15


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


def sums_of(geometry: ConvGeometry, transposed: bool) -> Sums:
    """The extents of a convolution, or of its adjoint."""
    g = geometry
    taps = g.kernel[0] * g.kernel[1]
    if not transposed:
        pixels = g.batch * g.out_height * g.out_width
        inputs = g.in_channels // g.groups
        return Sums(pixels, 1, g.groups, g.out_channels // g.groups, inputs, taps, taps)
    phase_taps, pixels = 1, g.batch
    for size, kernel, stride, dilation in zip(
        (g.height, g.width), g.kernel, g.stride, g.dilation, strict=True
    ):
        phase_taps *= -(-kernel // cycle_of(stride, dilation))
        pixels *= -(-size // stride)
    return Sums(
        pixels, g.stride[0] * g.stride[1], g.groups, g.in_channels // g.groups,
        g.out_channels // g.groups, taps, phase_taps,
    )  # fmt: skip


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
    block = min(_BLOCK // unit, -(-sums.pixels // unit)) * unit
    panels = -(-sums.outputs // tile.columns)
    panel_bytes = sums.depth * tile.columns * computed(dtype).itemsize
    at_once = max(1, min(panels, _PANELS_BYTES // max(panel_bytes, 1)))

    def items() -> int:
        return sums.groups * sums.phases * -(-panels // at_once) * -(-sums.pixels // block)

    while items() < 4 * threads and at_once > 1:
        at_once = -(-at_once // 2)
    while items() < 4 * threads and block > unit:
        block = -(-block // 2 // unit) * unit
    return Blocking(tile, block, at_once, taps, channels)


def workspace_parts(
    sums: Sums, blocking: Blocking, dtype: DType, threads: int
) -> tuple[tuple[DType, int], ...]:
    """Packed panels and the threads' scratch memory, for ``carve``."""
    panels = -(-sums.outputs // blocking.tile.columns)
    packed = sums.groups * panels * sums.taps * sums.channels * blocking.tile.columns
    scratch = scratch_bytes(blocking.tile, dtype, sums.channels, blocking.block, sums.phase_taps)
    return (computed(dtype), packed), (DType.UINT8, threads * scratch)


def _algorithm(name: str, problem: Problem, context: Context) -> Algorithm | None:
    g, dtype = problem.geometry, problem.dtype
    sums = sums_of(g, isinstance(problem.op, ConvTranspose2d))
    blocking = choose_blocking(sums, dtype, context.target, context.threads)
    parts = workspace_parts(sums, blocking, dtype, context.threads)
    columns = blocking.tile.columns
    filled = -(-sums.outputs // columns) * columns / sums.outputs
    macs = g.flops / 2 * filled
    seconds = estimated_seconds(context, dtype, macs, problem.bytes + parts[0][1] * 4)
    return Algorithm(name, carved_bytes(*parts), seconds)


def _calls(binding: Binding) -> Sequence[Call]:
    op = anchor_of(binding.op)
    transposed = isinstance(op, ConvTranspose2d)
    x, w = anchor_operands(binding.op, binding.inputs)
    if binding.output.spec.size == 0:
        return []
    g = op.geometry(x.spec, w.spec)
    sums = sums_of(g, transposed)
    dtype = x.spec.dtype
    blocking = choose_blocking(sums, dtype, binding.target, binding.threads)
    parts = workspace_parts(sums, blocking, dtype, binding.threads)
    packed, scratch = carve(binding.workspace, *parts)
    source = weight_source(w, g, transposed)
    epilogue = epilogue_of(binding)
    tile = blocking.tile
    code = Product(
        dtype, tile, epilogue, transposed,
        few_channels=sums.channels if sums.channels <= _FEW_CHANNELS else 0,
        in_steps=blocking.in_steps(sums),
        whole_panels=sums.outputs % tile.columns == 0,
        flat=not (transposed and sums.phases > 1) and lies_flat(binding),
    )  # fmt: skip
    n, _, height, width = x.spec.shape
    image, _, row, pixel = x.strides
    sizes = ProductSizes(
        images=n, height=height, width=width,
        image_stride=image, row_stride=row, pixel_stride=pixel,
        groups=sums.groups, channels=sums.channels, outputs=sums.outputs,
        group_stride=sums.channels,
        packed_group_stride=packed_elements(source, tile.columns) // sums.groups,
        output_group_stride=sums.outputs, taps=sums.taps, block=blocking.block,
        panels_at_once=blocking.panels_at_once, taps_at_once=blocking.taps_at_once,
        channels_at_once=blocking.channels_at_once,
        scratch_bytes=parts[1][1] // binding.threads, phase_taps=sums.phase_taps,
    )  # fmt: skip
    axes = [
        axis_sizes(size, g.kernel[i], g.stride[i], g.padding[i][0], g.dilation[i], transposed)
        for i, size in enumerate(binding.output.spec.shape[2:])
    ]
    product = Call(
        code,
        (x, packed, *epilogue_places(binding)),
        (binding.output, scratch),
        (*astuple(sizes), *axes[0], *axes[1], *epilogue_sizes(binding)),
    )
    return [*pack_calls(w, packed, source, tile.columns), product]


def weight_source(w: Slot, g: ConvGeometry, transposed: bool) -> Source[int]:
    """A weight (K,C/groups,R,S) as the matrices that a convolution, or its adjoint, sums by."""
    out, inner, down, across = w.strides
    outputs, inputs = g.out_channels // g.groups, g.in_channels // g.groups
    common = {
        "groups": g.groups, "taps_down": g.kernel[0], "taps_across": g.kernel[1],
        "group_stride": outputs * out, "tap_down_stride": down, "tap_across_stride": across,
    }  # fmt: skip
    if not transposed:
        return Source(
            rows=inputs, columns=outputs, row_stride=inner, column_stride=out,
            cycle_down=1, cycle_across=1, **common,
        )  # fmt: skip
    cycles = [cycle_of(s, d) for s, d in zip(g.stride, g.dilation, strict=True)]
    return Source(
        rows=outputs, columns=inputs, row_stride=out, column_stride=inner,
        cycle_down=cycles[0], cycle_across=cycles[1], **common,
    )  # fmt: skip


def lies_flat(binding: Binding) -> bool:
    """Whether results and all that the epilogue reads beside them lie pixel by pixel."""
    kinds = epilogue_of(binding).kinds
    beside = [
        slot
        for kind, slot in zip(kinds, epilogue_places(binding), strict=True)
        if kind is Kind.TENSOR
    ]
    return all(_is_flat(slot) for slot in (*beside, binding.output))


def _is_flat(slot: Slot) -> bool:
    n, _, height, width = slot.spec.shape
    image, _, row, pixel = slot.strides
    return (height == 1 or row == width * pixel) and (n == 1 or image == height * width * pixel)


DIRECT = Method("direct", _algorithm, _calls)
