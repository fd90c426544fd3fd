"""The input gradient of a convolution with stride 1 as a forward convolution of gy.

    gx[c, h, v] = sum over k, r, s of w[k, c, r, s] * gy[k, h + pad - r * dilation, ...]

With r' = R - 1 - r this is a correlation of gy with the flipped weights w'[c, k, r', s'] and the
padding (R - 1) * dilation - pad: every forward algorithm is also one for the input gradient.
"""

from __future__ import annotations

from minigraph.ops.geometry import ConvGeometry, Pair, effective_kernel


def transposed_geometry(geometry: ConvGeometry) -> ConvGeometry:
    """The forward convolution, from y's shape to x's, that computes the input gradient."""

    def padding(axis: int, size: int, out: int) -> Pair:
        low = effective_kernel(geometry.kernel[axis], geometry.dilation[axis]) - 1
        low -= geometry.padding[axis][0]
        return low, size + geometry.padding[axis][0] - out  # so that its output has x's size

    return ConvGeometry(
        batch=geometry.batch,
        in_channels=geometry.out_channels,
        height=geometry.out_height,
        width=geometry.out_width,
        out_channels=geometry.in_channels,
        kernel=geometry.kernel,
        stride=(1, 1),
        padding=(
            padding(0, geometry.height, geometry.out_height),
            padding(1, geometry.width, geometry.out_width),
        ),
        dilation=geometry.dilation,
        groups=geometry.groups,
        out_height=geometry.height,
        out_width=geometry.width,
    )


def has_transposed(geometry: ConvGeometry) -> bool:
    """Whether the input gradient is a forward convolution with non-negative padding."""
    if geometry.stride != (1, 1):
        return False
    padding = transposed_geometry(geometry).padding
    return min(*padding[0], *padding[1]) >= 0
