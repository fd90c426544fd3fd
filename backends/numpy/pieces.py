"""Functions of one element that take many NumPy calls: piece by piece, while a piece is in cache.

Each worker has a few rows of scratch, as long as a piece. 16-bit floats are widened to float32 in
a row of their own and rounded once, at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from minigraph.backend import Algorithm
from minigraph.backends.numpy.kernel import Binding, Call, Kernel, carve, carved_bytes
from minigraph.ir.spec import DType, TensorSpec

Rows = Sequence[np.ndarray] | np.ndarray

Function = Callable[[Any, np.ndarray, np.ndarray, Rows], None]
"""(op, x, out, rows of scratch): writes the function of ``x`` to ``out``, which may be ``x``."""

_PIECE = 1 << 13  # elements: half a dozen rows of float64 are 400 KB
_PIECES_PER_TASK = 4  # 32768 elements, what is worth handing to another thread


def in_pieces(function: Function, rows: int) -> Kernel:
    """The kernel of a unary op whose function needs this many rows of scratch."""

    def candidates(op: Any, inputs: tuple[TensorSpec, ...], threads: int) -> tuple[Algorithm, ...]:
        (x,) = inputs
        workspace = threads * carved_bytes(_scratch_part(x.size, _wide(x.dtype.numpy), rows))
        return (Algorithm("numpy", workspace, op.cost(x).bytes / 1e9, overwrites=(0,)),)

    def bind(binding: Binding) -> Call:
        x, out = binding.inputs[0].reshape(-1), binding.output.reshape(-1)
        wide, workers = _wide(x.dtype), binding.workers
        part = _scratch_part(x.size, wide, rows)
        scratch = carve(binding.workspace, *[part] * workers.threads)
        run = partial(function if wide == x.dtype else _widened(function), binding.op)

        def pieces(first: int, worker: int) -> None:
            for low in range(first, min(first + _PIECES_PER_TASK * _PIECE, x.size), _PIECE):
                source = x[low : low + _PIECE]
                run(source, out[low : low + _PIECE], scratch[worker][:, : source.size])

        tasks = [partial(pieces, first) for first in range(0, x.size, _PIECES_PER_TASK * _PIECE)]
        return partial(workers.run, tasks)

    return Kernel(candidates, bind)


def _widened(function: Function) -> Function:
    def run(op: Any, x: np.ndarray, out: np.ndarray, scratch: Rows) -> None:
        wide, *rest = scratch
        np.copyto(wide, x)
        function(op, wide, wide, rest)
        np.copyto(out, wide, casting="unsafe")

    return run


def _wide(dtype: np.dtype) -> np.dtype:
    return DType.of(dtype).accumulator.numpy


def _scratch_part(size: int, dtype: np.dtype, rows: int) -> tuple[tuple[int, int], np.dtype]:
    """The rows, and one more for the widened piece of a 16-bit array."""
    return (rows + 1, min(size, _PIECE)), dtype
