"""Max and average pooling with their gradients, and global pooling.

Max pooling gives the positions of its maxima as a second output: the index within the window,
row by row (the first of equal ones). Its gradient scatters by position, the gradient of that
gathers by position, and so on: the set is closed, and the input need not be kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minigraph.ir.errors import SpecError
from minigraph.ir.op import Cost, Cotangents, Footprints, Op, Tensors, memory_cost
from minigraph.ir.spec import DType, TensorSpec
from minigraph.ir.tensor import Tensor
from minigraph.ops.geometry import (
    Padding,
    Pair,
    normalise_padding,
    output_size,
    pair,
    window_footprint,
)
from minigraph.ops.reduce import reduce_max, reduce_mean


@dataclass(frozen=True)
class Window(Op):
    """What all pooling ops share: a window that slides over height and width."""

    kernel: Pair
    stride: Pair
    padding: Padding = ((0, 0), (0, 0))

    def __post_init__(self) -> None:
        if min(self.kernel) < 1 or min(self.stride) < 1:
            raise SpecError(
                f"Expected a kernel and a stride of one or more, got {self.kernel}, {self.stride}"
            )
        for size, (low, high) in zip(self.kernel, self.padding, strict=True):
            if max(low, high) >= size:
                raise SpecError(
                    f"Expected a padding smaller than the kernel {size}, got {(low, high)}: "
                    "a window must not lie in the padding alone"
                )

    def pooled_shape(self, x: TensorSpec) -> tuple[int, ...]:
        """The output's shape. Raises SpecError for an input that no window fits."""
        if x.ndim != 4:
            raise SpecError(f"Expected 4 axes (N,C,H,W), got {x}")
        if not x.dtype.is_floating:
            raise SpecError(f"Expected a floating dtype, got {x.dtype}: use mg.cast first")
        sizes = [
            output_size(size, kernel, stride, padding, 1)
            for size, kernel, stride, padding in zip(
                x.shape[2:], self.kernel, self.stride, self.padding, strict=True
            )
        ]
        if min(sizes) < 1:
            raise SpecError(
                f"Expected an input that the {self.kernel[0]}x{self.kernel[1]} window fits, "
                f"got {x.shape[2]}x{x.shape[3]} with padding {self.padding}"
            )
        return (*x.shape[:2], *sizes)

    @property
    def position_dtype(self) -> DType:
        """The smallest dtype that holds an index within the window."""
        return DType.UINT8 if self.kernel[0] * self.kernel[1] <= 256 else DType.INT32

    def cost(self, *inputs: TensorSpec) -> Cost:
        outputs = self.infer(*inputs)
        windows = min(spec.size for spec in (*inputs, *outputs))
        return memory_cost(windows * self.kernel[0] * self.kernel[1], inputs, outputs)


@dataclass(frozen=True)
class MaxPool2d(Window):
    """(N,C,H,W) gives the windows' maxima and their positions; padding never wins.

    A NaN wins against every number.
    """

    optional_outputs = (1,)

    def infer(self, x: TensorSpec) -> tuple[TensorSpec, ...]:
        shape = self.pooled_shape(x)
        return x.with_shape(shape), TensorSpec(shape, self.position_dtype)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        (x,), (_, positions), (g, _) = inputs, outputs, grads
        op = MaxPool2dScatter(self.kernel, self.stride, self.padding, _plane(x))
        return g.builder.emit(op, g, positions)

    def footprints(self, axis: int, x: TensorSpec) -> Footprints:
        return (window_footprint(axis, self.kernel, self.stride, self.padding),)


@dataclass(frozen=True)
class MaxPool2dScatter(Window):
    """Gradient of max pooling: adds each ``gy`` at its maximum's place, zero elsewhere."""

    input_size: Pair = (0, 0)

    absolute_attributes = ("input_size",)

    def infer(self, gy: TensorSpec, positions: TensorSpec) -> tuple[TensorSpec, ...]:
        result = gy.with_shape((*gy.shape[:2], *self.input_size))
        _check_windows(self, result, gy, positions)
        return (result,)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        op = MaxPool2dGather(self.kernel, self.stride, self.padding)
        return grads[0].builder.emit(op, grads[0], inputs[1])[0], None


