"""Kernels that choose elements by index, and those that add to them.

An array is seen as (before, n, after) with the indexed axis in the middle. Indices are first
checked, then wrapped into ``[0, n)``, so that NumPy's "clip" mode, which needs no buffer, clips
nothing. Additions run in the order of the indices, on one thread.
"""

from __future__ import annotations

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
from minigraph.ir.errors import IllegalIndexError
from minigraph.ir.spec import TensorSpec
from minigraph.ops import indexing


def _folded(array: np.ndarray, axis: int) -> np.ndarray:
    """(before, n, after)"""
    axis %= array.ndim
    shape = array.shape
    return array.reshape(prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :]))


def _wrap(raw: np.ndarray, wrapped: np.ndarray, size: int, axis: int) -> None:
    """The indices as positions in ``[0, size)``. Raises IllegalIndexError."""
    np.copyto(wrapped, raw)
    if not wrapped.size:
        return
    if not -size <= wrapped.min() <= wrapped.max() < size:
        wrong = (wrapped < -size) | (wrapped >= size)
        place = [int(i) for i in np.argwhere(wrong)[0]]
        raise IllegalIndexError(
            f"Expected an index in [{-size}, {size}) for axis {axis}, got {raw[tuple(place)]}"
            f"{f' at {place} of the indices' if place else ''}"
        )
    np.remainder(wrapped, size, out=wrapped)


def _wrap_call(binding: Binding, wrapped: np.ndarray) -> Call:
    x, indices = binding.inputs[:2]
    axis = binding.op.axis % x.ndim
    return partial(_wrap, indices, wrapped, x.shape[axis], axis)


# ---- slices


def _slices_workspace(op: Any, inputs: tuple[TensorSpec, ...]) -> int:
    return carved_bytes((inputs[1].shape, np.intp))


def _bind_gather(binding: Binding) -> Call:
    x, indices = binding.inputs
    (wrapped,) = carve(binding.workspace, (indices.shape, np.intp))
    axis = binding.op.axis % x.ndim
    wrap = _wrap_call(binding, wrapped)
    if not binding.output.size:
        return wrap
    take = partial(np.take, x, wrapped, axis=axis, out=binding.output, mode="clip")
    return in_sequence([wrap, take])


def _bind_index_add(binding: Binding) -> Call:
    x, indices, updates = binding.inputs
    (wrapped,) = carve(binding.workspace, (indices.shape, np.intp))
    axis, out = binding.op.axis % x.ndim, binding.output
    target, positions = _folded(out, axis), wrapped.reshape(-1)
    source = updates.reshape(target.shape[0], positions.size, target.shape[2])

    def add() -> None:
        for number, position in enumerate(positions):
            slot = target[:, position]
            np.add(slot, source[:, number], out=slot)

    return in_sequence([_wrap_call(binding, wrapped), partial(np.copyto, out, x), add])


# ---- elements


def _element_parts(indices: tuple[int, ...], axis: int) -> list[Any]:
    """Wrapped indices, then positions in the flattened array; steps along the outer axes."""
    axis %= len(indices)
    before, after = prod(indices[:axis]), prod(indices[axis + 1 :])
    return [(indices, np.intp), ((max(before, after),), np.intp)]


def _elements_workspace(op: Any, inputs: tuple[TensorSpec, ...]) -> int:
    return carved_bytes(*_element_parts(inputs[1].shape, op.axis))


def _locate(binding: Binding) -> tuple[list[Call], np.ndarray]:
    """Calls that make flat positions of the indexed elements, and the array of these."""
    x, indices = binding.inputs[:2]
    axis = binding.op.axis % x.ndim
    wrapped, ramp = carve(binding.workspace, *_element_parts(indices.shape, axis))
    positions, size = _folded(wrapped, axis), x.shape[axis]
    before, _, after = positions.shape

    def locate() -> None:
        """(i, index, k) becomes (i * size + index) * after + k."""
        ramp.fill(1)
        np.add.accumulate(ramp, out=ramp)
        np.subtract(ramp, 1, out=ramp)
        np.multiply(positions, after, out=positions)
        np.add(positions, ramp[:after], out=positions)
        np.multiply(ramp, size * after, out=ramp)
        np.add(positions, ramp[:before, None, None], out=positions)

    return [_wrap_call(binding, wrapped), locate], wrapped


def _bind_take_along_axis(binding: Binding) -> Call:
    calls, positions = _locate(binding)
    if not positions.size:
        return calls[0]
    flat = binding.inputs[0].reshape(-1)
    take = partial(np.take, flat, positions, out=binding.output, mode="clip")
    return in_sequence([*calls, take])


def _bind_scatter_add(binding: Binding) -> Call:
    calls, positions = _locate(binding)
    x, _, updates = binding.inputs
    out = binding.output.reshape(-1)
    add = partial(np.add.at, out, positions.reshape(-1), updates.reshape(-1))
    return in_sequence([*calls, partial(np.copyto, binding.output, x), add])


def _bind_one_hot(binding: Binding) -> Call:
    (labels,), out, op = binding.inputs, binding.output, binding.op
    axis = op.axis % out.ndim
    (equal,) = carve(binding.workspace, (labels.shape, bool))
    calls: list[Call] = []
    for number in range(op.classes):
        slot = out[(*(slice(None),) * axis, number, ...)]
        calls += [partial(np.equal, labels, number, out=equal), partial(np.copyto, slot, equal)]
    return in_sequence(calls)


def _one_hot_workspace(op: Any, inputs: tuple[TensorSpec, ...]) -> int:
    return carved_bytes((inputs[0].shape, bool))


KERNELS: dict[type, Kernel] = {
    indexing.Gather: simple(_bind_gather, workspace=_slices_workspace),
    indexing.TakeAlongAxis: simple(_bind_take_along_axis, workspace=_elements_workspace),
    indexing.OneHot: simple(_bind_one_hot, workspace=_one_hot_workspace),
}

SUMMING: dict[type, Kernel] = {
    indexing.IndexAdd: simple(_bind_index_add, workspace=_slices_workspace),
    indexing.ScatterAdd: simple(_bind_scatter_add, workspace=_elements_workspace),
}
