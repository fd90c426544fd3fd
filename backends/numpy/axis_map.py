"""Sparse linear maps along one axis: takes, slices and sums of (outer, axis, inner) blocks.

The taps are sorted into levels: level k holds the k-th tap of every output that has so many. Each
level is cut into pieces whose targets are evenly spaced, so that a piece is a few calls on views:
take or slice the sources, weigh them, add. The adjoint is the same with targets and sources
exchanged. A tap that does not exist is not computed with weight 0, which would turn inf into nan.
"""

from __future__ import annotations

from dataclasses import dataclass
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
    in_parallel,
    in_sequence,
    leading_blocks,
    simple,
)
from minigraph.ir.spec import TensorSpec
from minigraph.ops.axis_map import AxisMap, AxisMapAdjoint
from minigraph.ops.pad_modes import PadAxis
from minigraph.ops.resize import AdaptiveMeanAxis, ResizeAxis

_MOST_SLICES = 4  # of the sources of one run of targets; more of them are taken one by one


@dataclass(frozen=True, slots=True)
class _Piece:
    """Some targets of one level: where they lie, what each takes, with what weight."""

    level: int
    targets: slice
    sources: slice | np.ndarray
    weights: np.ndarray | None  # None: all 1

    @property
    def needs_scratch(self) -> bool:
        """Sources that are taken one by one, or weighed, and then added."""
        return isinstance(self.sources, np.ndarray) or self.weights is not None


