"""Windows as columns and back, and unshared convolution, which is a product for each position.

Unfold2d copies windows out, Fold2d adds them back: each other's adjoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minigraph.ir.errors import SpecError
from minigraph.ir.op import Cost, Cotangents, Tensors, memory_cost
from minigraph.ir.spec import TensorSpec
from minigraph.ir.tensor import Tensor
from minigraph.ops.broadcast import reshape
from minigraph.ops.elementwise import operands
from minigraph.ops.geometry import Pair
from minigraph.ops.matmul import matmul
from minigraph.ops.pool import Window, window_of
from minigraph.ops.shape import transpose


@dataclass(frozen=True)
class Unfold2d(Window):
    """(N,C,H,W) gives the windows as columns, (N,C*R*S,H'*W'); padding is zeros."""

    def infer(self, x: TensorSpec) -> tuple[TensorSpec, ...]:
        n, c, height, width = self.pooled_shape(x)
        return (x.with_shape((n, c * self.kernel[0] * self.kernel[1], height * width)),)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        size = (inputs[0].shape[2], inputs[0].shape[3])
        return grads[0].builder.emit(Fold2d(*self.window, size), grads[0])

    def cost(self, x: TensorSpec) -> Cost:
        return memory_cost(0, (x,), self.infer(x))


@dataclass(frozen=True)
class Fold2d(Window):
    """Columns (N,C*R*S,H'*W') added back to images of ``output_size``: the adjoint of Unfold2d."""

    output_size: Pair = (0, 0)

    absolute_attributes = ("output_size",)
    absolute_axes = (2,)

    def infer(self, columns: TensorSpec) -> tuple[TensorSpec, ...]:
        places = self.kernel[0] * self.kernel[1]
        if columns.ndim != 3 or columns.shape[1] % places:
            raise SpecError(f"Expected columns (N,C*{places},positions), got {columns}")
        result = columns.with_shape(
            (columns.shape[0], columns.shape[1] // places, *self.output_size)
        )
        height, width = self.pooled_shape(result)[2:]
        if columns.shape[2] != height * width:
            raise SpecError(f"Expected {height * width} positions, got {list(columns.shape)}")
        return (result,)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        return grads[0].builder.emit(Unfold2d(*self.window), grads[0])

    def cost(self, columns: TensorSpec) -> Cost:
        return memory_cost(columns.size, (columns,), self.infer(columns))


# ---- functions


def unfold2d(
    x: Tensor,
    kernel: int | Sequence[int],
    stride: int | Sequence[int] = 1,
    padding: Any = 0,
    dilation: int | Sequence[int] = 1,
) -> Tensor:
    """The windows of a convolution as columns, im2col: (N,C,H,W) gives (N,C*R*S,H'*W').

    torch's ``unfold``. Padding (zeros) as in ``max_pool2d``.
    """
    op = Unfold2d(*window_of(kernel, stride, padding, dilation, False))
    return x.builder.emit(op, x)[0]


def fold2d(
    columns: Tensor,
    output_size: Pair,
    kernel: int | Sequence[int],
    stride: int | Sequence[int] = 1,
    padding: Any = 0,
    dilation: int | Sequence[int] = 1,
) -> Tensor:
    """Adds columns (N,C*R*S,H'*W') back to images (N,C,*output_size): the adjoint of unfold2d.

    torch's ``fold``; elements of windows that overlap add up.
    """
    op = Fold2d(*window_of(kernel, stride, padding, dilation, False), output_size)
    return columns.builder.emit(op, columns)[0]


def locally_connected2d(
    x: Tensor,
    weight: Tensor,
    stride: int | Sequence[int] = 1,
    padding: Any = 0,
    dilation: int | Sequence[int] = 1,
) -> Tensor:
    """Unshared convolution: a weight of its own for every output position.

    ``x`` (N,C,H,W) with ``weight`` (H',W',K,C,R,S) gives (N,K,H',W')::

        y[n, k, i, j] = sum_{c, u, v} weight[i, j, k, c, u, v] x[n, c, i s + u d - p, j s + v d - p]

    As columns: for each position p the product (K, C R S) x (C R S, N). It needs the columns twice.
    """
    x, weight = operands(x, weight)
    if weight.ndim != 6:
        raise SpecError(f"Expected a weight (H',W',K,C,R,S), got {weight.spec}")
    height, width, outputs, channels, *kernel = weight.shape
    window = Unfold2d(*window_of(kernel, stride, padding, dilation, False))
    if x.ndim == 4 and x.shape[1] != channels:
        raise SpecError(f"Expected {channels} input channels (weight {weight.spec}), got {x.spec}")
    positions = window.pooled_shape(x.spec)[2:]
    if positions != (height, width):
        raise SpecError(
            f"Expected weights for {positions[0]}x{positions[1]} positions, got {weight.spec}"
        )
    columns = transpose(x.builder.emit(window, x)[0], (2, 1, 0))  # (positions, C R S, N)
    each = reshape(weight, (height * width, outputs, columns.shape[1]))
    products = transpose(matmul(each, columns), (2, 1, 0))  # from (positions, K, N)
    return reshape(products, (-1, outputs, height, width))
