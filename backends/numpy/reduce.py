"""Reductions: sum, mean, max, min, argmax, argmin; and the running sum."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

import numpy as np

from minigraph.backends.numpy.kernel import (
    Binding,
    Call,
    Kernel,
    carve,
    carved_bytes,
    in_sequence,
    simple,
)
from minigraph.ir.spec import TensorSpec
from minigraph.ops import broadcast, reduce


def _axes(axes: tuple[int, ...] | None, ndim: int) -> tuple[int, ...]:
    return tuple(range(ndim)) if axes is None else tuple(sorted(axis % ndim for axis in axes))


def _trailing(axes: tuple[int, ...], ndim: int) -> int:
    """How many of the last axes are reduced: these lie together in memory."""
    count = 0
    while count < ndim and ndim - 1 - count in axes:
        count += 1
    return count


def sum_calls(
    x: np.ndarray, axes: tuple[int, ...], out: np.ndarray, partial_sums: np.ndarray
) -> list[Call]:
    """Sum in two stages: the trailing axes pairwise (NumPy does so along contiguous memory), then
    the rest. One ``np.sum`` over both would add row to row in order and round more."""
    tail = _trailing(axes, x.ndim)
    rest = tuple(axis for axis in axes if axis < x.ndim - tail)
    if not tail or not rest:
        flat = x.reshape(*x.shape[: x.ndim - tail], -1) if tail else x
        over = (flat.ndim - 1,) if tail else axes
        target = out.reshape([s for a, s in enumerate(flat.shape) if a not in over])
        return [partial(np.add.reduce, flat, axis=over, dtype=x.dtype, out=target)]
    head = x.shape[: x.ndim - tail]
    flat, sums = x.reshape(*head, -1), partial_sums.reshape(head)
    target = out.reshape([size for axis, size in enumerate(head) if axis not in rest])
    return [
        partial(np.add.reduce, flat, axis=len(head), dtype=x.dtype, out=sums),
        partial(np.add.reduce, sums, axis=rest, dtype=x.dtype, out=target),
    ]


def _partial_sums(x: TensorSpec | np.ndarray, axes: tuple[int, ...] | None) -> tuple[int]:
    ndim = len(x.shape)
    return (prod(x.shape[: ndim - _trailing(_axes(axes, ndim), ndim)]),)


def _sum_workspace(op: Any, inputs: tuple[TensorSpec, ...]) -> int:
    return carved_bytes((_partial_sums(inputs[0], op.axes), inputs[0].dtype.numpy))


def _sum_calls(binding: Binding) -> list[Call]:
    (x,), op = binding.inputs, binding.op
    (sums,) = carve(binding.workspace, (_partial_sums(x, op.axes), x.dtype))
    if x.size == 0:
        return [partial(binding.output.fill, 0)]
    return sum_calls(x, _axes(op.axes, x.ndim), binding.output, sums)


def _bind_sum(binding: Binding) -> Call:
    return in_sequence(_sum_calls(binding))


def _bind_mean(binding: Binding) -> Call:
    out, (x,) = binding.output, binding.inputs
    count = np.array(x.size // max(out.size, 1), out.dtype)  # of nothing: 0 / 0, not a number
    return in_sequence([*_sum_calls(binding), partial(np.divide, out, count, out=out)])


def _extreme(pick: np.ufunc) -> Kernel:
    def bind(binding: Binding) -> Call:
        (x,), op, out = binding.inputs, binding.op, binding.output
        axes = _axes(op.axes, x.ndim)
        target = out.reshape([size for axis, size in enumerate(x.shape) if axis not in axes])
        return partial(pick.reduce, x, axis=axes, out=target)

    return simple(bind)


def _arg_extreme(position: Callable[..., Any]) -> Kernel:
    """np.argmax or np.argmin, on a copy with the axis moved to the end where it is not there."""

    def bind(binding: Binding) -> Call:
        (x,), out = binding.inputs, binding.output
        rows = np.moveaxis(x, binding.op.axis, -1)
        positions = out.reshape(rows.shape[:-1])
        if rows.flags.c_contiguous:
            return partial(position, rows, axis=-1, out=positions)
        (moved,) = carve(binding.workspace, (rows.shape, x.dtype))
        copy = partial(np.copyto, moved, rows)
        return in_sequence([copy, partial(position, moved, axis=-1, out=positions)])

    return simple(bind, workspace=_argmax_workspace)


def _bind_cumsum(binding: Binding) -> Call:
    (x,), out, op = binding.inputs, binding.output, binding.op
    if op.reverse:
        x, out = np.flip(x, op.axis), np.flip(out, op.axis)
    return partial(np.add.accumulate, x, axis=op.axis, dtype=x.dtype, out=out)


def _argmax_workspace(op: Any, inputs: tuple[TensorSpec, ...]) -> int:
    (x,) = inputs
    return 0 if op.axis % x.ndim == x.ndim - 1 else carved_bytes((x.shape, x.dtype.numpy))


KERNELS: dict[type, Kernel] = {
    broadcast.Sum: simple(_bind_sum, workspace=_sum_workspace),
    reduce.Mean: simple(_bind_mean, workspace=_sum_workspace),
    reduce.Max: _extreme(np.maximum),
    reduce.Min: _extreme(np.minimum),
    reduce.ArgMax: _arg_extreme(np.argmax),
    reduce.ArgMin: _arg_extreme(np.argmin),
    reduce.CumSum: simple(_bind_cumsum),
}
