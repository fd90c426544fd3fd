"""What kernels of compiling backends are called with: places in memory, and parts of them.

A place is a slot of the memory plan, an array that the caller brings, or a table of numbers that
follow from shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from minigraph.backend import Memory, Slot, Strides, aligned
from minigraph.ir.spec import DType, TensorSpec


@dataclass(frozen=True, slots=True)
class External:
    """An array that the caller brings: an input, or room for an output, row by row in memory."""

    name: str
    is_output: bool
    spec: TensorSpec
    strides: Strides


@dataclass(frozen=True, eq=False, slots=True)
class Table:
    """Numbers that a kernel reads and that shapes determine: made once, kept by the runner."""

    array: np.ndarray

    @property
    def spec(self) -> TensorSpec:
        return TensorSpec(self.array.shape, DType.of(self.array.dtype))

    @property
    def strides(self) -> Strides:
        return tuple(step // self.array.itemsize for step in self.array.strides)


Place = Slot | External | Table


def repeated_number(number: float, dtype: DType) -> Table:
    """A number that is broadcast to what it is copied to."""
    return Table(np.full((), number, dtype.numpy))


# ---- parts of a slot


def part(slot: Slot, offset: int, shape: Sequence[int], dtype: DType, strides: Strides) -> Slot:
    """A tensor within a slot's bytes, ``offset`` bytes from its start."""
    spec = TensorSpec(tuple(shape), dtype)
    return replace(slot, spec=spec, offset=slot.offset + offset, strides=strides)


def carve(workspace: Slot | None, *sizes: tuple[DType, int]) -> list[Slot]:
    """Vectors of (dtype, elements) one after the other in a workspace, 64-byte aligned."""
    assert workspace is not None and workspace.memory is not Memory.STATE
    parts, offset = [], 0
    for dtype, count in sizes:
        parts.append(part(workspace, offset, (count,), dtype, (1,)))
        offset += aligned(count * dtype.itemsize)
    return parts


def carved_bytes(*sizes: tuple[DType, int]) -> int:
    """The workspace that ``carve`` needs."""
    return sum(aligned(count * dtype.itemsize) for dtype, count in sizes)


def byte_range(slot: Slot) -> tuple[int, int]:
    """Where a tensor's bytes start, and end, in its arena; strides may be negative."""
    if slot.spec.size == 0:
        return slot.offset, slot.offset
    reaches = [(n - 1) * s for n, s in zip(slot.spec.shape, slot.strides, strict=True)]
    below, above = sum(r for r in reaches if r < 0), sum(r for r in reaches if r > 0)
    itemsize = slot.spec.dtype.itemsize
    return slot.offset + below * itemsize, slot.offset + (above + 1) * itemsize


def region(slot: Slot, ranges: Sequence[range]) -> Slot:
    """The elements at these positions of each axis; steps may be negative."""
    offset = sum(r.start * s for r, s in zip(ranges, slot.strides, strict=True) if len(r))
    return part(
        slot,
        offset * slot.spec.dtype.itemsize,
        [len(r) for r in ranges],
        slot.spec.dtype,
        tuple(r.step * s for r, s in zip(ranges, slot.strides, strict=True)),
    )


def along(slot: Slot, axis: int, positions: range) -> Slot:
    """The elements at these positions of one axis."""
    return region(
        slot, [positions if a == axis else range(n) for a, n in enumerate(slot.spec.shape)]
    )


def border_parts(slot: Slot, inner: Sequence[range]) -> list[Slot]:
    """All but the elements at these positions of each axis (where they have gaps, all)."""
    if any(len(r) == 0 or r.step != 1 for r in inner):
        return [slot]
    parts: list[Slot] = []
    rest = [range(n) for n in slot.spec.shape]
    for axis, (inside, size) in enumerate(zip(inner, slot.spec.shape, strict=True)):
        for outside in (range(inside.start), range(inside.stop, size)):
            parts.append(region(slot, [*rest[:axis], outside, *rest[axis + 1 :]]))
        rest[axis] = inside
    return parts


# ---- axes cut into pieces


def common_axes(first: Sequence[int], second: Sequence[int]) -> tuple[int, ...] | None:
    """Sizes of axes that make up the axes of both shapes, or None: (4,6) and (6,4) have none."""
    sizes: list[int] = []
    left, right = ([n for n in each if n != 1] for each in (first, second))
    while left and right:
        size = min(left[-1], right[-1])
        if max(left[-1], right[-1]) % size:
            return None
        sizes.insert(0, size)
        for rest in (left, right):
            rest[-1] //= size
            if rest[-1] == 1:
                rest.pop()
    return tuple(sizes)


def split_axes(slot: Slot, sizes: Sequence[int]) -> Slot:
    """A tensor with its axes cut into these."""
    strides: list[int] = []
    axes = [(n, s) for n, s in zip(slot.spec.shape, slot.strides, strict=True) if n != 1]
    for size in reversed(sizes):
        whole, stride = axes.pop()
        strides.insert(0, stride)
        if whole != size:
            axes.append((whole // size, stride * size))
    return part(slot, 0, sizes, slot.spec.dtype, tuple(strides))
