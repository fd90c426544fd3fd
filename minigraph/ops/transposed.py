"""Transposed convolution in other words: zero insertion, or a convolution for each output phase.

Full output element ``o`` of one axis, before padding is cropped, sums over all ``o = i s + u d``::

    y[o] = sum_{i, u: i s + u d = o} w[u] x[i]

*Zero insertion* (fractional stride): put ``s - 1`` zeros between the inputs, ``z[i s] = x[i]``.
Then ``y[o] = sum_u w[u] z[o - u d]``: a convolution of stride 1, dilation d, the kernel flipped.

*Sub-pixel* (Shi et al. 2016, arXiv:1609.05158): the outputs ``o = q s + r`` of one phase ``r`` meet
only the kernel elements with ``u d = r (mod s)``. With ``g = gcd(s, d)`` there are none unless g
divides r; else they are ``u0 + m s / g``, one for each m, and ``i = q + (r - u0 d) / s - m d / g``.
So each phase is a convolution of stride 1, dilation ``d / g`` and a kernel ``s / g`` times
smaller over ``x`` itself; interleaving the phases (pixel shuffle) gives y without a product with 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from minigraph.ir.tensor import Tensor
from minigraph.ops.broadcast import reshape
from minigraph.ops.conv import Conv2d, ConvTranspose2d
from minigraph.ops.geometry import ConvGeometry
from minigraph.ops.pad_modes import pad
from minigraph.ops.shape import Pad, concat, flip, transpose


def by_zero_insertion(x: Tensor, w: Tensor, op: ConvTranspose2d) -> Tensor:
    """``op`` on ``x`` (N,K,H,W) and ``w`` (K,C/groups,R,S), as a convolution of a spread ``x``."""
    geometry = op.geometry(x.spec, w.spec)
    interior = (0, 0, op.stride[0] - 1, op.stride[1] - 1)
    (spread,) = x.builder.emit(Pad((0,) * 4, (0,) * 4, interior), x)
    # z[o - u d + top] for the outputs o of the crop: (R - 1) d - top zeros before z.
    borders = []
    for axis in (0, 1):
        reach = (geometry.kernel[axis] - 1) * op.dilation[axis]
        top, bottom = op.padding[axis]
        borders.append((reach - top, reach - bottom + op.output_padding[axis]))
    padded = pad(spread, [(0, 0), (0, 0), *borders])  # negative where more is cropped: z is cut
    conv = Conv2d(dilation=op.dilation, groups=op.groups)
    return x.builder.emit(conv, padded, _adjoint_weight(w, op.groups))[0]


def by_sub_pixels(x: Tensor, w: Tensor, op: ConvTranspose2d) -> Tensor:
    """``op`` on ``x`` (N,K,H,W) and ``w`` (K,C/groups,R,S), as a convolution for each phase."""
    geometry = op.geometry(x.spec, w.spec)
    rows, columns = (_phases(geometry, axis) for axis in (0, 1))
    maps = [_phase(x, w, geometry, row, column) for row in rows for column in columns]
    stride_h, stride_w = op.stride
    height, width = maps[0].shape[2:]
    channels = geometry.in_channels
    # (N, (a b C), q, r) to (N, C, (q a), (r b)): rows a and columns b of the phases interleaved
    stacked = reshape(concat(maps), (-1, stride_h, stride_w, channels, height, width))
    shuffled = transpose(stacked, (0, 3, 4, 1, 5, 2))
    y = reshape(shuffled, (-1, channels, height * stride_h, width * stride_w))
    return y[:, :, : geometry.height, : geometry.width]


# ---- parts


def _adjoint_weight(w: Tensor, groups: int) -> Tensor:
    """(K,C/groups,R,S) to (C,K/groups,R,S): channels exchanged in each group, kernel flipped."""
    inputs, outputs, *kernel = w.shape
    by_group = reshape(w, (groups, inputs // groups, outputs, *kernel))
    exchanged = transpose(by_group, (0, 2, 1, 3, 4))
    return flip(reshape(exchanged, (groups * outputs, inputs // groups, *kernel)), (2, 3))


@dataclass(frozen=True)
class _Phase:
    """One axis of one phase: its part of the kernel, and the convolution that it makes."""

    kernel: slice
    dilation: int
    borders: tuple[int, int]  # zeros around x; negative: x is cut
    outputs: int
    empty: bool  # no kernel element, or none that meets x


def _phases(geometry: ConvGeometry, axis: int) -> list[_Phase]:
    """The phases of the cropped outputs: o = q s + r - top for r in [top, top + s)."""
    kernel, stride, dilation = (
        size[axis] for size in (geometry.kernel, geometry.stride, geometry.dilation)
    )
    inputs = (geometry.out_height, geometry.out_width)[axis]
    outputs = -(-(geometry.height, geometry.width)[axis] // stride)
    common = math.gcd(stride, dilation)
    top = geometry.padding[axis][0]
    found = []
    for r in range(top, top + stride):
        first = next(
            (u for u in range(min(kernel, stride)) if (r - u * dilation) % stride == 0), kernel
        )
        part = slice(first, kernel, stride // common)
        last = len(range(*part.indices(kernel))) - 1  # the largest m
        at = (r - first * dilation) // stride  # i = q + at - m d / g
        low = last * (dilation // common) - at
        high = outputs - 1 + at - (inputs - 1)
        empty = last < 0 or low <= -inputs or high <= -inputs
        found.append(_Phase(part, dilation // common, (low, high), outputs, empty))
    return found


def _phase(x: Tensor, w: Tensor, geometry: ConvGeometry, row: _Phase, column: _Phase) -> Tensor:
    if row.empty or column.empty:
        shape = (geometry.batch, geometry.in_channels, row.outputs, column.outputs)
        return x.builder.full(shape, 0.0, x.dtype)
    padded = pad(x, [(0, 0), (0, 0), row.borders, column.borders])
    weight = _adjoint_weight(w[:, :, row.kernel, column.kernel], geometry.groups)
    conv = Conv2d(dilation=(row.dilation, column.dilation), groups=geometry.groups)
    return x.builder.emit(conv, padded, weight)[0]
