"""Softmax and log-softmax along one axis."""

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
    in_sequence,
    simple,
)
from minigraph.ir.spec import TensorSpec
from minigraph.ops import softmax


def _reduced(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    axis %= len(shape)
    return (*shape[:axis], 1, *shape[axis + 1 :])


def _softmax_workspace(op: Any, inputs: tuple[TensorSpec, ...]) -> int:
    (x,) = inputs
    return carved_bytes((_reduced(x.shape, op.axis), x.dtype.numpy))


def _bind_softmax(binding: Binding) -> Call:
    (x,), out, axis = binding.inputs, binding.output, binding.op.axis
    (group,) = carve(binding.workspace, (_reduced(x.shape, axis), x.dtype))
    return in_sequence(
        [
            partial(np.maximum.reduce, x, axis=axis, keepdims=True, out=group),
            partial(np.subtract, x, group, out=out),
            partial(np.exp, out, out=out),
            partial(np.add.reduce, out, axis=axis, keepdims=True, out=group),
            partial(np.divide, out, group, out=out),
        ]
    )


def _log_softmax_workspace(op: Any, inputs: tuple[TensorSpec, ...]) -> int:
    (x,) = inputs
    return carved_bytes((_reduced(x.shape, op.axis), x.dtype.numpy), (x.shape, x.dtype.numpy))


def _bind_log_softmax(binding: Binding) -> Call:
    (x,), out, axis = binding.inputs, binding.output, binding.op.axis
    group, powers = carve(binding.workspace, (_reduced(x.shape, axis), x.dtype), (x.shape, x.dtype))
    return in_sequence(
        [
            partial(np.maximum.reduce, x, axis=axis, keepdims=True, out=group),
            partial(np.subtract, x, group, out=out),
            partial(np.exp, out, out=powers),
            partial(np.add.reduce, powers, axis=axis, keepdims=True, out=group),
            partial(np.log, group, out=group),
            partial(np.subtract, out, group, out=out),
        ]
    )


KERNELS: dict[type, Kernel] = {
    softmax.Softmax: simple(_bind_softmax, overwrites=(0,), workspace=_softmax_workspace),
    softmax.LogSoftmax: simple(
        _bind_log_softmax, overwrites=(0,), workspace=_log_softmax_workspace
    ),
}
