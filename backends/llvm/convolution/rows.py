"""Convolution of images with few channels, by whole rows of the kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple

from minigraph.backend import Algorithm
from minigraph.backends.llvm.call import Binding, Call, Context
from minigraph.backends.llvm.convolution.direct import weight_source
from minigraph.backends.llvm.convolution.method import Method, Problem, estimated_seconds
from minigraph.backends.llvm.convolution.pack import computed, pack_calls
from minigraph.backends.llvm.convolution.rows_lines import (
    balanced_block,
    line_sizes,
    rows_reach,
    scratch_bytes,
    window_of,
)
from minigraph.backends.llvm.convolution.rows_product import LineProduct, RowProduct
from minigraph.backends.llvm.convolution.tile import Tile, lanes_of
from minigraph.backends.llvm.kernels.epilogue import Epilogue, epilogue_sizes
from minigraph.backends.llvm.target import Target
from minigraph.ir.spec import DType
from minigraph.lowering.epilogue import anchor_of, anchor_operands, epilogue_places

FEW_CHANNELS = 15
_MOST_STEPS = 128

_TILES_WITH_32_REGISTERS = {1: (28, 0.66), 2: (12, 0.75), 3: (9, 0.78), 4: (6, 0.8)}
_TILES_WITH_16_REGISTERS = {1: (10, 0.5), 2: (6, 0.75)}
"""By vectors of a tile: the most rows, and the part of the processor's multiply-adds attained."""


def choose_row_tile(target: Target, dtype: DType, pixels: int, columns: int) -> tuple[Tile, float]:
    """The quickest tile for rows of so many pixels, and what a multiply-add of a result costs: more
    than one, for those computed in vain and for what other instructions take."""
    lanes = lanes_of(target, dtype)
    tiles = _TILES_WITH_32_REGISTERS if target.vector_registers >= 32 else _TILES_WITH_16_REGISTERS
    best, least = None, float("inf")
    for vectors, (most, attained) in tiles.items():
        filled = -(-columns // (vectors * lanes)) * vectors * lanes / columns
        for rows in range(1, min(most, pixels) + 1):
            computed_pixels = -(-pixels // rows) * rows / pixels
            # Each tile takes time to start and to store, and multiply-adds wait for the last ones.
            short = max(1.0, 8 / (rows * vectors)) * (1 + 0.5 / rows)
            cost = filled * computed_pixels * short / attained
            if cost < least:
                best, least = Tile(rows, vectors, lanes, 4), cost
    assert best is not None
    return best, least


def _algorithm(name: str, problem: Problem, context: Context) -> Algorithm | None:
    g, dtype = problem.geometry, problem.dtype
    steps = g.in_channels * g.kernel[1]
    if not rows_reach(g) or g.in_channels > FEW_CHANNELS or steps > _MOST_STEPS:
        return None
    if problem.bytes == 0 or 0 in g.output_shape or g.in_channels == 0:
        return None
    tile, cost = choose_row_tile(context.target, dtype, g.out_width, g.out_channels)
    return line_algorithm(name, problem, context, g.flops / 2 * cost, tile.columns)


def line_algorithm(
    name: str, problem: Problem, context: Context, multiply_adds: float, panel: int
) -> Algorithm:
    """A product from lines, over weights in panels of so many columns."""
    g, dtype = problem.geometry, problem.dtype
    panels = -(-g.out_channels // panel)
    elements = panels * panel * g.kernel[0] * g.kernel[1] * g.in_channels
    prepared = elements * computed(dtype).itemsize
    moved = problem.bytes + prepared
    seconds = estimated_seconds(context, dtype, multiply_adds, moved, attained=1.0)
    rows = balanced_block(g, dtype, context.threads)
    workspace = context.threads * scratch_bytes(g, dtype, rows)
    return Algorithm(name, workspace, seconds, prepared=prepared, prepares=(problem.operands[1],))


def line_calls(binding: Binding, product: LineProduct, panel: int) -> list[Call]:
    """The packing of its weights, and the product."""
    x, w = anchor_operands(binding.op, binding.inputs)
    g = anchor_of(binding.op).geometry(x.spec, w.spec)
    assert binding.prepared is not None and binding.workspace is not None
    sizes = line_sizes(g, x, balanced_block(g, x.spec.dtype, binding.threads))
    call = Call(
        product,
        (x, binding.prepared, *epilogue_places(binding)),
        (binding.output, binding.workspace),
        (*astuple(sizes), g.out_channels, *epilogue_sizes(binding)),
    )
    return [*pack_calls(w, binding.prepared, weight_source(w, g, False), panel), call]


def _calls(binding: Binding) -> Sequence[Call]:
    x, w = anchor_operands(binding.op, binding.inputs)
    g, dtype = anchor_of(binding.op).geometry(x.spec, w.spec), x.spec.dtype
    tile, _ = choose_row_tile(binding.target, dtype, g.out_width, g.out_channels)
    whole = g.out_channels % tile.columns == 0
    code = RowProduct(dtype, window_of(g, x), tile, Epilogue.of(binding), whole)
    return line_calls(binding, code, tile.columns)


ROWS = Method("rows", _algorithm, _calls)