def _connections(op: Any, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets, sources and weights of all taps, targets ascending, each target's in tap order."""
    map_: AxisMap = op.map if isinstance(op, AxisMapAdjoint) else op
    sources, weights = map_.taps(op.size if isinstance(op, AxisMapAdjoint) else size)
    outputs = np.broadcast_to(np.arange(sources.shape[1]), sources.shape)
    given = np.ones(sources.shape) if weights is None else weights
    inputs, outputs, values = (a.T[given.T != 0] for a in (sources, outputs, given))
    if not isinstance(op, AxisMapAdjoint):
        return outputs, inputs, values
    order = np.argsort(inputs, kind="stable")
    return inputs[order], outputs[order], values[order]


def _pieces(op: Any, size: int) -> list[_Piece]:
    targets, sources, weights = _connections(op, size)
    _, first, counts = np.unique(targets, return_index=True, return_counts=True)
    rank = np.arange(len(targets)) - np.repeat(first, counts)
    found = []
    for level in range(int(counts.max(initial=0))):
        chosen = rank == level
        at, taken, weight = targets[chosen], sources[chosen], weights[chosen]
        for start, stop in _runs(at):
            sliced = [(start + low, start + high) for low, high in _runs(taken[start:stop])]
            few = len(sliced) <= _MOST_SLICES
            for low, high in sliced if few else [(start, stop)]:
                part = slice(low, high)
                found.append(
                    _Piece(
                        level,
                        _as_slice(at[part]),
                        _as_slice(taken[part]) if few else taken[part],
                        None if (weight[part] == 1).all() else weight[part],
                    )
                )
    return found


def _runs(values: np.ndarray) -> list[tuple[int, int]]:
    """Cuts into evenly spaced runs, greedily: [start, stop) of each."""
    steps = np.diff(values)
    found, start = [], 0
    while start < len(values):
        stop = start + 1
        if stop < len(values):
            changes = np.flatnonzero(steps[start:] != steps[start])
            stop = start + 1 + (int(changes[0]) if len(changes) else len(steps) - start)
        found.append((start, stop))
        start = stop
    return found


def _as_slice(values: np.ndarray) -> slice:
    """The evenly spaced values as a slice; of equal ones, the first (it is broadcast)."""
    first = int(values[0])
    step = int(values[1]) - first if len(values) > 1 else 1
    if step == 0:
        return slice(first, first + 1)
    stop = first + step * len(values)
    return slice(first, stop if stop >= 0 else None, step)


def _as_blocks(array: np.ndarray, axis: int) -> np.ndarray:
    """(outer, axis, inner)."""
    return array.reshape(prod(array.shape[:axis]), array.shape[axis], -1)


def _axis(op: Any) -> int:
    return op.map.axis if isinstance(op, AxisMapAdjoint) else op.axis


def _parts(
    pieces: list[_Piece], shape: tuple[int, ...], dtype: Any
) -> tuple[list[tuple[Any, Any]], list[tuple[Any, Any]]]:
    """Workspace for an output (outer, axis, inner): scratch, and each weighed piece's weights.

    The weights are spread out over a block of the largest size: NumPy multiplies arrays of one
    shape several times faster than it broadcasts.
    """
    scratch = [(shape, dtype)] if any(piece.needs_scratch for piece in pieces) else []
    outer = max(
        len(range(shape[0])[block[0]]) if block else shape[0] for block in leading_blocks(shape)
    )
    return scratch, [
        ((outer, len(piece.weights), shape[2]), dtype)
        for piece in pieces
        if piece.weights is not None
    ]


def _workspace(op: Any, inputs: tuple[TensorSpec, ...]) -> int:
    (x,), (y,), axis = inputs, op.infer(*inputs), _axis(op)
    if x.size == 0 or y.size == 0:
        return 0
    shape = (prod(y.shape[:axis]), y.shape[axis], prod(y.shape[axis + 1 :]))
    scratch, weights = _parts(_pieces(op, x.shape[axis]), shape, x.dtype.numpy)
    return carved_bytes(*scratch, *weights)


def _bind(binding: Binding) -> Call:
    (x,), y, axis = binding.inputs, binding.output, _axis(binding.op)
    if y.size == 0 or x.size == 0:
        return partial(y.fill, 0)
    pieces = _pieces(binding.op, x.shape[axis])
    x, y = _as_blocks(x, axis), _as_blocks(y, axis)
    scratch, parts = _parts(pieces, y.shape, y.dtype)
    arrays = carve(binding.workspace, *scratch, *parts)
    buffer = arrays.pop(0) if scratch else y  # not used where no piece needs it
    weighed = iter(arrays)
    weights = [None if piece.weights is None else next(weighed) for piece in pieces]
    spread: list[Call] = [
        partial(np.copyto, array, piece.weights.astype(y.dtype)[:, None])
        for piece, array in zip(pieces, weights, strict=True)
        if piece.weights is not None and array is not None
    ]
    work = in_parallel(
        binding.workers,
        [
            _calls(pieces, weights, x[block], y[block], buffer[block])
            for block in leading_blocks(y.shape)
        ],
    )
    return in_sequence([*spread, work])


def _calls(
    pieces: list[_Piece],
    weights: list[np.ndarray | None],
    x: np.ndarray,
    y: np.ndarray,
    scratch: np.ndarray,
) -> list[Call]:
    calls: list[Call] = []
    covered = sum(len(range(*p.targets.indices(y.shape[1]))) for p in pieces if p.level == 0)
    if covered < y.shape[1]:
        calls.append(partial(y.fill, 0))
    for piece, weight in zip(pieces, weights, strict=True):
        target = y[:, piece.targets]
        buffer = scratch.reshape(-1)[: target.size].reshape(target.shape)
        if isinstance(piece.sources, slice):
            source = x[:, piece.sources]
        else:
            whole = piece.level == 0 and target.shape == y.shape
            source = y if whole else buffer
            calls.append(partial(np.take, x, piece.sources, axis=1, out=source, mode="clip"))
        if weight is not None:
            product = target if piece.level == 0 else buffer
            calls.append(partial(np.multiply, source, weight[: len(y)], out=product))
            source = product
        if piece.level > 0:
            calls.append(partial(np.add, target, source, out=target))
        elif source is not target and source is not y:
            calls.append(partial(np.copyto, target, source))
    return calls


KERNELS: dict[type, Kernel] = {
    op: simple(_bind, workspace=_workspace)
    for op in (ResizeAxis, AdaptiveMeanAxis, PadAxis, AxisMapAdjoint)
}
