"""Max and average pooling with their gradients, and global pooling.

Max pooling gives the positions of its maxima as a second output: the index within the window,
row by row (the first of equal ones). Its gradient scatters by position, the gradient of that
gathers by position, and so on: the set is closed, and the input need not be kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from minigraph.ir.errors import SpecError
from minigraph.ir.footprint import Footprint
from minigraph.ir.op import Cost, Cotangents, Footprints, Op, Tensors, memory_cost
from minigraph.ir.spec import DType, TensorSpec
from minigraph.ir.tensor import Tensor
from minigraph.ops.arguments import integer
from minigraph.ops.elementwise import absolute, equal, exp, log, sqrt, where
from minigraph.ops.geometry import (
    Padding,
    Pair,
    ceil_output_size,
    effective_kernel,
    normalise_padding,
    output_size,
    pair,
    same_padding,
    window_footprint,
)
from minigraph.ops.reduce import reduce_max, reduce_mean


@dataclass(frozen=True)
class Window(Op):
    """What all pooling ops share: a window that slides over height and width.

    ``padding`` is ``((top, bottom), (left, right))``, or ``"same"`` or ``"same_lower"``, which stay
    relative to the input: an output of ``ceil(size / stride)``, an odd remainder at the bottom
    and right, or at the top and left.
    """

    kernel: Pair
    stride: Pair
    padding: Padding | str = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)
    ceil_mode: bool = False

    def __post_init__(self) -> None:
        if min(self.kernel) < 1 or min(self.stride) < 1:
            raise SpecError(
                f"Expected a kernel and a stride of one or more, got {self.kernel}, {self.stride}"
            )
        if min(self.dilation) < 1:
            raise SpecError(f"Expected a dilation of one or more, got {self.dilation}")
        if isinstance(self.padding, str):
            if self.padding not in ("same", "same_lower"):
                raise SpecError(
                    f"Expected a padding of numbers, 'same', 'same_lower' or 'valid', "
                    f"got {self.padding!r}"
                )
            return
        for size, dilation, (low, high) in zip(
            self.kernel, self.dilation, self.padding, strict=True
        ):
            if max(low, high) >= effective_kernel(size, dilation):
                raise SpecError(
                    f"Expected a padding smaller than the kernel "
                    f"{effective_kernel(size, dilation)}, got {(low, high)}: "
                    "a window must not lie in the padding alone"
                )

    @property
    def window(self) -> tuple[Pair, Pair, Padding | str, Pair, bool]:
        """The attributes that all ops of one window share, in order."""
        return (self.kernel, self.stride, self.padding, self.dilation, self.ceil_mode)

    def explicit_padding(self, size: Sequence[int]) -> Padding:
        """The padding in numbers, for an image of this height and width."""
        if not isinstance(self.padding, str):
            return self.padding
        vertical, horizontal = (
            same_padding(*axis)
            for axis in zip(size, self.kernel, self.stride, self.dilation, strict=True)
        )
        if self.padding == "same_lower":
            return (vertical[::-1], horizontal[::-1])
        return (vertical, horizontal)

    def pooled_shape(self, x: TensorSpec) -> tuple[int, ...]:
        """The output's shape. Raises SpecError for an input that no window fits."""
        if x.ndim != 4:
            raise SpecError(f"Expected 4 axes (N,C,H,W), got {x}")
        if not x.dtype.is_floating:
            raise SpecError(f"Expected a floating dtype, got {x.dtype}: use mg.cast first")
        padding = self.explicit_padding(x.shape[2:])
        count = ceil_output_size if self.ceil_mode else output_size
        axes = list(zip(x.shape[2:], self.kernel, self.stride, padding, self.dilation, strict=True))
        sizes = [count(*axis) for axis in axes]
        if min(sizes) < 1 or min(x.shape[2:]) < 1:
            raise SpecError(
                f"Expected an input that the {self.kernel[0]}x{self.kernel[1]} window fits, "
                f"got {x.shape[2]}x{x.shape[3]} with padding {self.padding}"
            )
        for axis, windows in zip(axes, sizes, strict=True):
            _check_no_window_is_empty(*axis, windows)
        return (*x.shape[:2], *sizes)

    def footprint(self, axis: int, x: TensorSpec) -> Footprint:
        """What an output position reads of the input along an axis."""
        padding = self.explicit_padding(x.shape[2:])
        return window_footprint(axis, self.kernel, self.stride, padding, self.dilation)

    def gradient_footprint(self, axis: int, input_size: Sequence[int]) -> Footprint:
        """What an element of the input's gradient reads of the windows along an axis."""
        if axis < 2:
            return Footprint(axis)
        # Window i covers the elements i s - p + u d. So element j is in those from
        # (j + p - (R - 1) d) / s to (j + p) / s.
        side = axis - 2
        low, stride = self.explicit_padding(input_size)[side][0], self.stride[side]
        reach = effective_kernel(self.kernel[side], self.dilation[side]) - 1
        return Footprint(
            axis, Fraction(1, stride), Fraction(low - reach, stride), Fraction(low, stride)
        )

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
        op = MaxPool2dScatter(*self.window, _plane(x))
        return g.builder.emit(op, g, positions)

    def footprints(self, axis: int, x: TensorSpec) -> Footprints:
        return (self.footprint(axis, x),)


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
        op = MaxPool2dGather(*self.window)
        return grads[0].builder.emit(op, grads[0], inputs[1])[0], None

    def footprints(self, axis: int, gy: TensorSpec, positions: TensorSpec) -> Footprints:
        return (self.gradient_footprint(axis, self.input_size),) * 2


