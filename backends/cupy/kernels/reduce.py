"""Sum, mean, largest and smallest element over any axes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from minigraph.backends.cupy.call import Binding, Call, Context, Lowering, simple
from minigraph.backends.cupy.kernels.copy import fill_calls
from minigraph.backends.cupy.kernels.reduction import reduction_calls, workspace_bytes
from minigraph.backends.cupy.kernels.statistics import Extreme, Mean, Statistic, Sum
from minigraph.ir.spec import TensorSpec
from minigraph.iteration import reduced_axes, usual_axes
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
    return workspace_bytes(statistic, x.dtype, usual_axes(x, op.axes))


def _lowering(statistic: Statistic, of_nothing: float = 0.0) -> Lowering:
    return simple(
        partial(_calls, statistic=statistic, of_nothing=of_nothing),
        workspace=partial(_workspace, statistic),
    )


LOWERINGS: Mapping[type, Lowering] = {
    broadcast.Sum: _lowering(Sum()),
    reduce.Mean: _lowering(Mean(), of_nothing=math.nan),
    reduce.Max: _lowering(Extreme(is_largest=True)),
    reduce.Min: _lowering(Extreme(is_largest=False)),
}
