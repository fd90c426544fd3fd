"""How LLVM's reductions go through their space: rows taken together, and parts.

Pure arithmetic on sizes and strides; the kernel is in ``reduction.py``.
"""

from __future__ import annotations

from math import gcd

from minigraph.iteration import ReductionSpace

_WORTH_FOLDING = 64  # rows of the folded space, at least


def fold(space: ReductionSpace, lanes: int) -> int:
    """How many rows to take as one, so that few columns fill whole vectors.

    3 columns fill 3 of 16 lanes, but 16 rows of them, which lie as 48 numbers, fill 3 vectors.
    """
    columns, last = space.columns, space.reduced[-1]
    rows = lanes // gcd(columns.size, lanes)
    fits = columns.source == 1 and last.source == columns.size and last.size % rows == 0
    enough = last.size >= rows * _WORTH_FOLDING and columns.size < 16 * lanes
    return rows if space.has_columns and fits and enough else 1


_PARALLEL = 128  # pieces of work wanted
_CHUNK = 8192  # elements that a chunk has, at least
_BLOCK = 64  # columns that are done at a time, about


def chunks(depth: int, results: int) -> int:
    """Into how many parts each reduction is cut: fixed by the shape, whatever the threads."""
    blocks = -(-results // _BLOCK)
    return max(min(-(-_PARALLEL // blocks), depth * min(results, _BLOCK) // _CHUNK), 1)
