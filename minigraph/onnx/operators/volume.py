"""Convolution of volumes (N,C,D,H,W), made of convolutions of images.

The planes that the kernel's planes meet become channels: (N,C,D,H,W) turns into images
(N D', C T, H, W) for a kernel of T planes. Its weight (K, C/groups, T, R, S) is then one of images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from minigraph.ir.errors import LoadError
from minigraph.ir.tensor import Tensor
from minigraph.ops.broadcast import reshape
from minigraph.ops.conv import Conv2d
from minigraph.ops.geometry import effective_kernel, output_size
from minigraph.ops.pad_modes import pad
from minigraph.ops.shape import Pad, concat, expand_dims, flip, transpose

_MAX_PLANES = 64


@dataclass(frozen=True)
class Axis:
    """How a window slides along one axis."""

    kernel: int
    stride: int
    padding: tuple[int, int]
    dilation: int


def volume_conv(x: Tensor, w: Tensor, axes: Sequence[Axis], groups: int) -> Tensor:
    """Convolution of ``x`` (N,C,D,H,W) with ``w`` (K,C/groups,T,R,S)."""
    depth, rows, columns = axes
    count = output_size(x.shape[2], depth.kernel, depth.stride, depth.padding, depth.dilation)
    if count < 1 or depth.kernel > _MAX_PLANES:
        raise LoadError(
            f"Expected a depth that a kernel of at most {_MAX_PLANES} planes fits, got {x.spec} "
            f"and {w.spec}"
        )
    x = pad(x, [(0, 0), (0, 0), depth.padding, (0, 0), (0, 0)])
    reach = (count - 1) * depth.stride + 1
    starts = [plane * depth.dilation for plane in range(depth.kernel)]
    taps = [x[:, :, start : start + reach : depth.stride] for start in starts]
    stacked = concat([expand_dims(tap, 2) for tap in taps], 2)  # (N,C,T,D',H,W)
    n, c, planes, _, height, width = stacked.shape
    images = reshape(transpose(stacked, (0, 3, 1, 2, 4, 5)), (n * count, c * planes, height, width))
    weight = reshape(w, (w.shape[0], w.shape[1] * planes, *w.shape[3:]))
    op = Conv2d(
        (rows.stride, columns.stride), (rows.padding, columns.padding),
        (rows.dilation, columns.dilation), groups,
    )  # fmt: skip
    (y,) = x.builder.emit(op, images, weight)
    return transpose(reshape(y, (n, count, *y.shape[1:])), (0, 2, 1, 3, 4))


def volume_conv_transpose(
    x: Tensor, w: Tensor, axes: Sequence[Axis], cut: Sequence[tuple[int, int]], groups: int
) -> Tensor:
    """Its adjoint: ``x`` (N,K,D,H,W) with ``w`` (K,C/groups,T,R,S), less ``cut`` at the borders.

    That is a convolution with the reversed kernel of ``x`` with zeros between its elements and
    around them, as many as the kernel reaches beyond.
    """
    if groups < 1 or w.shape[0] % groups:
        raise LoadError(f"Expected groups that divide {w.shape[0]} channels, got {groups}")
    between = (0, 0, *(axis.stride - 1 for axis in axes))
    (x,) = x.builder.emit(Pad((0,) * 5, (0,) * 5, between), x)
    reach = [effective_kernel(axis.kernel, axis.dilation) - 1 for axis in axes]
    around = [(r - low, r - high) for r, (low, high) in zip(reach, cut, strict=True)]
    x = pad(x, [(0, 0), (0, 0), *around])
    inputs, outputs, *kernel = w.shape
    by_group = reshape(w, (groups, inputs // groups, outputs, *kernel))
    exchanged = transpose(by_group, (0, 2, 1, 3, 4, 5))
    weight = flip(reshape(exchanged, (groups * outputs, inputs // groups, *kernel)), (2, 3, 4))
    plain = [Axis(axis.kernel, 1, (0, 0), axis.dilation) for axis in axes]
    return volume_conv(x, weight, plain, groups)
