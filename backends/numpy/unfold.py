"""Windows to columns and back, by one strided view of the images for each place in the window."""

from __future__ import annotations

from functools import partial

import numpy as np

from minigraph.backends.numpy.kernel import Binding, Call, Kernel, simple
from minigraph.backends.numpy.windows import Place, by_planes
from minigraph.ir.spec import DType, TensorSpec
from minigraph.ops import unfold


def _by_place(
    op: unfold.Unfold2d | unfold.Fold2d, columns: np.ndarray, x: np.ndarray
) -> np.ndarray:
    """Columns (N,C*R*S,H'*W') as (N,C,R*S,H',W')."""
    pooled = op.pooled_shape(TensorSpec(x.shape, DType.of(x.dtype)))
    return columns.reshape(*x.shape[:2], op.kernel[0] * op.kernel[1], *pooled[2:])


def _bind_unfold(binding: Binding) -> Call:
    (x,), op = binding.inputs, binding.op
    y = _by_place(op, binding.output, x)
    return by_planes(binding, [y, x], [], x.shape[2:], y.shape[3:], _unfold)


def _unfold(
    op: unfold.Unfold2d, places: list[Place], arrays: list[np.ndarray], _: list[np.ndarray]
) -> list[Call]:
    y, x = arrays
    everywhere = tuple(slice(0, count) for count in y.shape[2:])
    covered = {place.number for place in places if place.windows == everywhere}
    calls: list[Call] = [
        partial(y[:, number].fill, 0) for number in range(y.shape[1]) if number not in covered
    ]
    return calls + [
        partial(np.copyto, y[:, place.number, *place.windows], x[:, *place.input])
        for place in places
    ]


def _bind_fold(binding: Binding) -> Call:
    (columns,), y, op = binding.inputs, binding.output, binding.op
    by_place = _by_place(op, columns, y)
    return by_planes(binding, [y, by_place], [], y.shape[2:], by_place.shape[3:], _fold)


def _fold(
    op: unfold.Fold2d, places: list[Place], arrays: list[np.ndarray], _: list[np.ndarray]
) -> list[Call]:
    y, columns = arrays
    calls: list[Call] = [partial(y.fill, 0)]
    for place in places:
        target = y[:, *place.input]
        calls.append(partial(np.add, target, columns[:, place.number, *place.windows], out=target))
    return calls


KERNELS: dict[type, Kernel] = {
    unfold.Unfold2d: simple(_bind_unfold),
    unfold.Fold2d: simple(_bind_fold),
}
