"""Kernels that move elements, and those that make them from nothing."""

from __future__ import annotations

from functools import partial

import numpy as np

from minigraph.backends.numpy.kernel import (
    Binding,
    Call,
    Kernel,
    blocks_of,
    in_parallel,
    in_sequence,
    simple,
    take_block,
)
from minigraph.ir.constant import Full
from minigraph.ir.spec import TensorSpec
from minigraph.ops import broadcast, control, reduce, shape


def _copy(target: np.ndarray, source: np.ndarray) -> list[Call]:
    """Copies of blocks, so that threads can share a large copy."""
    ndim = target.ndim
    return [
        partial(np.copyto, take_block(target, block, ndim), take_block(source, block, ndim))
        for block in blocks_of(target.shape)
    ]


def _bind_full(binding: Binding) -> Call:
    return partial(binding.output.fill, binding.op.value)


def _bind_count(binding: Binding) -> Call:
    count = binding.op.value(TensorSpec(binding.inputs[0].shape))
    return partial(binding.output.fill, count)


def _bind_copy(binding: Binding) -> Call:
    return in_parallel(binding.workers, [[c] for c in _copy(binding.output, binding.inputs[0])])


def _bind_expand(binding: Binding) -> Call:
    out = binding.output
    source = np.broadcast_to(binding.inputs[0], out.shape)
    return in_parallel(binding.workers, [[call] for call in _copy(out, source)])


def _bind_transpose(binding: Binding) -> Call:
    source = binding.inputs[0].transpose(binding.op.permutation)
    return in_parallel(binding.workers, [[call] for call in _copy(binding.output, source)])


def _bind_concat(binding: Binding) -> Call:
    out, axis = binding.output, binding.op.axis % binding.output.ndim
    calls, start = [], 0
    for array in binding.inputs:
        index = (*(slice(None),) * axis, slice(start, start + array.shape[axis]))
        calls += _copy(out[index], array)
        start += array.shape[axis]
    return in_parallel(binding.workers, [[call] for call in calls])


def _bind_split(binding: Binding) -> Call:
    (x,) = binding.inputs
    axis, calls, start = binding.op.axis % x.ndim, [], 0
    for out, size in zip(binding.outputs, binding.op.sizes, strict=True):
        index = (*(slice(None),) * axis, slice(start, start + size))
        start += size
        if out is not None:
            calls += _copy(out, x[index])
    return in_parallel(binding.workers, [[call] for call in calls])


def _bind_slice(binding: Binding) -> Call:
    (x,) = binding.inputs
    index = tuple(slice(*parts) for parts in binding.op.slices)
    return in_parallel(binding.workers, [[call] for call in _copy(binding.output, x[index])])


def _bind_flip(binding: Binding) -> Call:
    source = np.flip(binding.inputs[0], binding.op.axes)
    return in_parallel(binding.workers, [[call] for call in _copy(binding.output, source)])


def _bind_pad(binding: Binding) -> Call:
    (x,), out, op = binding.inputs, binding.output, binding.op
    inner = tuple(
        slice(low, low + size + max(size - 1, 0) * interior, interior + 1)
        for low, interior, size in zip(op.low, op.interior, x.shape, strict=True)
    )
    value = op.value if out.dtype.kind not in "iub" else int(op.value)
    return in_sequence([partial(out.fill, value), partial(np.copyto, out[inner], x)])


KERNELS: dict[type, Kernel] = {
    Full: simple(_bind_full),
    reduce.Count: simple(_bind_count),
    broadcast.Expand: simple(_bind_expand),
    control.StopGradient: simple(_bind_copy),  # as a step of its own: a copy
    shape.Transpose: simple(_bind_transpose),
    shape.Concat: simple(_bind_concat),
    shape.Split: simple(_bind_split),
    shape.Slice: simple(_bind_slice),
    shape.Pad: simple(_bind_pad),
    shape.Flip: simple(_bind_flip),
}
