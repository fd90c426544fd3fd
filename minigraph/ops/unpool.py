"""Max pooling that tells where its maxima were, and the unpooling that puts values back there.

A position is flat, ``row * W + column`` in the pooled image, one number for each element of each
map: torch's convention. ONNX counts over all of (N,C,H,W): add ``(n * C + c) * H * W``.

Unpooling and taking at positions are each other's adjoints, so the set is closed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from minigraph.ir.errors import SpecError
from minigraph.ir.footprint import Footprint
from minigraph.ir.op import Cost, Cotangents, Footprints, Op, Tensors, memory_cost
from minigraph.ir.spec import DType, TensorSpec
from minigraph.ir.tensor import Tensor
from minigraph.ops.geometry import Pair, pair
from minigraph.ops.pool import Window, window_of
from minigraph.ops.shape import Pad

if TYPE_CHECKING:
    from minigraph.ir.graph import Node


@dataclass(frozen=True)
class MaxPool2dWithPositions(Window):
    """(N,C,H,W) gives the windows' maxima and their flat positions (int64), the first of equals."""

    place_outputs = (1,)

    def infer(self, x: TensorSpec) -> tuple[TensorSpec, ...]:
        shape = self.pooled_shape(x)
        return x.with_shape(shape), TensorSpec(shape, DType.INT64)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        (x,), (_, positions), (g, _) = inputs, outputs, grads
        return g.builder.emit(MaxUnpool2d((x.shape[2], x.shape[3])), g, positions)

    def footprints(self, axis: int, x: TensorSpec) -> Footprints:
        return (self.footprint(axis, x),)


@dataclass(frozen=True)
class MaxUnpool2d(Op):
    """Adds each element at its flat position in an image of ``output_size``, zero elsewhere.

    Windows that do not overlap have no two positions alike; where others have, their elements are
    summed (torch keeps one of them).
    """

    output_size: Pair

    absolute_attributes = ("output_size",)
    absolute_axes = (2, 3)
    may_refuse = True

    def __post_init__(self) -> None:
        if min(self.output_size) < 1:
            raise SpecError(f"Expected an output of at least 1x1, got {self.output_size}")

    def following(self, makers: Sequence[Node | None]) -> MaxUnpool2d | None:
        """Positions are those of a pooled map: its size is the size to go back to."""
        maker = makers[1]
        if maker is None or not isinstance(maker.op, MaxPool2dWithPositions):
            return None
        *_, height, width = maker.inputs[0].spec.shape
        return MaxUnpool2d((height, width))

    def infer(self, x: TensorSpec, positions: TensorSpec) -> tuple[TensorSpec, ...]:
        _check(x)
        _check_positions(positions, x.shape)
        return (x.with_shape((*x.shape[:2], *self.output_size)),)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        return grads[0].builder.emit(TakeAtPositions(), grads[0], inputs[1])[0], None

    def footprints(self, axis: int, x: TensorSpec, positions: TensorSpec) -> Footprints:
        return (Footprint(axis), Footprint(axis)) if axis < 2 else None

    def cost(self, x: TensorSpec, positions: TensorSpec) -> Cost:
        return memory_cost(x.size, (x, positions), self.infer(x, positions))


@dataclass(frozen=True)
class TakeAtPositions(Op):
    """Elements of ``x`` (N,C,H,W) at flat positions (N,C,h,w): the adjoint of MaxUnpool2d."""

    may_refuse = True

    def infer(self, x: TensorSpec, positions: TensorSpec) -> tuple[TensorSpec, ...]:
        _check(x)
        _check_positions(positions, (*x.shape[:2], *positions.shape[2:]))
        return (x.with_shape(positions.shape),)

    def vjp(self, inputs: Tensors, outputs: Tensors, grads: Cotangents) -> Cotangents:
        x, positions = inputs
        op = MaxUnpool2d((x.shape[2], x.shape[3]))
        return grads[0].builder.emit(op, grads[0], positions)[0], None

    def footprints(self, axis: int, x: TensorSpec, positions: TensorSpec) -> Footprints:
        return (Footprint(axis), Footprint(axis)) if axis < 2 else None

    def cost(self, x: TensorSpec, positions: TensorSpec) -> Cost:
        outputs = self.infer(x, positions)
        return memory_cost(0, (*outputs, positions), outputs)


def _check(x: TensorSpec) -> None:
    if x.ndim != 4 or not x.dtype.is_floating:
        raise SpecError(f"Expected floating images (N,C,H,W), got {x}: use mg.cast first")


def _check_positions(positions: TensorSpec, shape: tuple[int, ...]) -> None:
    if positions.dtype is not DType.INT64 or positions.shape != shape:
        raise SpecError(f"Expected positions {TensorSpec(shape, DType.INT64)}, got {positions}")


# ---- functions


def max_pool2d_with_positions(
    x: Tensor,
    kernel: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: Any = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
) -> tuple[Tensor, Tensor]:
    """``max_pool2d`` and where each maximum was: ``row * W + column`` of ``x``, as int64.

    That is torch's ``return_indices=True``. ONNX's indices count over (N,C,H,W): add
    ``(n * C + c) * H * W``. Of equal maxima it is the first.
    """
    op = MaxPool2dWithPositions(*window_of(kernel, stride, padding, dilation, ceil_mode))
    y, positions = x.builder.emit(op, x)
    return y, positions


def max_unpool2d(x: Tensor, positions: Tensor, output_size: int | Sequence[int]) -> Tensor:
    """Puts each element at its flat position in an image of ``output_size``, zero elsewhere.

    The decoder's half of ``max_pool2d_with_positions``: give the height and width of what was
    pooled. Elements of overlapping windows that share a position are summed. A position outside of
    the image is refused when it comes (InputError).
    """
    return x.builder.emit(MaxUnpool2d(pair(output_size)), x, positions)[0]


def bed_of_nails2d(x: Tensor, stride: int | Sequence[int]) -> Tensor:
    """Unpooling by zero insertion: each element at the upper left of its ``stride`` cell of zeros.

    (N,C,H,W) gives (N,C,H*stride,W*stride).
    """
    if x.ndim != 4:
        raise SpecError(f"Expected images (N,C,H,W), got {x.spec}")
    rows, columns = pair(stride)
    if min(rows, columns) < 1:
        raise SpecError(f"Expected a stride of one or more, got {(rows, columns)}")
    after = (0, 0, rows - 1, columns - 1)
    return x.builder.emit(Pad((0, 0, 0, 0), after, after), x)[0]
