"""Medians of windows by a selection network: minima and maxima of whole blocks, no sorting.

A sorting network (Batcher's odd-even merge, Knuth volume 3, algorithm 5.2.2M) is cut down to the
comparators that the middle wire depends on: 20 of 26 for 3x3. A comparator is a minimum and
a maximum of two arrays, each with one element of every window of a block that stays in cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import numpy as np

from minigraph.backend import Algorithm, aligned
from minigraph.backends.numpy.kernel import (
    Binding,
    Call,
    Kernel,
    carve,
    carved_bytes,
    in_sequence,
)
from minigraph.backends.numpy.windows import Place, bind_positions, places_of, planes
from minigraph.ir.spec import TensorSpec
from minigraph.ops.median import MedianPool2d
from minigraph.ops.selection_network import sorting_network

_BLOCK_ELEMENTS = 1 << 13  # of each wire


@dataclass(frozen=True, slots=True)
class _Comparator:
    """Puts the smaller on wire ``low``, the larger on wire ``high``; only what is asked for."""

    low: int
    high: int
    wants_low: bool
    wants_high: bool


def _selection_network(wires: int) -> list[_Comparator]:
    """The part of a sorting network that its middle wire needs."""
    needed, kept = {wires // 2}, []
    for low, high in reversed(sorting_network(wires)):
        if low in needed or high in needed:
            kept.append(_Comparator(low, high, low in needed, high in needed))
            needed |= {low, high}
    return kept[::-1]


def _blocks(shape: tuple[int, ...]) -> list[tuple[slice, slice]]:
    """(planes, rows) of the output: several planes, or some rows of one."""
    count, rows, columns = shape
    if rows * columns >= _BLOCK_ELEMENTS:
        step = max(1, _BLOCK_ELEMENTS // columns)
        return [
            (slice(plane, plane + 1), slice(row, min(row + step, rows)))
            for plane in range(count)
            for row in range(0, rows, step)
        ]
    step = max(1, _BLOCK_ELEMENTS // (rows * columns))
    return [
        (slice(first, min(first + step, count)), slice(0, rows)) for first in range(0, count, step)
    ]


def _parts(op: MedianPool2d, shape: tuple[int, ...], dtype: Any) -> list[tuple[Any, Any]]:
    """Scratch of one worker: all wires and one to spare, and what finding positions takes."""
    size = max((prod(_extent(block)) for block in _blocks(shape)), default=0) * shape[2]
    wires = op.kernel[0] * op.kernel[1] + 1
    return [((wires, size), dtype), ((size,), bool), ((size,), op.position_dtype.numpy)]


def _extent(block: tuple[slice, slice]) -> tuple[int, int]:
    return block[0].stop - block[0].start, block[1].stop - block[1].start


def _candidates(
    op: MedianPool2d, inputs: tuple[TensorSpec, ...], threads: int
) -> tuple[Algorithm, ...]:
    shape = op.infer(*inputs)[0].shape
    planar = (shape[0] * shape[1], *shape[2:])
    private = aligned(carved_bytes(*_parts(op, planar, inputs[0].dtype.numpy)))
    return (Algorithm("selection-network", private * threads, op.cost(*inputs).flops / 1e9),)


def _bind(binding: Binding) -> Call:
    (x,), (y, positions), op = map(planes, binding.inputs), binding.outputs, binding.op
    assert y is not None
    y = planes(y)
    parts = _parts(op, y.shape, y.dtype)
    private = aligned(carved_bytes(*parts))
    scratch = [
        carve(binding.workspace[worker * private :], *parts)
        for worker in range(binding.workers.threads)
    ]
    network = _selection_network(op.kernel[0] * op.kernel[1])
    found = None if positions is None else planes(positions)
    places = list(places_of(op, x.shape[1:], y.shape[1:]))

    def task(block: tuple[slice, slice]) -> Any:
        calls = [
            in_sequence(_block_calls(op, network, places, x, y, found, block, own))
            for own in scratch
        ]
        return lambda worker: calls[worker]()

    tasks = [task(block) for block in _blocks(y.shape)]
    return lambda: binding.workers.run(tasks)


def _block_calls(
    op: MedianPool2d,
    network: list[_Comparator],
    places: list[Place],
    x: np.ndarray,
    y: np.ndarray,
    positions: np.ndarray | None,
    block: tuple[slice, slice],
    scratch: list[np.ndarray],
) -> list[Call]:
    shape = (*_extent(block), y.shape[2])
    arrays = [row[: prod(shape)].reshape(shape) for row in scratch[0]]
    wires, spare = arrays[:-1], arrays[-1]
    rows, stride = block[1], op.stride[0]
    moved = []  # the places, with rows counted from the block's first window
    for place in places:
        top = place.input[0].start
        inside = slice(top + rows.start * stride, top + (rows.stop - 1) * stride + 1, stride)
        windows = (slice(0, rows.stop - rows.start), place.windows[1])
        moved.append(Place(place.number, (inside, place.input[1]), windows))
    images, target = x[block[0]], y[block]
    calls: list[Call] = [
        partial(np.copyto, wires[place.number], images[:, *place.input]) for place in moved
    ]
    for step in network:
        a, b = wires[step.low], wires[step.high]
        if step.wants_low and step.wants_high:
            calls.append(partial(np.minimum, a, b, out=spare))
            calls.append(partial(np.maximum, a, b, out=b))
            wires[step.low], spare = spare, a
        elif step.wants_low:
            calls.append(partial(np.minimum, a, b, out=a))
        else:
            calls.append(partial(np.maximum, a, b, out=b))
    calls.append(partial(np.copyto, target, wires[len(wires) // 2]))
    if positions is not None:
        flat = [part[: prod(shape)].reshape(shape) for part in scratch[1:]]
        calls += bind_positions(moved, images, target, positions[block], flat, np.not_equal)
    return calls


KERNELS: dict[type, Kernel] = {MedianPool2d: Kernel(_candidates, _bind)}
