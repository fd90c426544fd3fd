"""Sum, mean, largest and smallest element over any axes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from minigraph.backends.cupy.call import Binding, Call, Context, Lowering, simple
from minigraph.backends.cupy.kernels.copy import fill_calls
from minigraph.backends.cupy.kernels.reduction import reduction_calls, workspace_bytes
from minigraph.backends.cupy.kernels.statistics import Extreme, Mean, Statistic, Sum
from minigraph.ir.spec import TensorSpec
from minigraph.iteration import reduced_axes, usual_axes
from minigraph.ops import broadcast, reduce

STATISTICS: Mapping[type, Statistic] = {
    broadcast.Sum: Sum(),
    reduce.Mean: Mean(),
    reduce.Max: Extreme(is_largest=True),
    reduce.Min: Extreme(is_largest=False),
}


def _calls(binding: Binding) -> list[Call]:
    (x,), y = binding.inputs, binding.output
    if x.spec.size == 0:
        return fill_calls(y, math.nan if isinstance(binding.op, reduce.Mean) else 0.0)
    statistic = STATISTICS[type(binding.op)]
    axes = reduced_axes(x, binding.op.axes, y)
    return reduction_calls(statistic, x, (y,), axes, binding.workspace)


def _workspace(op: Any, inputs: tuple[TensorSpec, ...], context: Context) -> int:
    (x,) = inputs
    if x.size == 0:
        return 0
    return workspace_bytes(STATISTICS[type(op)], x.dtype, usual_axes(x, op.axes))


LOWERINGS: Mapping[type, Lowering] = dict.fromkeys(STATISTICS, simple(_calls, workspace=_workspace))