@dataclass(frozen=True)
class MaxPool2dGather(Window):
    """Takes each window's element at the given position: the adjoint of MaxPool2dScatter."""

    def infer(self, x: TensorSpec, positions: TensorSpec) -> tuple[TensorSpec, ...]:
        result = x.with_shape(self.pooled_shape(x))
        _check_windows(self, x, result, positions)
        return (result,)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        x, positions = inputs
        op = MaxPool2dScatter(*self.window, _plane(x))
        return grads[0].builder.emit(op, grads[0], positions)[0], None

    def footprints(self, axis: int, x: TensorSpec, positions: TensorSpec) -> Footprints:
        return self.footprint(axis, x), Footprint(axis)


@dataclass(frozen=True)
class _Averaging(Window):
    """What a window's sum is divided by: ``divisor``, or the number of elements that count.

    ``count_include_pad`` counts padding, too. What a last window of ceil mode covers beyond the
    padding never counts.
    """

    count_include_pad: bool = True
    divisor: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.divisor is not None and self.divisor < 1:
            raise SpecError(f"Expected a divisor of one or more, got {self.divisor}")

    @property
    def averaging(self) -> tuple[Pair, Pair, Padding | str, Pair, bool, bool, int | None]:
        """The attributes that average pooling and its gradient share, in order."""
        return (*self.window, self.count_include_pad, self.divisor)


@dataclass(frozen=True)
class AvgPool2d(_Averaging):
    """(N,C,H,W) gives the windows' means; padding is zeros."""

    def infer(self, x: TensorSpec) -> tuple[TensorSpec, ...]:
        return (x.with_shape(self.pooled_shape(x)),)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        op = AvgPool2dGrad(*self.averaging, _plane(inputs[0]))
        return grads[0].builder.emit(op, grads[0])

    def footprints(self, axis: int, x: TensorSpec) -> Footprints:
        return (self.footprint(axis, x),)


@dataclass(frozen=True)
class AvgPool2dGrad(_Averaging):
    """Gradient of average pooling: spreads each ``gy`` evenly over its window."""

    input_size: Pair = (0, 0)

    absolute_attributes = ("input_size",)

    def infer(self, gy: TensorSpec) -> tuple[TensorSpec, ...]:
        result = gy.with_shape((*gy.shape[:2], *self.input_size))
        _check_windows(self, result, gy)
        return (result,)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        return grads[0].builder.emit(AvgPool2d(*self.averaging), grads[0])

    def footprints(self, axis: int, gy: TensorSpec) -> Footprints:
        return (self.gradient_footprint(axis, self.input_size),)


def _plane(x: Tensor) -> Pair:
    return (x.shape[2], x.shape[3])


def _check_no_window_is_empty(
    size: int, kernel: int, stride: int, padding: Pair, dilation: int, windows: int
) -> None:
    """Only where dilated windows start in the low padding can all of their elements miss."""
    for start in range(-padding[0], min(0, windows * stride - padding[0]), stride):
        inside = start % dilation  # the window's first element at 0 or later
        if inside > start + (kernel - 1) * dilation or inside >= size:
            raise SpecError(
                f"Expected windows with an element inside the image, got one at {start} of kernel "
                f"{kernel} and dilation {dilation} over {size}: less padding {padding}"
            )


