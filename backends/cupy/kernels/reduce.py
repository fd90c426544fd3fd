"""Sum, mean, largest and smallest element over any axes; and the count of a mean."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from minigraph.backend import channels_last, dense_strides
from minigraph.backends.cupy.call import Binding, Call, Context, Lowering, simple
from minigraph.backends.cupy.kernels.fill import fill_calls
from minigraph.backends.cupy.kernels.reduction import reduction_calls, workspace_bytes
from minigraph.backends.cupy.kernels.statistics import Extreme, Mean, Statistic, Sum
from minigraph.ir.spec import TensorSpec
from minigraph.iteration import axes_of, reduced_axes
from minigraph.ops import broadcast, reduce


def _calls(binding: Binding, statistic: Statistic, of_nothing: float) -> list[Call]:
    (x,), y = binding.inputs, binding.output
    if x.spec.size == 0:
        return fill_calls(y, of_nothing)
    axes = reduced_axes(x, binding.op.axes, y)
    return reduction_calls(statistic, x, (y,), axes, binding.workspace)


def _workspace(
    statistic: Statistic, op: Any, inputs: tuple[TensorSpec, ...], context: Context
) -> int:
    (x,) = inputs
    if x.size == 0:
        return 0
    reduced = broadcast.normalise_axes(op.axes, x.ndim)
    kept = [None if axis in reduced else 0 for axis in range(x.ndim)]
    axes = axes_of(x.shape, dense_strides(x, channels_last(x)), kept)
    return workspace_bytes(statistic, x.dtype, axes)


def _lowering(statistic: Statistic, of_nothing: float = 0.0) -> Lowering:
    return simple(
        partial(_calls, statistic=statistic, of_nothing=of_nothing),
        workspace=partial(_workspace, statistic),
    )


def _count(binding: Binding) -> list[Call]:
    return fill_calls(binding.output, binding.op.value(binding.inputs[0].spec))


LOWERINGS: Mapping[type, Lowering] = {
    broadcast.Sum: _lowering(Sum()),
    reduce.Mean: _lowering(Mean(), of_nothing=math.nan),
    reduce.Max: _lowering(Extreme(is_largest=True)),
    reduce.Min: _lowering(Extreme(is_largest=False)),
    reduce.Count: simple(_count),
}
