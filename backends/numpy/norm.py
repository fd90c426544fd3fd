"""Channel moments in two passes: the mean, then the mean of squared differences from it."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from minigraph.backends.numpy.kernel import (
    Binding,
    Call,
    Kernel,
    carve,
    carved_bytes,
    in_parallel,
    simple,
)
from minigraph.ir.spec import TensorSpec
from minigraph.ops.norm import ChannelMoments

_CHANNELS_PER_BLOCK = 8


def _parts(shape: tuple[int, ...], dtype: Any) -> tuple[tuple[tuple[int, ...], Any], ...]:
    """Partial sums of each image and channel, and one image's centred copy."""
    plane = int(np.prod(shape[2:], dtype=np.int64))
    return ((shape[:2], dtype), ((shape[1], plane), dtype))


def _workspace(op: Any, inputs: tuple[TensorSpec, ...]) -> int:
    return carved_bytes(*_parts(inputs[0].shape, inputs[0].dtype.numpy))


def _bind(binding: Binding) -> Call:
    (x,), (mean, variance) = binding.inputs, binding.outputs
    sums, centred = carve(binding.workspace, *_parts(x.shape, x.dtype))
    images = x.reshape(*x.shape[:2], -1)
    count = np.array(x.size // x.shape[1], x.dtype)
    assert mean is not None and variance is not None
    groups: list[list[Call]] = []
    for low in range(0, x.shape[1], _CHANNELS_PER_BLOCK):
        part = slice(low, low + _CHANNELS_PER_BLOCK)
        block, scratch, partials = images[:, part], centred[part], sums[:, part]
        calls: list[Call] = [
            partial(np.add.reduce, block, axis=2, out=partials),
            partial(np.add.reduce, partials, axis=0, out=mean[part]),
            partial(np.divide, mean[part], count, out=mean[part]),
        ]
        for image, total in zip(block, partials, strict=True):
            calls += [
                partial(np.subtract, image, mean[part, None], out=scratch),
                partial(np.multiply, scratch, scratch, out=scratch),
                partial(np.add.reduce, scratch, axis=1, out=total),
            ]
        calls += [
            partial(np.add.reduce, partials, axis=0, out=variance[part]),
            partial(np.divide, variance[part], count, out=variance[part]),
        ]
        groups.append(calls)
    return in_parallel(binding.workers, groups)


KERNELS: dict[type, Kernel] = {ChannelMoments: simple(_bind, workspace=_workspace)}
