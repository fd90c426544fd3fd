"""Convolution and pooling of sequences (N,C,L), as images (N,C,1,L) that are one pixel high."""

from __future__ import annotations

from typing import Any

from minigraph.ir.errors import SpecError
from minigraph.ir.tensor import Tensor
from minigraph.ops.arguments import integer, is_integer
from minigraph.ops.broadcast import reshape
from minigraph.ops.conv import conv2d, conv_transpose2d
from minigraph.ops.geometry import pair
from minigraph.ops.pool import avg_pool2d, max_pool2d
from minigraph.ops.shape import squeeze


def as_image(x: Tensor) -> Tensor:
    """(N,C,L) as (N,C,1,L). Raises SpecError."""
    if x.ndim != 3:
        raise SpecError(f"Expected sequences (N,C,L), got {x.spec}")
    return reshape(x, (-1, x.shape[1], 1, x.shape[2]))


def conv1d(
    x: Tensor,
    weight: Tensor,
    stride: int = 1,
    padding: Any = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Tensor:
    """Convolution of ``x`` (N,C,L) with ``weight`` (K,C/groups,R).

    ``padding`` is a number, ``(low, high)``, ``"same"`` or ``"valid"``.
    """
    y = conv2d(
        as_image(x), _kernel(weight), _along(stride, 1), _padding(padding), _along(dilation, 1),
        groups,
    )  # fmt: skip
    return squeeze(y, 2)


def conv_transpose1d(
    x: Tensor,
    weight: Tensor,
    stride: int = 1,
    padding: Any = 0,
    output_padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Tensor:
    """Transposed convolution of ``x`` (N,K,L) with ``weight`` (K,C/groups,R)."""
    y = conv_transpose2d(
        as_image(x), _kernel(weight), _along(stride, 1), _padding(padding),
        _along(output_padding, 0), _along(dilation, 1), groups,
    )  # fmt: skip
    return squeeze(y, 2)


def max_pool1d(
    x: Tensor,
    kernel: int,
    stride: int | None = None,
    padding: Any = 0,
    dilation: int = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """Maxima of sliding windows over (N,C,L); the stride is the kernel by default."""
    step = kernel if stride is None else stride
    y = max_pool2d(
        as_image(x), _along(kernel, 1), _along(step, 1), _padding(padding), _along(dilation, 1),
        ceil_mode,
    )  # fmt: skip
    return squeeze(y, 2)


def avg_pool1d(
    x: Tensor,
    kernel: int,
    stride: int | None = None,
    padding: Any = 0,
    *,
    count_include_pad: bool = True,
    ceil_mode: bool = False,
) -> Tensor:
    """Means of sliding windows over (N,C,L); the stride is the kernel by default."""
    step = kernel if stride is None else stride
    y = avg_pool2d(
        as_image(x), _along(kernel, 1), _along(step, 1), _padding(padding),
        count_include_pad=count_include_pad, ceil_mode=ceil_mode,
    )  # fmt: skip
    return squeeze(y, 2)


def _along(value: int, other: int) -> tuple[int, int]:
    return (other, integer(value, "a size along a sequence"))


def _padding(padding: Any) -> Any:
    if isinstance(padding, str):
        return padding
    return ((0, 0), (padding, padding) if is_integer(padding) else pair(padding))


def _kernel(weight: Tensor) -> Tensor:
    if weight.ndim != 3:
        raise SpecError(f"Expected a weight (outputs,inputs,size), got {weight.spec}")
    outputs, inputs, size = weight.shape
    return reshape(weight, (outputs, inputs, 1, size))
