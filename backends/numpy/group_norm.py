"""Moments of groups of channels, and sums over windows of channels."""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any

import numpy as np

from minigraph.backend import Algorithm
from minigraph.backends.numpy.kernel import (
    Binding,
    Call,
    Kernel,
    blocks_of,
    carve,
    carved_bytes,
    in_parallel,
    in_sequence,
    simple,
)
from minigraph.ir.spec import TensorSpec
from minigraph.ops.local_response import ChannelWindowSum
from minigraph.ops.norm import GroupMoments

_PIECE = 1 << 14  # elements of a group that are centred and squared at a time


def _rows(op: GroupMoments, shape: tuple[int, ...]) -> tuple[int, int]:
    """Groups of all images, and elements of each: these lie together in memory."""
    groups = shape[0] * op.groups
    return groups, prod(shape[1:]) // op.groups


def _parts(op: GroupMoments, shape: tuple[int, ...], dtype: Any, threads: int) -> list[Any]:
    """Each group's mean, its variance, and sums of its pieces; scratch for each worker."""
    groups, size = _rows(op, shape)
    pieces = -(-size // _PIECE)
    scratch = [((min(groups * size, _PIECE),), dtype)] * threads
    return [((groups,), dtype), ((groups,), dtype), ((groups, pieces), dtype), *scratch]


def _moments_candidates(
    op: GroupMoments, inputs: tuple[TensorSpec, ...], threads: int
) -> tuple[Algorithm, ...]:
    (x,) = inputs
    workspace = carved_bytes(*_parts(op, x.shape, x.dtype.numpy, threads))
    return (Algorithm("numpy", workspace, op.cost(x).bytes / 5e9),)


def _bind_moments(binding: Binding) -> Call:
    (x,), op, workers = binding.inputs, binding.op, binding.workers
    groups, size = _rows(op, x.shape)
    parts = _parts(op, x.shape, x.dtype, workers.threads)
    means, variances, sums, *scratch = carve(binding.workspace, *parts)
    rows = x.reshape(groups, size)
    together = max(_PIECE // max(size, 1), 1)  # several small groups, or one large one

    def moments(first: int, worker: int) -> None:
        part = slice(first, first + together)
        block, mean, variance, total = rows[part], means[part], variances[part], sums[part]
        np.add.reduce(block, axis=1, out=mean)
        np.divide(mean, size, out=mean)
        for piece, low in enumerate(range(0, size, _PIECE)):
            values = block[:, low : low + _PIECE]
            centred = scratch[worker][: values.size].reshape(values.shape)
            np.subtract(values, mean[:, None], out=centred)
            np.multiply(centred, centred, out=centred)
            np.add.reduce(centred, axis=1, out=total[:, piece])
        np.add.reduce(total, axis=1, out=variance)
        np.divide(variance, size, out=variance)

    tasks = [partial(moments, first) for first in range(0, groups, together)]
    spread: list[Call] = [
        partial(np.copyto, out.reshape(groups, -1), moment[:, None])
        for out, moment in zip(binding.outputs, (means, variances), strict=True)
        if out is not None and out.size
    ]
    return in_sequence([partial(workers.run, tasks), *spread])


def _bind_window_sum(binding: Binding) -> Call:
    """Add shifted channels to a copy, a block of images at a time."""
    (x,), out, op = binding.inputs, binding.output, binding.op
    channels = x.shape[1]
    planes = (*x.shape[:2], prod(x.shape[2:]))
    source, target = x.reshape(planes), out.reshape(planes)
    groups: list[list[Call]] = []
    for block in blocks_of(source.shape) if len(x) > 1 else [()]:
        from_, to = source[block], target[block]
        calls: list[Call] = [partial(np.copyto, to, from_)]
        for shift in range(-op.before, op.after + 1):
            low, high = max(0, -shift), min(channels, channels - shift)
            if shift and low < high:
                inner = to[:, low:high]
                shifted = from_[:, low + shift : high + shift]
                calls.append(partial(np.add, inner, shifted, out=inner))
        groups.append(calls)
    return in_parallel(binding.workers, groups)


KERNELS: dict[type, Kernel] = {
    GroupMoments: Kernel(_moments_candidates, _bind_moments),
    ChannelWindowSum: simple(_bind_window_sum),
}
