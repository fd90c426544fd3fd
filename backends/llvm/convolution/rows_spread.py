"""The input gradient of convolutions with few input channels (and transposed convolutions)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple

from minigraph.backend import Algorithm
from minigraph.backends.llvm.call import Binding, Call, Context
from minigraph.backends.llvm.convolution.method import Method, Problem, estimated_seconds
from minigraph.backends.llvm.convolution.pack import computed
from minigraph.backends.llvm.convolution.rows import FEW_CHANNELS, choose_row_tile
from minigraph.backends.llvm.convolution.rows_lines import rows_reach
from minigraph.backends.llvm.convolution.rows_spread_kernels import (
    RowSpread,
    SpreadSizes,
    spread_pack_call,
)
from minigraph.backends.llvm.convolution.tile import Tile
from minigraph.backends.llvm.kernels.epilogue import Epilogue, epilogue_sizes
from minigraph.lowering.epilogue import anchor_of, anchor_operands, epilogue_places
from minigraph.ops.geometry import ConvGeometry

_MOST_COLUMNS = 128
_LINE_CYCLES = 10  # to add a vector to the line; multiply-adds that could be done, 2 a cycle
_SLACK = 64  # elements: what vectors may run over the end of a line


def _algorithm(name: str, problem: Problem, context: Context) -> Algorithm | None:
    g, dtype = problem.geometry, problem.dtype
    columns = g.kernel[1] * g.in_channels
    if not rows_reach(g) or g.dilation[0] != 1 or not 0 < g.in_channels <= FEW_CHANNELS:
        return None
    if columns > _MOST_COLUMNS or 0 in g.output_shape or 0 in g.input_shape:
        return None
    tile, cost = choose_row_tile(context.target, dtype, g.out_width, columns)
    prepared = _packed_elements(g, tile) * computed(dtype).itemsize
    vectors = -(-columns // tile.lanes) * g.batch * g.height * g.out_width
    multiply_adds = g.flops / 2 * cost + vectors * 2 * tile.lanes * _LINE_CYCLES
    moved = problem.bytes + prepared
    seconds = estimated_seconds(context, dtype, multiply_adds, moved, attained=1.0)
    workspace = context.threads * _line(g) * computed(dtype).itemsize
    return Algorithm(name, workspace, seconds, prepared=prepared, prepares=(problem.operands[1],))


def _packed_elements(g: ConvGeometry, tile: Tile) -> int:
    panels = -(-g.kernel[1] * g.in_channels // tile.columns)
    return panels * tile.columns * g.kernel[0] * g.out_channels


def _line(g: ConvGeometry) -> int:
    """Elements of a line that holds all that is added and all that is stored."""
    pixels = (g.out_width - 1) * g.stride[1] + g.kernel[1]
    pixels = max(pixels, g.width + g.padding[1][0])
    return -(-pixels * g.in_channels // _SLACK) * _SLACK + _SLACK


def _calls(binding: Binding) -> Sequence[Call]:
    x, w = anchor_operands(binding.op, binding.inputs)
    g, dtype = anchor_of(binding.op).geometry(x.spec, w.spec), x.spec.dtype
    channels, columns = g.in_channels, g.kernel[1] * g.in_channels
    tile, _ = choose_row_tile(binding.target, dtype, g.out_width, columns)
    image, _, row, pixel = x.strides
    sizes = SpreadSizes(
        g.batch, g.height, g.width, g.out_height, g.out_width, g.out_channels, image, row,
        g.kernel[0], g.stride[0], g.padding[0][0], g.padding[1][0], _line(g),
    )  # fmt: skip
    assert binding.prepared is not None and binding.workspace is not None
    step = g.stride[1] * channels
    code = RowSpread(dtype, tile, channels, columns, step, pixel, Epilogue.of(binding))
    product = Call(
        code,
        (x, binding.prepared, *epilogue_places(binding)),
        (binding.output, binding.workspace),
        (*astuple(sizes), *epilogue_sizes(binding)),
    )
    packing = spread_pack_call(
        w, binding.prepared, tile.columns, g.kernel, g.out_channels, channels
    )
    return [packing, product]


SPREAD = Method("spread", _algorithm, _calls)