def _check_windows(op: Window, x: TensorSpec, *pooled: TensorSpec) -> None:
    shape = op.pooled_shape(x)
    for spec in pooled:
        if spec.shape != shape:
            raise SpecError(f"Expected shape {list(shape)}, got {list(spec.shape)}")
    if len(pooled) == 2 and pooled[1].dtype is not op.position_dtype:
        raise SpecError(f"Expected positions of {op.position_dtype}, got {pooled[1].dtype}")


# ---- functions


def window_of(
    kernel: int | Sequence[int],
    stride: int | Sequence[int] | None,
    padding: Any,
    dilation: int | Sequence[int],
    ceil_mode: bool,
) -> tuple[Pair, Pair, Padding | str, Pair, bool]:
    """The attributes of a window from what users write; the stride is the kernel by default."""
    pads = padding if padding in ("same", "same_lower") else normalise_padding(padding)
    strides = pair(kernel if stride is None else stride)
    return (pair(kernel), strides, pads, pair(dilation), bool(ceil_mode))


def max_pool2d(
    x: Tensor,
    kernel: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: Any = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    name: str | None = None,
) -> Tensor:
    """Maxima of sliding windows over (N,C,H,W); the stride is the kernel by default.

    ``padding`` is a number, ``(height, width)``, ``((top, bottom), (left, right))``, ``"valid"``,
    ``"same"`` or ``"same_lower"`` (an output of ``ceil(size / stride)``, an odd remainder at the
    bottom and right, or top and left). With ``ceil_mode`` a last window may reach beyond the
    padding, if it starts in the image or the padding before it (as in torch and ONNX).
    """
    op = MaxPool2d(*window_of(kernel, stride, padding, dilation, ceil_mode))
    return x.builder.emit(op, x, name=name)[0]


def avg_pool2d(
    x: Tensor,
    kernel: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: Any = 0,
    *,
    count_include_pad: bool = True,
    ceil_mode: bool = False,
    divisor_override: int | None = None,
    dilation: int | Sequence[int] = 1,
    name: str | None = None,
) -> Tensor:
    """Means of sliding windows over (N,C,H,W); the stride is the kernel by default.

    Padding and ``ceil_mode`` as in ``max_pool2d``. Padding counts as zeros, or, without
    ``count_include_pad``, not at all; what lies beyond it (ceil mode) never counts.
    ``divisor_override`` divides every window's sum by one number (1: sum pooling).
    """
    window = window_of(kernel, stride, padding, dilation, ceil_mode)
    divisor = None if divisor_override is None else integer(divisor_override, "a divisor")
    return x.builder.emit(AvgPool2d(*window, count_include_pad, divisor), x, name=name)[0]


def lp_pool2d(
    x: Tensor,
    power: int,
    kernel: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: Any = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """``(sum over the window of |x| ** power) ** (1 / power)``: power 1 sums, 2 is Euclidean.

    As ONNX's LpPool; torch's ``lp_pool2d`` takes ``x``, not ``|x|``, to an odd power. The gradient
    where a window is all zeros is 0 (torch: not a number).
    """
    power = integer(power, "a power")
    if power < 1:
        raise SpecError(f"Expected a power of one or more, got {power}")
    window = window_of(kernel, stride, padding, dilation, ceil_mode)
    size = absolute(x)
    powers = size
    for _ in range(power - 1):
        powers = powers * size
    (sums,) = x.builder.emit(AvgPool2d(*window, divisor=1), powers)
    if power == 1:
        return sums
    zero = equal(sums, 0.0)
    safe = where(zero, 1.0, sums)
    return where(zero, 0.0, sqrt(safe) if power == 2 else exp(log(safe) / power))


def global_avg_pool2d(x: Tensor) -> Tensor:
    """Mean over height and width: (N,C,H,W) gives (N,C)."""
    return reduce_mean(x, (2, 3))


def global_max_pool2d(x: Tensor) -> Tensor:
    """Maximum over height and width: (N,C,H,W) gives (N,C)."""
    return reduce_max(x, (2, 3))
