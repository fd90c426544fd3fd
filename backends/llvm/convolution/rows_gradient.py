"""The weight gradient of convolutions with few input channels: how its sums are cut into pieces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

from minigraph.backend import Algorithm
from minigraph.backends.llvm.call import Binding, Call, Context
from minigraph.backends.llvm.convolution.method import Method, Problem, estimated_seconds
from minigraph.backends.llvm.convolution.pack import computed
from minigraph.backends.llvm.convolution.rows import FEW_CHANNELS
from minigraph.backends.llvm.convolution.rows_lines import (
    block_rows,
    line_sizes,
    rows_reach,
    scratch_bytes,
    window_of,
)
from minigraph.backends.llvm.convolution.rows_sums import RowSums, RowTotals, SumTile
from minigraph.backends.llvm.convolution.tile import lanes_of
from minigraph.backends.llvm.target import Target
from minigraph.ir.spec import DType
from minigraph.ops.geometry import ConvGeometry
from minigraph.places import carve, carved_bytes

_MOST_PARTS = 32
_GRADIENT_BYTES = 64 << 10  # of a block of output rows, which stays in the second-level cache
_SUMS_BYTES = 4 << 20  # of all parts together
_ATTAINED = {1: 0.65, 2: 0.75, 3: 0.75, 4: 0.7}  # by vectors of a tile


@dataclass(frozen=True)
class _Plan:
    """Shapes alone determine all that the order of sums depends on."""

    form: SumTile
    cost: float  # multiply-adds that count for each that is wanted
    panels: int
    block: int  # output rows
    parts: int
    sums: int  # elements, of all parts


def _form(target: Target, dtype: DType, g: ConvGeometry) -> tuple[SumTile, float]:
    """The quickest tile, and what its multiply-adds cost."""
    lanes = lanes_of(target, dtype)
    registers = 28 if target.vector_registers >= 32 else 12
    steps = g.in_channels * g.kernel[1]
    heights = [(1, -(-steps // pieces)) for pieces in range(1, steps + 1)]
    heights += [(n, steps) for n in range(2, g.kernel[0] + 1) if g.kernel[0] % n == 0]
    best, least = SumTile(1, 1, 1, lanes), float("inf")
    for vectors, attained in _ATTAINED.items():
        filled = -(-g.out_channels // (vectors * lanes)) * vectors * lanes / g.out_channels
        for kernel_rows, of_row in heights:
            rows = kernel_rows * of_row
            # With one vector numbers are operands of the multiply-adds themselves.
            if rows * vectors > registers - (vectors - 1):
                continue
            latency = max(1.0, 8 / (rows * vectors))
            cost = filled * latency * (1 + 1 / rows) / attained
            if cost < least:
                best, least = SumTile(kernel_rows, of_row, vectors, lanes), cost
    return best, least


def _plan(g: ConvGeometry, dtype: DType, target: Target) -> _Plan:
    form, cost = _form(target, dtype, g)
    row_bytes = g.out_width * g.out_channels * dtype.itemsize
    block = max(1, min(block_rows(g, dtype), _GRADIENT_BYTES // row_bytes))
    blocks = g.batch * -(-g.out_height // block)
    while block > 1 and blocks < 2 * _MOST_PARTS:
        block = -(-block // 2)
        blocks = g.batch * -(-g.out_height // block)
    panels = -(-g.out_channels // form.columns)
    sums = panels * form.columns * g.kernel[0] * g.kernel[1] * g.in_channels
    parts = max(1, min(blocks, _MOST_PARTS, _SUMS_BYTES // (sums * computed(dtype).itemsize)))
    return _Plan(form, cost, panels, block, parts, parts * sums)


def _workspace(
    plan: _Plan, g: ConvGeometry, dtype: DType, threads: int
) -> tuple[tuple[DType, int], ...]:
    lines = scratch_bytes(g, dtype, plan.block)
    return (computed(dtype), plan.sums), (DType.UINT8, threads * lines)


def _algorithm(name: str, problem: Problem, context: Context) -> Algorithm | None:
    g, dtype = problem.geometry, problem.dtype
    if not rows_reach(g) or not 0 < g.in_channels <= FEW_CHANNELS:
        return None
    if 0 in g.output_shape or 0 in g.input_shape:
        return None
    plan = _plan(g, dtype, context.target)
    parts = _workspace(plan, g, dtype, context.threads)
    moved = problem.bytes + 2 * parts[0][1] * computed(dtype).itemsize
    seconds = estimated_seconds(context, dtype, g.flops / 2 * plan.cost, moved, attained=1.0)
    return Algorithm(name, carved_bytes(*parts), seconds)


def _calls(binding: Binding) -> Sequence[Call]:
    x, gradient = binding.inputs
    g, dtype = binding.op.geometry(x.spec, gradient.spec), x.spec.dtype
    plan = _plan(g, dtype, binding.target)
    sums, scratch = carve(binding.workspace, *_workspace(plan, g, dtype, binding.threads))
    sizes = line_sizes(g, x, plan.block)
    image, _, row, pixel = gradient.strides
    whole = g.out_channels % plan.form.columns == 0
    out, inner, down, across = binding.output.strides
    return [
        Call(
            RowSums(dtype, window_of(g, x), plan.form, whole),
            (x, gradient),
            (sums, scratch),
            (*astuple(sizes), g.out_channels, plan.parts, image, row, pixel),
        ),
        Call(
            RowTotals(dtype, plan.form.vectors, plan.form.lanes),
            (sums,),
            (binding.output,),
            (plan.parts, g.out_channels, *g.kernel, g.in_channels, out, down, across, inner),
        ),
    ]


ROWS = Method("rows", _algorithm, _calls)