@dataclass(frozen=True)
class MaxPool2dGather(Window):
    """Takes each window's element at the given position: the adjoint of MaxPool2dScatter."""

    def infer(self, x: TensorSpec, positions: TensorSpec) -> tuple[TensorSpec, ...]:
        result = x.with_shape(self.pooled_shape(x))
        _check_windows(self, x, result, positions)
        return (result,)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        x, positions = inputs
        op = MaxPool2dScatter(self.kernel, self.stride, self.padding, _plane(x))
        return grads[0].builder.emit(op, grads[0], positions)[0], None


@dataclass(frozen=True)
class AvgPool2d(Window):
    """(N,C,H,W) gives the windows' means; ``count_include_pad`` counts padding as zeros."""

    count_include_pad: bool = True

    def infer(self, x: TensorSpec) -> tuple[TensorSpec, ...]:
        return (x.with_shape(self.pooled_shape(x)),)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        op = AvgPool2dGrad(
            self.kernel, self.stride, self.padding, self.count_include_pad, _plane(inputs[0])
        )
        return grads[0].builder.emit(op, grads[0])

    def footprints(self, axis: int, x: TensorSpec) -> Footprints:
        return (window_footprint(axis, self.kernel, self.stride, self.padding),)


@dataclass(frozen=True)
class AvgPool2dGrad(Window):
    """Gradient of average pooling: spreads each ``gy`` evenly over its window."""

    count_include_pad: bool = True
    input_size: Pair = (0, 0)

    absolute_attributes = ("input_size",)

    def infer(self, gy: TensorSpec) -> tuple[TensorSpec, ...]:
        result = gy.with_shape((*gy.shape[:2], *self.input_size))
        _check_windows(self, result, gy)
        return (result,)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        op = AvgPool2d(self.kernel, self.stride, self.padding, self.count_include_pad)
        return grads[0].builder.emit(op, grads[0])


def _plane(x: Tensor) -> Pair:
    return (x.shape[2], x.shape[3])


def _check_windows(op: Window, x: TensorSpec, *pooled: TensorSpec) -> None:
    shape = op.pooled_shape(x)
    for spec in pooled:
        if spec.shape != shape:
            raise SpecError(f"Expected shape {list(shape)}, got {list(spec.shape)}")
    if len(pooled) == 2 and pooled[1].dtype is not op.position_dtype:
        raise SpecError(f"Expected positions of {op.position_dtype}, got {pooled[1].dtype}")


# ---- functions


def max_pool2d(
    x: Tensor,
    kernel: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: Any = 0,
    name: str | None = None,
) -> Tensor:
    """Maxima of sliding windows over (N,C,H,W); the stride is the kernel by default."""
    op = MaxPool2d(
        pair(kernel), pair(kernel if stride is None else stride), normalise_padding(padding)
    )
    return x.builder.emit(op, x, name=name)[0]


def avg_pool2d(
    x: Tensor,
    kernel: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: Any = 0,
    count_include_pad: bool = True,
    name: str | None = None,
) -> Tensor:
    """Means of sliding windows over (N,C,H,W); the stride is the kernel by default."""
    stride = kernel if stride is None else stride
    op = AvgPool2d(pair(kernel), pair(stride), normalise_padding(padding), count_include_pad)
    return x.builder.emit(op, x, name=name)[0]


def global_avg_pool2d(x: Tensor) -> Tensor:
    """Mean over height and width: (N,C,H,W) gives (N,C)."""
    return reduce_mean(x, (2, 3))


def global_max_pool2d(x: Tensor) -> Tensor:
    """Maximum over height and width: (N,C,H,W) gives (N,C)."""
    return reduce_max(x, (2, 3))
