"""2-D convolution, its two gradients, and transposed convolution, which is one of them.

Convolution here is cross-correlation, as everywhere in deep learning (no flip)::

    y[n, k, i, j] = sum_{c, u, v} w[k, c, u, v] * x[n, c, i*s + u*d - p, j*s + v*d - p]

It is bilinear in ``x`` and ``w``. The three directions are each other's gradients, so gradients
of gradients need no further op:

    Conv2d(x, w) -> y              d/dx: ConvTranspose2d(gy, w)    d/dw: Conv2dGradWeight(x, gy)
    ConvTranspose2d(y, w) -> x     d/dy: Conv2d(gx, w)             d/dw: Conv2dGradWeight(gx, y)
    Conv2dGradWeight(x, y) -> w    d/dx: ConvTranspose2d(y, gw)    d/dy: Conv2d(x, gw)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from minigraph.ir.errors import SpecError
from minigraph.ir.footprint import Footprint
from minigraph.ir.op import Cost, Cotangents, Footprints, Op, Tensors, memory_cost
from minigraph.ir.spec import TensorSpec
from minigraph.ir.tensor import Tensor
from minigraph.ops.elementwise import operands
from minigraph.ops.geometry import (
    ConvGeometry,
    Padding,
    Pair,
    effective_kernel,
    normalise_padding,
    output_size,
    pair,
    same_padding,
    window_footprint,
)


@dataclass(frozen=True)
class Conv2d(Op):
    """``x`` (N,C,H,W) with ``w`` (K,C/groups,R,S) gives (N,K,H',W').

    ``padding`` is ``((top, bottom), (left, right))`` or ``"same"``, which stays relative to the
    input: an output of ``ceil(size / stride)``, an odd remainder at the bottom and right.
    """

    stride: Pair = (1, 1)
    padding: Padding | str = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)
    groups: int = 1

    def __post_init__(self) -> None:
        _check_attributes(self.stride, self.dilation, self.groups)

    def infer(self, x: TensorSpec, w: TensorSpec) -> tuple[TensorSpec, ...]:
        return (x.with_shape(self.geometry(x, w).output_shape),)

    def geometry(self, x: TensorSpec, w: TensorSpec) -> ConvGeometry:
        """All sizes. Raises SpecError where they do not fit."""
        _check_operands(x, w, "input (N,C,H,W)", "weight (K,C/groups,R,S)")
        if x.shape[1] != w.shape[1] * self.groups:
            raise SpecError(
                f"Expected {w.shape[1] * self.groups} input channels (weight {list(w.shape)}, "
                f"groups {self.groups}), got {x.shape[1]}"
            )
        if w.shape[0] % self.groups:
            raise SpecError(
                f"Expected output channels divisible by groups {self.groups}, got {w.shape[0]}"
            )
        kernel = (w.shape[2], w.shape[3])
        padding = self.explicit_padding(x, kernel)
        n, c, *size = x.shape
        height, width = (
            _positive_output(size[i], kernel[i], self.stride[i], padding[i], self.dilation[i])
            for i in (0, 1)
        )
        return ConvGeometry(
            n, c, size[0], size[1], w.shape[0], kernel, self.stride, padding, self.dilation,
            self.groups, height, width,
        )  # fmt: skip

    def explicit_padding(self, x: TensorSpec, kernel: Pair) -> Padding:
        """The padding in numbers, for this input."""
        if not isinstance(self.padding, str):
            return self.padding
        vertical, horizontal = (
            same_padding(size, k, stride, dilation)
            for size, k, stride, dilation in zip(
                x.shape[2:], kernel, self.stride, self.dilation, strict=True
            )
        )
        return (vertical, horizontal)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        (x, w), (g,) = inputs, grads
        geometry = self.geometry(x.spec, w.spec)
        return _input_gradient(g, w, geometry), _weight_gradient(x, g, geometry)

    def footprints(self, axis: int, x: TensorSpec, w: TensorSpec) -> Footprints:
        if axis == 1:
            return None
        g = self.geometry(x, w)
        return window_footprint(axis, g.kernel, g.stride, g.padding, g.dilation), None

    def cost(self, x: TensorSpec, w: TensorSpec) -> Cost:
        return memory_cost(self.geometry(x, w).flops, (x, w), self.infer(x, w))


@dataclass(frozen=True)
class ConvTranspose2d(Op):
    """The adjoint of a convolution: ``x`` (N,K,H,W) with ``w`` (K,C/groups,R,S) gives (N,C,H',W').

    ``H' = (H - 1) * stride - top - bottom + dilation * (R - 1) + 1 + output_padding``.
    The convolution that it is the adjoint of maps H' back to H, for which ``output_padding`` must
    be smaller than the stride.
    """

    stride: Pair = (1, 1)
    padding: Padding = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)
    groups: int = 1
    output_padding: Pair = (0, 0)

    def __post_init__(self) -> None:
        _check_attributes(self.stride, self.dilation, self.groups)
        for extra, stride in zip(self.output_padding, self.stride, strict=True):
            if not 0 <= extra < stride:
                raise SpecError(
                    f"Expected an output padding smaller than the stride {stride}, got {extra}"
                )

    def infer(self, x: TensorSpec, w: TensorSpec) -> tuple[TensorSpec, ...]:
        return (x.with_shape(self.geometry(x, w).input_shape),)

    def geometry(self, x: TensorSpec, w: TensorSpec) -> ConvGeometry:
        """Sizes of the convolution whose input gradient this is. Raises SpecError."""
        _check_operands(x, w, "input (N,K,H,W)", "weight (K,C/groups,R,S)")
        if x.shape[1] != w.shape[0]:
            raise SpecError(
                f"Expected {w.shape[0]} input channels (weight {list(w.shape)}), got {x.shape[1]}"
            )
        if x.shape[1] % self.groups:
            raise SpecError(
                f"Expected input channels divisible by groups {self.groups}, got {x.shape[1]}"
            )
        height, width = (
            (size - 1) * stride - sum(padding) + effective_kernel(kernel, dilation) + extra
            for size, kernel, stride, padding, dilation, extra in zip(
                x.shape[2:], w.shape[2:], self.stride, self.padding, self.dilation,
                self.output_padding, strict=True,
            )
        )  # fmt: skip
        if height < 1 or width < 1:
            raise SpecError(
                f"Expected an output of at least 1x1, got {height}x{width}: less padding "
                f"{self.padding}, or a larger input"
            )
        return ConvGeometry(
            x.shape[0], w.shape[1] * self.groups, height, width, x.shape[1],
            (w.shape[2], w.shape[3]), self.stride, self.padding, self.dilation, self.groups,
            x.shape[2], x.shape[3],
        )  # fmt: skip

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        (x, w), (g,) = inputs, grads
        geometry = self.geometry(x.spec, w.spec)
        return _convolution(g, w, geometry), _weight_gradient(g, x, geometry)

    def footprints(self, axis: int, x: TensorSpec, w: TensorSpec) -> Footprints:
        # Input j and tap u add to the output i = j s + u d - p. So i reads j from
        # (i + p - (R - 1) d) / s to (i + p) / s.
        if axis < 2:
            return (Footprint(axis), None) if axis == 0 else None
        side = axis - 2
        stride, low = self.stride[side], self.padding[side][0]
        reach = effective_kernel(w.shape[axis], self.dilation[side]) - 1
        first, last = Fraction(low - reach, stride), Fraction(low, stride)
        return Footprint(axis, Fraction(1, stride), first, last), None

    def cost(self, x: TensorSpec, w: TensorSpec) -> Cost:
        return memory_cost(self.geometry(x, w).flops, (x, w), self.infer(x, w))


@dataclass(frozen=True)
class Conv2dGradWeight(Op):
    """Weight gradient: ``x`` (N,C,H,W) with ``gy`` (N,K,H',W') gives (K,C/groups,*kernel)."""

    kernel: Pair
    stride: Pair = (1, 1)
    padding: Padding = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)
    groups: int = 1

    absolute_attributes = ("kernel",)

    def __post_init__(self) -> None:
        _check_attributes(self.stride, self.dilation, self.groups)

    def infer(self, x: TensorSpec, gy: TensorSpec) -> tuple[TensorSpec, ...]:
        return (x.with_shape(self.geometry(x, gy).weight_shape),)

    def geometry(self, x: TensorSpec, gy: TensorSpec) -> ConvGeometry:
        """Sizes of the convolution whose weight gradient this is. Raises SpecError."""
        _check_operands(x, gy, "input (N,C,H,W)", "output gradient (N,K,H',W')")
        weight = x.with_shape((gy.shape[1], x.shape[1] // self.groups, *self.kernel))
        conv = Conv2d(self.stride, self.padding, self.dilation, self.groups)
        geometry = conv.geometry(x, weight)
        if geometry.output_shape != gy.shape:
            raise SpecError(
                f"Expected an output gradient of {list(geometry.output_shape)}, "
                f"got {list(gy.shape)}"
            )
        return geometry

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        (x, gy), (g,) = inputs, grads
        geometry = self.geometry(x.spec, gy.spec)
        return _input_gradient(gy, g, geometry), _convolution(x, g, geometry)

    def cost(self, x: TensorSpec, gy: TensorSpec) -> Cost:
        return memory_cost(self.geometry(x, gy).flops, (x, gy), self.infer(x, gy))


# ---- the three directions of one geometry


def _convolution(x: Tensor, w: Tensor, g: ConvGeometry) -> Tensor:
    return x.builder.emit(Conv2d(g.stride, g.padding, g.dilation, g.groups), x, w)[0]


def _input_gradient(gy: Tensor, w: Tensor, g: ConvGeometry) -> Tensor:
    # Input rows past the last window position: the remainder of the output size's division.
    rows, columns = (
        (size + sum(padding) - effective_kernel(kernel, dilation)) % stride
        for size, kernel, stride, padding, dilation in zip(
            (g.height, g.width), g.kernel, g.stride, g.padding, g.dilation, strict=True
        )
    )
    op = ConvTranspose2d(g.stride, g.padding, g.dilation, g.groups, (rows, columns))
    return gy.builder.emit(op, gy, w)[0]


def _weight_gradient(x: Tensor, gy: Tensor, g: ConvGeometry) -> Tensor:
    op = Conv2dGradWeight(g.kernel, g.stride, g.padding, g.dilation, g.groups)
    return x.builder.emit(op, x, gy)[0]


# ---- checks


def _check_attributes(stride: Pair, dilation: Pair, groups: int) -> None:
    for label, value in (("stride", min(stride)), ("dilation", min(dilation)), ("groups", groups)):
        if value < 1:
            raise SpecError(f"Expected a {label} of one or more, got {value}")


def _check_operands(a: TensorSpec, b: TensorSpec, first: str, second: str) -> None:
    for spec, what in ((a, first), (b, second)):
        if spec.ndim != 4:
            raise SpecError(f"Expected 4 axes for the {what}, got {spec}")
        if spec.shape[1] < 1:
            raise SpecError(f"Expected at least one channel for the {what}, got {spec}")
        if not spec.dtype.is_floating:
            raise SpecError(f"Expected a floating dtype for the {what}, got {spec}: cast it first")
    if a.dtype is not b.dtype:
        raise SpecError(f"Expected one dtype, got {a.dtype} and {b.dtype}")


def _positive_output(size: int, kernel: int, stride: int, padding: Pair, dilation: int) -> int:
    if kernel < 1:
        raise SpecError(f"Expected a kernel of at least 1, got {kernel}")
    result = output_size(size, kernel, stride, padding, dilation)
    if result < 1:
        raise SpecError(
            f"Expected an input of at least {effective_kernel(kernel, dilation)} (kernel {kernel}, "
            f"dilation {dilation}), got {size} with padding {padding}: pad more, or pool less"
        )
    return result


# ---- functions


def conv2d(
    x: Tensor,
    weight: Tensor,
    stride: int | Sequence[int] = 1,
    padding: Any = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    name: str | None = None,
) -> Tensor:
    """2-D convolution of ``x`` (N,C,H,W) with ``weight`` (K,C/groups,R,S).

    ``padding`` is a number, ``(height, width)``, ``((top, bottom), (left, right))``, ``"valid"``
    (none) or ``"same"`` (an output of ``ceil(size / stride)``).
    """
    x, weight = operands(x, weight)
    pads = "same" if padding == "same" else normalise_padding(padding)
    op = Conv2d(pair(stride), pads, pair(dilation), groups)
    return x.builder.emit(op, x, weight, name=name)[0]


def conv_transpose2d(
    x: Tensor,
    weight: Tensor,
    stride: int | Sequence[int] = 1,
    padding: Any = 0,
    output_padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    name: str | None = None,
) -> Tensor:
    """Transposed convolution of ``x`` (N,K,H,W) with ``weight`` (K,C/groups,R,S).

    The output is ``(H - 1) * stride - padding + dilation * (R - 1) + 1 + output_padding`` high;
    with ``padding="same"`` it is ``H * stride``.
    """
    x, weight = operands(x, weight)
    strides, dilations = pair(stride), pair(dilation)
    if padding == "same":
        pads, extra = _same_transposed(weight.shape[2:], strides, dilations)
    else:
        pads, extra = normalise_padding(padding), pair(output_padding)
    op = ConvTranspose2d(strides, pads, dilations, groups, extra)
    return x.builder.emit(op, x, weight, name=name)[0]


def _same_transposed(kernel: Sequence[int], stride: Pair, dilation: Pair) -> tuple[Padding, Pair]:
    """(H - 1) * stride + reach - padding + output_padding = H * stride, solved for the last two."""
    pads, extra = [], []
    for k, s, d in zip(kernel, stride, dilation, strict=True):
        excess = effective_kernel(k, d) - s
        pads.append((max(excess, 0) // 2, max(excess, 0) - max(excess, 0) // 2))
        extra.append(max(-excess, 0))
    return (pads[0], pads[1]), (extra[0], extra[1])
