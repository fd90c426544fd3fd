"""Convolution and transposed convolution by summing over taps and channels: any geometry."""

from __future__ import annotations

from collections.abc import Sequence

from minigraph.backend import Algorithm, Slot, aligned
from minigraph.backends.llvm.call import Binding, Call, Context
from minigraph.backends.llvm.convolution.axis import axis_sizes, cycle_of
from minigraph.backends.llvm.convolution.blocking import (
    Inputs,
    Sums,
    choose_blocking,
    product_code,
    product_sizes,
)
from minigraph.backends.llvm.convolution.method import (
    Method,
    Problem,
    address_seconds,
    estimated_seconds,
)
from minigraph.backends.llvm.convolution.pack import Source, computed, pack_calls
from minigraph.backends.llvm.kernels.epilogue import Epilogue, epilogue_sizes
from minigraph.lowering.epilogue import Kind, anchor_of, anchor_operands, epilogue_places
from minigraph.ops.conv import ConvTranspose2d
from minigraph.ops.geometry import ConvGeometry


def sums_of(geometry: ConvGeometry, transposed: bool) -> Sums:
    """The extents of a convolution, or of its adjoint."""
    g = geometry
    taps = g.kernel[0] * g.kernel[1]
    depthwise = is_depthwise(g)
    groups = 1 if depthwise else g.groups
    outputs, inputs = g.out_channels // groups, g.in_channels // g.groups
    if not transposed:
        pixels = g.batch * g.out_height * g.out_width
        return Sums(pixels, 1, groups, outputs, inputs, taps, taps, depthwise)
    phase_taps, pixels = 1, g.batch
    for size, kernel, stride, dilation in zip(
        (g.height, g.width), g.kernel, g.stride, g.dilation, strict=True
    ):
        phase_taps *= -(-kernel // cycle_of(stride, dilation))
        pixels *= -(-size // stride)
    outputs, inputs = g.in_channels // groups, g.out_channels // g.groups
    phases = g.stride[0] * g.stride[1]
    return Sums(pixels, phases, groups, outputs, inputs, taps, phase_taps, depthwise)


def is_depthwise(geometry: ConvGeometry) -> bool:
    """Every channel by itself."""
    return 1 < geometry.groups == geometry.in_channels == geometry.out_channels


def _algorithm(name: str, problem: Problem, context: Context) -> Algorithm | None:
    g, dtype = problem.geometry, problem.dtype
    sums = sums_of(g, isinstance(problem.op, ConvTranspose2d))
    blocking = choose_blocking(sums, dtype, context.target, context.threads)
    prepared = sums.groups * blocking.packed_elements(sums) * computed(dtype).itemsize
    columns = blocking.tile.columns
    filled = -(-sums.outputs // columns) * columns / sums.outputs
    seconds = estimated_seconds(context, dtype, g.flops / 2 * filled, problem.bytes + prepared)
    seconds += address_seconds(g)
    workspace = context.threads * aligned(blocking.scratch_bytes(sums, dtype))
    return Algorithm(name, workspace, seconds, prepared=prepared, prepares=(problem.operands[1],))


def _calls(binding: Binding) -> Sequence[Call]:
    if binding.output.spec.size == 0:
        return []
    op = anchor_of(binding.op)
    transposed = isinstance(op, ConvTranspose2d)
    x, w = anchor_operands(binding.op, binding.inputs)
    g = op.geometry(x.spec, w.spec)
    sums, dtype = sums_of(g, transposed), x.spec.dtype
    blocking = choose_blocking(sums, dtype, binding.target, binding.threads)
    image, _, row, pixel = x.strides
    axes = [
        axis_sizes(size, g.kernel[i], g.stride[i], g.padding[i][0], g.dilation[i], transposed)
        for i, size in enumerate(binding.output.spec.shape[2:])
    ]
    n, _, height, width = x.spec.shape
    inputs = Inputs(n, height, width, image, row, pixel)
    flat = not (transposed and sums.phases > 1) and lies_flat(binding)
    assert binding.prepared is not None and binding.workspace is not None
    product = Call(
        product_code(sums, blocking, dtype, Epilogue.of(binding), transposed, flat),
        (x, binding.prepared, *epilogue_places(binding)),
        (binding.output, binding.workspace),
        (
            *product_sizes(
                sums, blocking, dtype, inputs,
                group_stride=sums.channels, output_group_stride=sums.outputs,
            ),
            *axes[0], *axes[1], *epilogue_sizes(binding),
        ),
    )  # fmt: skip
    source = weight_source(w, g, transposed)
    return [*pack_calls(w, binding.prepared, source, blocking.tile.columns), product]


def weight_source(w: Slot, g: ConvGeometry, transposed: bool) -> Source[int]:
    """A weight (K,C/groups,R,S) as the matrices that a convolution, or its adjoint, sums by."""
    out, inner, down, across = w.strides
    cycles = (1, 1)
    if transposed:
        cycles = (cycle_of(g.stride[0], g.dilation[0]), cycle_of(g.stride[1], g.dilation[1]))
    outputs, inputs = g.out_channels // g.groups, g.in_channels // g.groups
    if is_depthwise(g):
        return Source(1, 1, g.groups, *g.kernel, 0, 1, out, down, across, *cycles)
    group = outputs * out
    if transposed:
        return Source(
            g.groups, outputs, inputs, *g.kernel, group, out, inner, down, across, *cycles
        )
    return Source(g.groups, inputs, outputs, *g.kernel, group, inner, out, down, across, *cycles)


def lies_flat(binding: Binding) -> bool:
    """Whether results and all that the epilogue reads beside them lie pixel by pixel."""
    kinds = Epilogue.of(binding).kinds
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
