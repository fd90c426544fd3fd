"""Sum, mean, largest and smallest element over any axes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from minigraph.backends.llvm.call import Binding, Call, Context, Lowering, simple
from minigraph.backends.llvm.kernels.copy import fill_calls
from minigraph.backends.llvm.kernels.reduction import partial_results, reduction_calls
from minigraph.backends.llvm.kernels.scan import statistic_call
from minigraph.backends.llvm.kernels.statistics import Extreme, Mean, Statistic, Sum
from minigraph.ir.spec import TensorSpec
from minigraph.iteration import Axis, reduced_axes, reduction_space, usual_axes
from minigraph.ops import broadcast, reduce

_SHORT, _MANY = 64, 512
"""Elements of a line, and results, where vectors are better used across lines than along them."""

STATISTICS: Mapping[type, Statistic] = {
    broadcast.Sum: Sum(),
    reduce.Mean: Mean(),
    reduce.Max: Extreme(is_largest=True),
    reduce.Min: Extreme(is_largest=False),
}


def _calls(binding: Binding) -> list[Call]:
    (x,) = binding.inputs
    if x.spec.size == 0:
        return fill_calls(binding.output, math.nan if isinstance(binding.op, reduce.Mean) else 0.0)
    statistic = STATISTICS[type(binding.op)]
    axes = reduced_axes(x, binding.op.axes, binding.output)
    line = _short_line(x.spec, axes)
    if line is not None:
        return [statistic_call(statistic, x, line, binding.output)]
    return reduction_calls(statistic, x, binding.output, axes, binding.workspace, binding.target)


def _short_line(x: TensorSpec, axes: list[Axis]) -> int | None:
    """The innermost axis, where only that is reduced and it is short: then lanes are results."""
    reduced = [number for number, axis in enumerate(axes) if not axis.kept and axis.size > 1]
    if len(reduced) != 1 or axes[reduced[0]].source != 1:
        return None
    length = axes[reduced[0]].size
    return reduced[0] if length <= _SHORT and x.size >= length * _MANY else None


def _workspace(op: Any, inputs: tuple[TensorSpec, ...], context: Context) -> int:
    """For partial results, in the memory order that values usually have."""
    (x,) = inputs
    if x.size == 0:
        return 0
    space = reduction_space(usual_axes(x, op.axes))
    _, _, size = partial_results(space, x.dtype, context.target)
    return size * STATISTICS[type(op)].accumulates(x.dtype).itemsize


LOWERINGS: Mapping[type, Lowering] = dict.fromkeys(STATISTICS, simple(_calls, workspace=_workspace))
