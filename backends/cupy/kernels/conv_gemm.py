"""Convolutions as products: the windows of an image are one operand, never made (``gemm.py``).

Forward, the rows are the output's pixels and the depth is (tap, channel). A transposed convolution
gathers: with o = j stride + u dilation - padding, outputs o of one remainder
``q = (o + padding) mod stride`` (a phase) read by the same taps. With g = gcd(stride, dilation),
taps exist only where g divides q, and are ``u = a, a + stride/g, ...`` with
``a = (q/g) (dilation/g)^-1 mod (stride/g)``. From one such tap to the next, j goes down by
dilation/g: a phase is a small convolution of stride 1 that runs backwards. For the gradient of
weights the depth is all pixels, the rows are output channels and the columns (tap, channel).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from minigraph.backend import Algorithm, Slot
from minigraph.backends.cupy.call import AnyCall, Binding, Context, memory_seconds
from minigraph.backends.cupy.kernels.gemm_calls import (
    BatchAxis,
    Extents,
    Plan,
    matrix,
    pack_width,
    product_calls,
    product_seconds,
    workspace_bytes,
)
from minigraph.backends.cupy.kernels.gemm_operands import Matrix, Taps, Windows
from minigraph.backends.cupy.kernels.method import Method, Problem
from minigraph.lowering.epilogue import anchor_of, anchor_operands
from minigraph.ops.conv import Conv2d, ConvTranspose2d
from minigraph.ops.geometry import ConvGeometry
from minigraph.places import Table


def _is_pointwise(g: ConvGeometry) -> bool:
    """Whether every pixel of the output reads the pixel at its own place: a plain product."""
    return g.kernel == (1, 1) and g.stride == (1, 1) and g.padding == ((0, 0), (0, 0))


def extents_of(op: object, g: ConvGeometry) -> Extents:
    inputs, outputs = g.in_channels // g.groups, g.out_channels // g.groups
    pixels = g.batch * g.out_height * g.out_width
    if isinstance(op, Conv2d):
        return Extents(pixels, outputs, inputs * math.prod(g.kernel), g.groups)
    if not isinstance(op, ConvTranspose2d):
        return Extents(outputs, inputs * math.prod(g.kernel), pixels, g.groups)
    rows, depth = g.batch, outputs
    for axis, size in enumerate((g.height, g.width)):
        rows *= -(-size // g.stride[axis])
        depth *= -(-g.kernel[axis] // _cycle(g, axis))
    return Extents(rows, inputs, depth, g.groups, math.prod(g.stride))


def _cycle(g: ConvGeometry, axis: int) -> int:
    """The distance between taps of one phase of a transposed convolution."""
    return g.stride[axis] // math.gcd(g.stride[axis], g.dilation[axis])


# ---- forward


def _forward(g: ConvGeometry, x: Slot, w: Slot, y: Slot) -> Plan:
    extents = extents_of(Conv2d(), g)
    channels, outputs = g.in_channels // g.groups, g.out_channels // g.groups
    group = BatchAxis(g.groups, channels, outputs * w.strides[0], outputs)
    right, right_sizes = matrix(
        w, extents.columns, extents.depth, w.strides[0], w.strides[1], [group.b]
    )
    left: Matrix | Windows
    first: tuple[int, ...] = (extents.rows, extents.columns, extents.depth)
    if _is_pointwise(g):
        left, left_sizes = matrix(x, extents.rows, channels, x.strides[3], x.strides[1], [group.a])
    else:
        left, left_sizes = _windows(g, x, True)
        first += _window_extents(g)
    return Plan(extents, left, right, first, left_sizes, right_sizes, (y.strides[3],), (group,))


def _windows(g: ConvGeometry, x: Slot, depth_in_columns: bool) -> tuple[Windows, tuple[int, ...]]:
    channels = g.in_channels // g.groups
    width = pack_width(x, channels, _pixel_strides(x))
    sizes = (g.height, g.width, *g.stride, *g.dilation, *_pixel_strides(x))
    return Windows(width, depth_in_columns), sizes


def _window_extents(g: ConvGeometry) -> tuple[int, ...]:
    first = (-g.padding[0][0], -g.padding[1][0])
    return (g.out_height, g.out_width, *first, g.kernel[1], g.in_channels // g.groups)


def _pixel_strides(slot: Slot) -> tuple[int, int, int]:
    """Of image, line and pixel."""
    return slot.strides[0], slot.strides[2], slot.strides[3]


# ---- transposed


def _transposed(g: ConvGeometry, x: Slot, w: Slot, y: Slot) -> Plan:
    """Of ``x`` (batch, out_channels, out_height, out_width) to the convolution's input."""
    extents = extents_of(ConvTranspose2d(), g)
    channels, outputs = g.out_channels // g.groups, g.in_channels // g.groups
    group = BatchAxis(g.groups, channels, channels * w.strides[0], outputs)
    if _is_pointwise(g):
        left, left_sizes = matrix(x, extents.rows, channels, x.strides[3], x.strides[1], [group.a])
        right, right_sizes = matrix(w, outputs, channels, w.strides[1], w.strides[0], [group.b])
        first: tuple[int, ...] = (extents.rows, extents.columns, extents.depth)
        return Plan(extents, left, right, first, left_sizes, right_sizes, (y.strides[3],), (group,))
    tap_steps = (-(d // math.gcd(s, d)) for s, d in zip(g.stride, g.dilation, strict=True))
    return Plan(
        extents,
        Windows(pack_width(x, channels, _pixel_strides(x)), depth_in_columns=True),
        Taps(pack_width(w, outputs, (*_pixel_strides(w), group.b))),
        first_sizes=(g.batch, outputs, *g.stride, channels),
        a_sizes=(g.out_height, g.out_width, 1, 1, *tap_steps, *_pixel_strides(x)),
        b_sizes=(*_pixel_strides(w), _cycle(g, 0), _cycle(g, 1)),
        y_sizes=_pixel_strides(y),
        batch=(group,),
        phases=Table(np.array([*_phases(g, 0), *_phases(g, 1)], np.int32)),
    )


def _phases(g: ConvGeometry, axis: int) -> list[tuple[int, int, int, int, int]]:
    """Of each phase along one axis: windows, first output, first input, first tap, taps."""
    size, kernel = (g.height, g.width)[axis], g.kernel[axis]
    stride, dilation, padding = g.stride[axis], g.dilation[axis], g.padding[axis][0]
    common, cycle = math.gcd(stride, dilation), _cycle(g, axis)
    found = []
    for phase in range(stride):
        first_output = (phase - padding) % stride
        first_tap, taps = 0, 0
        if phase % common == 0:
            first_tap = phase // common * pow(dilation // common, -1, cycle) % cycle
            taps = len(range(first_tap, kernel, cycle))
        first_input = (first_output + padding - first_tap * dilation) // stride
        count = len(range(first_output, size, stride))
        found.append((count, first_output, first_input, first_tap, taps))
    return found


# ---- the gradient of weights


def _weight_gradient(g: ConvGeometry, x: Slot, gy: Slot, y: Slot) -> Plan:
    extents = extents_of(None, g)
    channels, outputs = g.in_channels // g.groups, g.out_channels // g.groups
    group = BatchAxis(g.groups, outputs, channels, outputs * y.strides[0])
    left, left_sizes = matrix(gy, outputs, extents.depth, gy.strides[1], gy.strides[3], [group.a])
    right: Matrix | Windows
    first: tuple[int, ...] = (extents.rows, extents.columns, extents.depth)
    if _is_pointwise(g):
        right, right_sizes = matrix(
            x, channels, extents.depth, x.strides[1], x.strides[3], [group.b]
        )
    else:
        right, right_sizes = _windows(g, x, False)
        first += _window_extents(g)
    return Plan(extents, left, right, first, left_sizes, right_sizes, (y.strides[0],), (group,))


# ---- methods


def _calls(binding: Binding) -> Sequence[AnyCall]:
    op, (first, second) = anchor_of(binding.op), anchor_operands(binding.op, binding.inputs)
    geometry = op.geometry(first.spec, second.spec)
    if isinstance(op, Conv2d):
        plan = _forward(geometry, first, second, binding.output)
    elif isinstance(op, ConvTranspose2d):
        plan = _transposed(geometry, first, second, binding.output)
    else:
        # y = gy^T x: the rows are those of the second operand.
        plan = _weight_gradient(geometry, first, second, binding.output)
        first, second = second, first
    return product_calls(binding, first, second, plan)


def _algorithm(problem: Problem, context: Context, name: str) -> Algorithm:
    extents = extents_of(problem.op, problem.geometry)
    (y,) = problem.op.infer(*anchor_operands(problem.node, problem.inputs))
    moved = memory_seconds(problem.node, problem.inputs)
    seconds = product_seconds(extents, problem.dtype, moved)
    return Algorithm(name, workspace_bytes(extents, y.size, problem.dtype), seconds)


def _plain(problem: Problem, context: Context) -> Algorithm | None:
    return _algorithm(problem, context, "gemm") if _is_pointwise(problem.geometry) else None


def _implicit(problem: Problem, context: Context) -> Algorithm | None:
    if _is_pointwise(problem.geometry):
        return None
    return _algorithm(problem, context, "implicit-gemm")


PLAIN = Method("gemm", _plain, _calls)
IMPLICIT = Method("implicit-gemm", _implicit, _calls)
