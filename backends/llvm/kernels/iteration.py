"""The space that a kernel goes through: as few axes as its operands' strides allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from minigraph.backend import Strides, dense_strides, row_major
from minigraph.backends.llvm.call import Place
from minigraph.backends.llvm.language.value import Value
from minigraph.ir.spec import TensorSpec


@dataclass(frozen=True)
class Space:
    """Axes from the outermost to the innermost: their sizes, and each operand's stride on each."""

    sizes: tuple[int, ...]
    strides: tuple[Strides, ...]


def row_major_strides(shape: Sequence[int]) -> Strides:
    """Strides of an array without gaps, the last axis innermost."""
    spec = TensorSpec(tuple(shape))
    return dense_strides(spec, row_major(spec))


def without_gaps(place: Place) -> Strides:
    """Strides for the same order of axes in memory, elements side by side."""
    order = sorted(range(place.spec.ndim), key=lambda axis: -place.strides[axis])
    return dense_strides(place.spec, tuple(order))


def broadcast_strides(place: Place, shape: Sequence[int]) -> Strides:
    """An operand's strides under the shape that it is broadcast to: 0 where it is repeated."""
    missing = len(shape) - place.spec.ndim
    return (0,) * missing + tuple(
        0 if size == 1 else stride
        for size, stride in zip(place.spec.shape, place.strides, strict=True)
    )


def collapse(shape: Sequence[int], operands: Sequence[Strides]) -> Space:
    """Order the axes by the last operand's strides, and join those that lie as one in all operands.

    Two neighbours join where every operand steps over the inner one's end to the next of the outer.
    There is always one axis at least.
    """
    leading = operands[-1]
    axes = [axis for axis, size in enumerate(shape) if size != 1]
    axes.sort(key=lambda axis: -leading[axis])
    sizes: list[int] = []
    strides: list[list[int]] = []  # by axis, then operand
    for axis in axes:
        here = [operand[axis] for operand in operands]
        if sizes and strides[-1] == [step * shape[axis] for step in here]:
            sizes[-1] *= shape[axis]
            strides[-1] = here
        else:
            sizes.append(shape[axis])
            strides.append(here)
    if not sizes:
        sizes, strides = [1], [[1] * len(operands)]
    return Space(tuple(sizes), tuple(zip(*strides, strict=True)))


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
