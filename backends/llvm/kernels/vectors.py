"""Loads and stores along one axis of whatever stride."""

from __future__ import annotations

from collections.abc import Sequence

from minigraph.backends.llvm.language.value import Value
from minigraph.backends.llvm.language.view import Index, View


def load_vector(line: View, i: Value, lanes: int, mask: Value | None = None) -> Value:
    """Elements i, i + 1, ... of a view with one axis, of a stride of 0, 1 or a Value."""
    (stride,) = line.strides
    if isinstance(stride, int) and stride == 0:
        return line.load().spread(lanes)
    if isinstance(stride, int):
        return line.load(i, lanes=lanes, mask=mask)
    if lanes == 1:
        return line.load(i)
    return line.at(i).gather([stride * lane for lane in range(lanes)], mask)


def store_vector(line: View, i: Value, value: Value, mask: Value | None = None) -> None:
    """Write elements i, i + 1, ... of a view with one axis, of a stride of 1 or a Value."""
    (stride,) = line.strides
    if isinstance(stride, int):
        line.store(value, i, mask=mask)
    elif value.lanes == 1:
        line.store(value, i)
    else:
        line.at(i).scatter(value, [stride * lane for lane in range(value.lanes)], mask)


def offset(indices: Sequence[Index], strides: Sequence[Index]) -> Index:
    """The distance of an element from the first: the sum of ``index * stride``."""
    total: Index = 0
    for index, stride in zip(indices, strides, strict=True):
        total = index * stride + total
    return total
