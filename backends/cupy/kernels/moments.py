"""Means and variances of channels, and of groups of channels of each image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minigraph.backend import Slot, Strides, channels_last, dense_strides
from minigraph.backends.cupy.call import Binding, Call, Context, Lowering, simple
from minigraph.backends.cupy.kernels.copy import copy_calls
from minigraph.backends.cupy.kernels.reduction import reduction_calls, workspace_bytes
from minigraph.ir.spec import DType, TensorSpec
from minigraph.iteration import Axis, axes_of
from minigraph.ops.norm import ChannelMoments, GroupMoments
from minigraph.places import carve, carved_bytes, part


@dataclass(frozen=True)
class Moments:
    """Mean and biased variance from sums of differences, in float64, in one pass.

    The totals of some elements are their number n, a point K (the first one of them), and the sums
    s of ``x - K`` and q of ``(x - K)^2``. Then::

        mean = K + s / n        variance = (q - s^2 / n) / n

    Nothing cancels that matters: the relative error is that of float64 times
    ``1 + (K - mean)^2 / variance``, and K being an element, ``(K - mean)^2 <= n variance``. Two
    parts are merged about the first one's point: with ``d`` from it to the other's point::

        sum(x - K) = s + n d        sum((x - K)^2) = q + 2 d s + n d^2

    An infinite first element does not become the point: its mean is to be infinite, not NaN.
    """

    accumulators = 4

    def accumulates(self, dtype: DType) -> DType:
        return DType.FLOAT64

    def initial(self, dtype: DType) -> list[str]:
        return ["0.0"] * 4

    def add(self, totals: Sequence[str], element: str) -> list[str]:
        n, point, total, squares = totals
        point = f"moments_point({n}, {point}, {element})"
        return [
            f"{n} + 1.0",
            point,
            f"{total} + ({element} - {point})",
            f"{squares} + squared({element} - {point})",
        ]

    def merge(self, totals: Sequence[str], others: Sequence[str]) -> list[str]:
        n, point, total, squares = totals
        n1, point1, total1, squares1 = others
        point = f"moments_point({n}, {point}, {point1})"
        apart = f"({point1} - {point})"
        return [
            f"{n} + {n1}",
            point,
            f"{total} + ({total1} + {n1} * {apart})",
            f"{squares} + ({squares1} + {apart} * (2.0 * {total1} + {n1} * {apart}))",
        ]

    def results(self, totals: Sequence[str], count: str) -> list[str]:
        n, point, total, squares = totals
        variance = f"({squares} - squared({total}) / {n}) / {n}"
        return [f"{point} + {total} / {n}", f"maximum({variance}, 0.0)"]


# ---- of channels


def _channel_axes(shape: Sequence[int], strides: Strides) -> list[Axis]:
    return axes_of(shape, strides, [None, 1, *(None for _ in shape[2:])])


def _of_channels(binding: Binding) -> list[Call]:
    (x,) = binding.inputs
    mean, variance = binding.outputs
    assert mean is not None and variance is not None
    axes = _channel_axes(x.spec.shape, x.strides)
    return reduction_calls(Moments(), x, (mean, variance), axes, binding.workspace)


def _channel_workspace(op: Any, inputs: tuple[TensorSpec, ...], context: Context) -> int:
    (x,) = inputs
    axes = _channel_axes(x.shape, dense_strides(x, channels_last(x)))
    return workspace_bytes(Moments(), x.dtype, axes)


# ---- of groups


def _group_axes(groups: int, shape: Sequence[int], strides: Strides) -> list[Axis]:
    """Images and groups are kept; a group's channels and all further axes are not."""
    channels, step = shape[1] // groups, strides[1]
    return [
        Axis(shape[0], strides[0], groups),
        Axis(groups, step * channels, 1),
        Axis(channels, step),
        *(Axis(size, stride) for size, stride in zip(shape[2:], strides[2:], strict=True)),
    ]


def _group_arrays(op: GroupMoments, x: TensorSpec) -> list[tuple[DType, int]]:
    """Mean and variance of each image's groups; what is needed to reduce follows them."""
    return [(x.dtype.accumulator, x.shape[0] * op.groups)] * 2


def _of_groups(binding: Binding) -> list[Call]:
    """The moments of the groups, which are then given to each of their channels."""
    (x,), op, workspace = binding.inputs, binding.op, binding.workspace
    if x.spec.size == 0:
        return []
    assert workspace is not None
    arrays = _group_arrays(op, x.spec)
    moments, used = carve(workspace, *arrays), carved_bytes(*arrays)
    rest = part(workspace, used, (workspace.spec.size - used,), DType.UINT8, (1,))
    axes = _group_axes(op.groups, x.spec.shape, x.strides)
    calls = reduction_calls(Moments(), x, moments, axes, rest)
    for moment, result in zip(moments, binding.outputs, strict=True):
        if result is not None:
            calls += _spread(moment, result, op.groups)
    return calls


def _spread(moment: Slot, result: Slot, groups: int) -> list[Call]:
    """A moment of each image's groups to (N,C,1,...)."""
    images, all_channels = result.spec.shape[:2]
    image_step, step = result.strides[:2]
    channels, dtype = all_channels // groups, moment.spec.dtype
    source = part(moment, 0, (images, groups, 1), dtype, (groups, 1, 1))
    strides = (image_step, step * channels, step)
    return copy_calls(source, part(result, 0, (images, groups, channels), dtype, strides))


def _group_workspace(op: GroupMoments, inputs: tuple[TensorSpec, ...], context: Context) -> int:
    (x,) = inputs
    if x.size == 0:
        return 0
    axes = _group_axes(op.groups, x.shape, dense_strides(x, channels_last(x)))
    return carved_bytes(*_group_arrays(op, x)) + workspace_bytes(Moments(), x.dtype, axes)


LOWERINGS: Mapping[type, Lowering] = {
    ChannelMoments: simple(_of_channels, workspace=_channel_workspace),
    GroupMoments: simple(_of_groups, workspace=_group_workspace),
}
