"""The gradient of a convolution's weight, of any geometry: how its sums are cut into pieces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace

from minigraph.backend import Algorithm, aligned
from minigraph.backends.llvm.call import Binding, Call, Context
from minigraph.backends.llvm.convolution.axis import axis_sizes
from minigraph.backends.llvm.convolution.direct import is_depthwise
from minigraph.backends.llvm.convolution.indirection import words_of_block
from minigraph.backends.llvm.convolution.method import (
    Method,
    Problem,
    address_seconds,
    estimated_seconds,
)
from minigraph.backends.llvm.convolution.pack import computed
from minigraph.backends.llvm.convolution.tile import Tile, choose_tile
from minigraph.backends.llvm.convolution.weight_sums import (
    Extents,
    Form,
    SumSizes,
    WeightSums,
    WeightTotals,
)
from minigraph.backends.llvm.kernels.copy import fill_calls
from minigraph.backends.llvm.target import Target
from minigraph.ir.spec import DType
from minigraph.ops.geometry import ConvGeometry
from minigraph.places import carve, carved_bytes

_BLOCK = 64  # pixels, whose vectors stay in the first-level cache
_FEW_CHANNELS = 12
_MOST_SPLITS = 32
_SUMS_BYTES = 4 << 20  # of all parts together
_ITEMS = 16  # pieces of work that there should be


@dataclass(frozen=True)
class _Plan:
    """Shapes alone determine all that the order of sums depends on."""

    form: Form
    groups: int
    tap_tiles: int
    panels: int
    row_tiles: int
    splits: int
    tap_tiles_at_once: int
    panels_at_once: int

    def sums(self) -> int:
        """Elements of all sums of all parts."""
        tiles = self.splits * self.groups * self.tap_tiles * self.panels * self.row_tiles
        return tiles * self.form.tile.rows * self.form.tile.columns

    def scratch_bytes(self, dtype: DType, channels: int) -> int:
        """Scratch memory of a thread: tables, and zeros."""
        words = words_of_block(_BLOCK, self.tap_tiles * self.form.taps_in_tile + 1)
        tile = self.form.tile
        zeros = max(channels, tile.rows * tile.columns) + 16
        copied = _BLOCK * tile.columns
        return aligned(8 * words + (zeros + copied) * computed(dtype).itemsize)


def _form(target: Target, dtype: DType, channels: int, outputs: int, taps: int) -> Form:
    """Vectors along the axis that fills them better."""
    wide = choose_tile(target, dtype, channels)
    if channels > _FEW_CHANNELS or channels >= outputs:
        rows = min(wide.rows, outputs)
        return Form(replace(wide, rows=rows), 0, 1, channels < wide.columns)
    tile = choose_tile(target, dtype, min(outputs, 2 * wide.lanes))
    most = max(tile.rows * 3 // 2 // channels, 1)  # taps of a tile
    tap_tiles = -(-taps // most)
    in_tile = -(-taps // tap_tiles)
    rows = in_tile * channels
    return Form(Tile(rows, tile.vectors, tile.lanes, 1), channels, in_tile, outputs < tile.columns)


def _channels(g: ConvGeometry) -> tuple[int, int, int]:
    """Groups, and input and output channels of each. Depthwise: one output channel a lane."""
    if is_depthwise(g):
        return 1, 1, g.out_channels
    return g.groups, g.in_channels // g.groups, g.out_channels // g.groups


def _plan(g: ConvGeometry, dtype: DType, target: Target) -> _Plan:
    groups, channels, outputs = _channels(g)
    taps = g.kernel[0] * g.kernel[1]
    form = replace(_form(target, dtype, channels, outputs, taps), depthwise=is_depthwise(g))
    tap_tiles = -(-taps // form.taps_in_tile)
    panels = -(-form.wide(channels, outputs) // form.tile.columns)
    row_tiles = 1 if form.few_channels else -(-outputs // form.tile.rows)
    plan = _Plan(form, groups, tap_tiles, panels, row_tiles, 1, tap_tiles, panels)
    blocks = -(-g.batch * g.out_height * g.out_width // _BLOCK)
    part_bytes = plan.sums() * computed(dtype).itemsize
    splits = max(1, min(blocks, _MOST_SPLITS, _SUMS_BYTES // part_bytes))
    taps_at_once, panels_at_once = tap_tiles, panels
    if splits * groups < _ITEMS:
        taps_at_once = 1
    if splits * groups * tap_tiles < _ITEMS:
        panels_at_once = 1
    return replace(
        plan, splits=splits, tap_tiles_at_once=taps_at_once, panels_at_once=panels_at_once
    )


def _workspace(
    plan: _Plan, g: ConvGeometry, dtype: DType, threads: int
) -> tuple[tuple[DType, int], ...]:
    scratch = plan.scratch_bytes(dtype, g.in_channels)
    return (computed(dtype), plan.sums()), (DType.UINT8, threads * scratch)


def _algorithm(name: str, problem: Problem, context: Context) -> Algorithm | None:
    g, dtype = problem.geometry, problem.dtype
    plan = _plan(g, dtype, context.target)
    parts = _workspace(plan, g, dtype, context.threads)
    filled = plan.sums() / plan.splits / math.prod(g.weight_shape)
    moved = problem.bytes + 2 * parts[0][1] * 4
    seconds = estimated_seconds(context, dtype, g.flops / 2 * filled, moved)
    seconds += address_seconds(g)
    return Algorithm(name, carved_bytes(*parts), seconds)


def _calls(binding: Binding) -> Sequence[Call]:
    x, gradient = binding.inputs
    g = binding.op.geometry(x.spec, gradient.spec)
    if x.spec.size == 0 or gradient.spec.size == 0:
        return fill_calls(binding.output, 0.0)
    dtype = x.spec.dtype
    plan = _plan(g, dtype, binding.target)
    parts = _workspace(plan, g, dtype, binding.threads)
    sums, scratch = carve(binding.workspace, *parts)
    image, _, row, pixel = x.strides
    gradient_image, _, gradient_row, gradient_pixel = gradient.strides
    extents = Extents(*_channels(g), plan.splits, *g.kernel)
    sizes = SumSizes(
        g.batch, g.height, g.width, image, row, pixel,
        gradient_image, gradient_row, gradient_pixel,
        block=_BLOCK, tap_tiles_at_once=plan.tap_tiles_at_once,
        panels_at_once=plan.panels_at_once, scratch_bytes=parts[1][1] // binding.threads,
    )  # fmt: skip
    axes = [
        axis_sizes(size, g.kernel[i], g.stride[i], g.padding[i][0], g.dilation[i], False)
        for i, size in enumerate((g.out_height, g.out_width))
    ]
    out, inner, down, across = binding.output.strides
    return [
        Call(
            WeightSums(dtype, plan.form),
            (x, gradient),
            (sums, scratch),
            (*astuple(extents), *astuple(sizes), *axes[0], *axes[1]),
        ),
        Call(
            WeightTotals(dtype, plan.form),
            (sums,),
            (binding.output,),
            (*astuple(extents), out, down, across, inner),
        ),
    ]


SUMS = Method("sums", _algorithm, _calls)
