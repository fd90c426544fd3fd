"""Positions of a kernel's space, row by row, as one index an axis."""

from __future__ import annotations

from collections.abc import Sequence

from minigraph.backends.llvm.language.value import Value


def product(sizes: Sequence[Value]) -> Value:
    """The number of elements of one axis or more."""
    result = sizes[0]
    for size in sizes[1:]:
        result = result * size
    return result


def decode(position: Value, sizes: Sequence[Value]) -> list[Value]:
    """A position among all, row by row, as one index an axis."""
    indices: list[Value] = []
    for size in reversed(sizes[1:]):
        indices.insert(0, position % size)
        position = position // size
    return [position, *indices] if sizes else []
