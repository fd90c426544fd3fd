"""Max pooling with flat positions, and what moves elements by them."""

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
    leading_blocks,
    simple,
)
from minigraph.backends.numpy.pool import maxima_and_positions
from minigraph.backends.numpy.windows import Place, by_planes, planes
from minigraph.ir.errors import InputError
from minigraph.ir.spec import TensorSpec
from minigraph.ops import unpool

# ---- pooling


def _pool_parts(op: unpool.MaxPool2dWithPositions, shape: tuple[int, ...]) -> list[tuple[Any, Any]]:
    within = op.position_dtype.numpy
    return [(shape, bool), (shape, within), (shape, within), (shape, np.int64)]


def _pool_workspace(op: unpool.MaxPool2dWithPositions, inputs: tuple[TensorSpec, ...]) -> int:
    return carved_bytes(*_pool_parts(op, op.infer(*inputs)[0].shape))


def _bind_pool(binding: Binding) -> Call:
    (x,), (y, positions) = binding.inputs, binding.outputs
    assert y is not None and positions is not None
    scratch = carve(binding.workspace, *_pool_parts(binding.op, y.shape))
    return by_planes(binding, [y, x, positions], scratch, x.shape[2:], y.shape[2:], _pool)


def _pool(
    op: unpool.MaxPool2dWithPositions,
    places: list[Place],
    arrays: list[np.ndarray],
    scratch: list[np.ndarray],
) -> list[Call]:
    """Positions within the window first, in their small dtype; then flat ones.

    Place p is row u = p // k and column p - u k of its window, so the element lies, with a dilation
    (a, b), at start + u a W + (p - u k) b = start + p b + u (a W - k b).
    """
    (y, x, positions), (mask, chosen, within, rows) = arrays, scratch
    (height, width), (dilation, across), columns = x.shape[1:], op.dilation, op.kernel[1]
    starts = [
        np.arange(count) * stride - low
        for count, stride, (low, _) in zip(
            y.shape[1:], op.stride, op.explicit_padding((height, width)), strict=True
        )
    ]
    start = starts[0][:, None] * width + starts[1]
    return [
        *maxima_and_positions(op, places, [y, x, within], [mask, chosen]),
        partial(np.copyto, positions, within),
        partial(np.floor_divide, positions, columns, out=rows),
        partial(np.multiply, rows, dilation * width - columns * across, out=rows),
        partial(np.multiply, positions, across, out=positions),
        partial(np.add, positions, rows, out=positions),
        partial(np.add, positions, start, out=positions),
    ]


# ---- by flat position


def _indices_workspace(op: Any, inputs: tuple[TensorSpec, ...]) -> int:
    return carved_bytes((inputs[1].shape, np.int64))


def _checked(positions: np.ndarray, plane: tuple[int, ...]) -> None:
    """Raises InputError for a position outside of the image."""
    size = plane[0] * plane[1]
    if positions.size and not 0 <= positions.min() <= positions.max() < size:
        wrong = positions[(positions < 0) | (positions >= size)][0]
        raise InputError(
            f"Expected positions in [0, {size}) of a {plane[0]}x{plane[1]} image, got {wrong}"
        )


def _located(positions: np.ndarray, indices: np.ndarray, plane: tuple[int, ...]) -> list[Call]:
    """indices = where in the flattened block of images each position is"""
    first = np.arange(positions.shape[0])[:, None, None] * (plane[0] * plane[1])
    return [
        partial(_checked, positions, plane),
        partial(np.add, positions, first, out=indices),
    ]


def _bind_scatter(binding: Binding) -> Call:
    (x, positions), y = map(planes, binding.inputs), planes(binding.output)
    (indices,) = carve(binding.workspace, (positions.shape, np.int64))
    groups: list[list[Call]] = []
    for block in leading_blocks(y.shape):
        at, images = indices[block], y[block]
        groups.append(
            [
                *_located(positions[block], at, y.shape[1:]),
                partial(images.fill, 0),
                partial(np.add.at, images.reshape(-1), at.reshape(-1), x[block].reshape(-1)),
            ]
        )
    return in_parallel(binding.workers, groups)


def _bind_gather(binding: Binding) -> Call:
    (x, positions), y = map(planes, binding.inputs), planes(binding.output)
    (indices,) = carve(binding.workspace, (positions.shape, np.int64))
    groups: list[list[Call]] = []
    for block in leading_blocks(y.shape):
        at, images = indices[block], x[block]
        take = partial(
            np.take, images.reshape(-1), at, out=y[block], mode="clip"
        )  # "raise" would buffer
        groups.append([*_located(positions[block], at, x.shape[1:]), take])
    return in_parallel(binding.workers, groups)


KERNELS: dict[type, Kernel] = {
    unpool.MaxPool2dWithPositions: simple(_bind_pool, workspace=_pool_workspace),
    unpool.MaxUnpool2d: simple(_bind_scatter, workspace=_indices_workspace),
    unpool.TakeAtPositions: simple(_bind_gather, workspace=_indices_workspace),
}
