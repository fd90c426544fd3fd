"""What a kernel is: candidates to choose from, and a way to bind one to its arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from minigraph.backend import Algorithm, aligned
from minigraph.backends.numpy.workers import Task, Workers
from minigraph.ir.spec import TensorSpec

Call = Callable[[], object]
"""A bound kernel, or a part of one: prepared NumPy calls, nothing left to decide."""

_BLOCK_ELEMENTS = 1 << 15  # smallest piece of an array worth handing to another thread
_MAX_BLOCKS = 32


@dataclass(frozen=True, slots=True)
class Binding:
    """Everything that a kernel is bound to. Arrays are C-contiguous views into the arenas."""

    op: Any
    algorithm: str
    inputs: tuple[np.ndarray, ...]
    outputs: tuple[np.ndarray | None, ...]
    workspace: np.ndarray
    workers: Workers

    @property
    def output(self) -> np.ndarray:
        """The first output."""
        first = self.outputs[0]
        assert first is not None
        return first


@dataclass(frozen=True, slots=True)
class Kernel:
    """One op's row in a kernel table.

    ``candidates(op, input specs, threads)`` lists the algorithms; ``bind`` makes every view and
    returns the call. A call writes all of its outputs (the memory is dirty) and allocates nothing.
    """

    candidates: Callable[[Any, tuple[TensorSpec, ...], int], tuple[Algorithm, ...]]
    bind: Callable[[Binding], Call]


def simple(
    bind: Callable[[Binding], Call],
    overwrites: tuple[int, ...] = (),
    workspace: Callable[[Any, tuple[TensorSpec, ...]], int] | None = None,
) -> Kernel:
    """A kernel with one algorithm, whose workspace (bytes) follows from the specs."""

    def candidates(op: Any, inputs: tuple[TensorSpec, ...], threads: int) -> tuple[Algorithm, ...]:
        size = 0 if workspace is None else workspace(op, inputs)
        seconds = op.cost(*inputs).bytes / 5e9
        return (Algorithm("numpy", size, seconds, overwrites=overwrites),)

    return Kernel(candidates, bind)


def carve(workspace: np.ndarray, *parts: tuple[Sequence[int], Any]) -> list[np.ndarray]:
    """Arrays of the given (shape, dtype) one after the other in a workspace, 64-byte aligned."""
    arrays, offset = [], 0
    for shape, dtype in parts:
        size = nbytes(shape, dtype)
        arrays.append(workspace[offset : offset + size].view(dtype).reshape(shape))
        offset += aligned(size)
    return arrays


def carved_bytes(*parts: tuple[Sequence[int], Any]) -> int:
    """The workspace that ``carve`` needs for these parts."""
    return sum(aligned(nbytes(shape, dtype)) for shape, dtype in parts)


def nbytes(shape: Sequence[int], dtype: Any) -> int:
    size = np.dtype(dtype).itemsize
    for length in shape:
        size *= length
    return size


def blocks_of(shape: Sequence[int]) -> list[tuple[slice, ...]]:
    """Index tuples that cut an array into pieces for threads, along its first axis of any length.

    By shape alone: the number of threads must not change a result.
    """
    total = int(np.prod(shape, dtype=np.int64))
    axis = next((a for a, size in enumerate(shape) if size > 1), None)
    if axis is None or total < 2 * _BLOCK_ELEMENTS:
        return [()]
    count = min(shape[axis], total // _BLOCK_ELEMENTS, _MAX_BLOCKS)
    edges = np.linspace(0, shape[axis], count + 1).astype(int).tolist()
    lead = (slice(None),) * axis
    return [(*lead, slice(low, high)) for low, high in pairwise(edges)]


def leading_blocks(shape: Sequence[int]) -> list[tuple[slice, ...]]:
    """``blocks_of`` for arrays of different shapes that share their first axis: cut along it."""
    return blocks_of(shape) if shape[0] > 1 else [()]


def take_block(array: np.ndarray, block: tuple[slice, ...], ndim: int) -> np.ndarray:
    """The part of a broadcast operand that belongs to a block of an array of ``ndim`` axes."""
    lead = ndim - array.ndim
    index: list[Any] = [
        slice(None) if array.shape[axis] == 1 else part for axis, part in enumerate(block[lead:])
    ]
    return array[(*index, ...)]  # the ellipsis keeps a 0-d array an array


def in_parallel(workers: Workers, calls: Sequence[Sequence[Call]]) -> Call:
    """One call that runs each list of calls as a task."""
    if len(calls) == 1:
        return in_sequence(calls[0])
    tasks = [_task(group) for group in calls]
    return lambda: workers.run(tasks)


def in_sequence(calls: Sequence[Call]) -> Call:
    """One call that runs several."""
    if len(calls) == 1:
        return calls[0]
    listed = tuple(calls)  # may be empty: nothing to do

    def run() -> None:
        for call in listed:
            call()

    return run


def _task(calls: Sequence[Call]) -> Task:
    run = in_sequence(calls)

    def task(worker: int) -> None:
        run()

    return task
