"""Window arithmetic shared by convolution and pooling, and by the kernels that implement them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minigraph.ir.errors import SpecError
from minigraph.ir.footprint import Footprint
from minigraph.ops.arguments import integer, is_integer

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]  # ((top, bottom), (left, right))


@dataclass(frozen=True, slots=True)
class ConvGeometry:
    """All sizes of one 2-D convolution, seen from its forward pass.

    The input gradient and the weight gradient of a convolution, and a transposed convolution, are
    described by the geometry of the forward convolution that they belong to: one description,
    three directions.

    Shapes: input ``(batch, in_channels, height, width)``, weight ``(out_channels,
    in_channels / groups, *kernel)``, output ``(batch, out_channels, out_height, out_width)``.
    """

    batch: int
    in_channels: int
    height: int
    width: int
    out_channels: int
    kernel: Pair
    stride: Pair
    padding: Padding
    dilation: Pair
    groups: int
    out_height: int
    out_width: int

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        return (self.batch, self.in_channels, self.height, self.width)

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        return (self.out_channels, self.in_channels // self.groups, *self.kernel)

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        return (self.batch, self.out_channels, self.out_height, self.out_width)

    @property
    def flops(self) -> int:
        """Floating-point operations (a multiply-add is two), the same in all three directions."""
        macs_per_output = (self.in_channels // self.groups) * self.kernel[0] * self.kernel[1]
        return (
            2 * self.batch * self.out_channels * self.out_height * self.out_width * macs_per_output
        )


def effective_kernel(kernel: int, dilation: int) -> int:
    """Extent of a dilated kernel: ``(kernel - 1) * dilation + 1``."""
    return (kernel - 1) * dilation + 1


def output_size(size: int, kernel: int, stride: int, padding: Pair, dilation: int) -> int:
    """Number of window positions along one axis (floor mode); may be zero or negative."""
    return (size + sum(padding) - effective_kernel(kernel, dilation)) // stride + 1


def ceil_output_size(size: int, kernel: int, stride: int, padding: Pair, dilation: int) -> int:
    """Number of window positions along one axis in ceil mode; may be zero or negative.

    A last window may reach beyond the padding, but one that would start past the input's end, in
    the high padding, is left out (torch's rule, and ONNX's).
    """
    room = size + sum(padding) - effective_kernel(kernel, dilation)
    count = -(-room // stride) + 1
    return count - 1 if (count - 1) * stride >= size + padding[0] else count


def same_padding(size: int, kernel: int, stride: int, dilation: int) -> Pair:
    """Padding for an output of ``ceil(size / stride)``; an odd remainder goes to the high side."""
    out = -(-size // stride)
    total = max((out - 1) * stride + effective_kernel(kernel, dilation) - size, 0)
    return (total // 2, total - total // 2)


def window_footprint(
    axis: int, kernel: Pair, stride: Pair, padding: Padding, dilation: Pair = (1, 1)
) -> Footprint:
    """What a window sliding over (N,C,H,W) reads; over batch and channels it does not slide."""
    if axis < 2:
        return Footprint(axis)
    side = axis - 2
    first = -padding[side][0]
    reach = effective_kernel(kernel[side], dilation[side]) - 1
    return Footprint(axis, stride[side], first, first + reach)


def pair(value: int | Sequence[int]) -> Pair:
    """One number for both axes, or ``(height, width)``. Raises SpecError."""
    values = (value, value) if is_integer(value) else value
    if not isinstance(values, Sequence) or len(values) != 2 or not all(map(is_integer, values)):
        raise SpecError(f"Expected an integer or (height, width), got {value!r}")
    return (integer(values[0], "a height"), integer(values[1], "a width"))


def normalise_padding(padding: Any) -> Padding:
    """``p``, ``(vertical, horizontal)``, ``((top, bottom), (left, right))`` or ``"valid"``."""
    if isinstance(padding, str):
        if padding == "valid":
            return ((0, 0), (0, 0))
        raise SpecError(f"Expected a padding of numbers, 'same' or 'valid', got {padding!r}")
    sides = (padding, padding) if is_integer(padding) else padding
    try:
        vertical, horizontal = (pair(side) for side in sides)
    except (SpecError, TypeError, ValueError):
        vertical = horizontal = (-1, -1)
    if min(*vertical, *horizontal) < 0:
        raise SpecError(
            f"Expected a padding of zero or more: p, (vertical, horizontal) or "
            f"((top, bottom), (left, right)), got {padding!r}"
        )
    return (vertical, horizontal)
