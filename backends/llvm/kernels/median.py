"""Medians of windows by a selection network: minima and maxima of vectors of channels, no sorting.

A sorting network (Batcher's odd-even merge, Knuth volume 3, algorithm 5.2.2M) is cut down to the
comparators that the middle wire depends on: 20 of 26 for 3x3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from minigraph.backend import aligned
from minigraph.backends.llvm.call import Binding, Call, Context, Lowering, simple
from minigraph.backends.llvm.kernels.max_pool import result_views
from minigraph.backends.llvm.kernels.taps import pieces_of
from minigraph.backends.llvm.language.code import KernelCode
from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.types import Type, value_type
from minigraph.backends.llvm.language.value import Value
from minigraph.backends.llvm.language.view import View
from minigraph.backends.llvm.target import Target
from minigraph.ir.spec import DType, TensorSpec
from minigraph.ops.geometry import Pair
from minigraph.ops.median import MedianPool2d
from minigraph.ops.selection_network import selection_network
from minigraph.places import Place, Table

_MOST_UNROLLED = 25  # elements of a window


@dataclass(frozen=True)
class Median(KernelCode):
    """Medians, and (if wanted) the place of the first element of each window that equals it.

    A window with a NaN gives NaN, at place 0. Large windows are sorted in memory of each thread's
    own, one vector a wire, small ones in registers.
    Arguments: x, and for large windows the network, a table of comparators; for large windows the
    wires of all threads, y, positions; sizes N, H', W', C, number of comparators, elements of one
    thread's wires; strides of x along N, C, from window to window (down, across) and from place to
    place (down, across); of y and of positions along N, H', W', C.
    """

    dtype: DType
    positions: DType | None
    kernel: Pair
    adjacent: bool  # channels, everywhere

    @property
    def large(self) -> bool:
        return self.kernel[0] * self.kernel[1] > _MOST_UNROLLED

    @property
    def results(self) -> int:
        return 1 if self.positions is None else 2

    @property
    def pointers(self) -> int:
        return (3 if self.large else 1) + self.results

    @property
    def sizes(self) -> int:
        return 12 + 4 * self.results

    def emit(self, k: Kernel) -> None:
        n, height, width, channels, comparators, private, *strides = k.sizes
        image_step, channel_step, window_down, window_across, down, across = strides[:6]
        x = k.view(k.pointers[0], self.dtype, image_step, window_down, window_across)
        results = result_views(k, self.dtype, self.positions, strides[6:], self.adjacent)
        lanes = k.lanes(self.dtype) if self.adjacent else 1
        places = [
            down * row + across * column
            for row in range(self.kernel[0])
            for column in range(self.kernel[1])
        ]
        select: Callable[[Sequence[Value]], Value] = _in_registers
        if self.large:
            network = k.view(k.pointers[1], DType.INT64, 2, 1)
            wires = k.view(k.pointers[2], _kept_as(self.dtype), 1)
            own = wires.at(k.thread * private).strided(lanes)
            select = _InMemory(k, own, network, comparators)
        with pieces_of(k, [n], height) as ((image,), i), k.loop(0, width) as j:
            window = x.at(image, i, j).strided(1 if self.adjacent else channel_step)
            there = [view.at(image, i, j).strided(view.strides[3]) for view in results]

            def body(c: Value, mask: Value | None) -> None:
                here = window.at(c).strided(1)
                values = [here.load(place, lanes=lanes, mask=mask) for place in places]
                median = select(values)
                for value in values:
                    median = value.is_nan().select(value, median)
                there[0].store(median, c, mask=mask)
                if self.positions is not None:
                    numbers = value_type(self.positions, lanes)
                    there[1].store(_first_equal(k, values, median, numbers), c, mask=mask)

            k.vectors(channels, lanes, body)


def _sorted_pair(a: Value, b: Value) -> tuple[Value, Value]:
    first = a < b
    return first.select(a, b), first.select(b, a)


def _in_registers(values: Sequence[Value]) -> Value:
    wires = list(values)
    for low, high in selection_network(len(wires)):
        wires[low], wires[high] = _sorted_pair(wires[low], wires[high])
    return wires[len(wires) // 2]


@dataclass(frozen=True)
class _InMemory:
    """The same by a table of comparators, with a vector of memory for each wire."""

    k: Kernel
    wires: View
    network: View
    comparators: Value

    def __call__(self, values: Sequence[Value]) -> Value:
        lanes = values[0].lanes
        for wire, value in enumerate(values):
            self.wires.store(value, wire)
        with self.k.loop(0, self.comparators) as number:
            low, high = (self.network.load(number, end) for end in (0, 1))
            a, b = (self.wires.load(wire, lanes=lanes) for wire in (low, high))
            smaller, larger = _sorted_pair(a, b)
            self.wires.store(smaller, low)
            self.wires.store(larger, high)
        return self.wires.load(len(values) // 2, lanes=lanes)


def _first_equal(k: Kernel, values: Sequence[Value], wanted: Value, numbers: Type) -> Value:
    where = k.zero(numbers)
    for number, value in reversed(list(enumerate(values))):
        where = value.equals(wanted).select(k.constant(number, numbers), where)
    return where


def _kept_as(dtype: DType) -> DType:
    """16-bit floats are compared, and kept, in float32."""
    return DType.FLOAT32 if dtype.itemsize == 2 else dtype


# ---- calls


def _private(op: MedianPool2d, target: Target) -> int:
    """Bytes of one thread's wires."""
    wires = op.kernel[0] * op.kernel[1]
    return aligned(wires * target.vector_bytes) if wires > _MOST_UNROLLED else 0


def _workspace(op: MedianPool2d, inputs: tuple[TensorSpec, ...], context: Context) -> int:
    return _private(op, context.target) * context.threads


def _median(binding: Binding) -> list[Call]:
    (x,), (y, positions), op = binding.inputs, binding.outputs, binding.op
    assert y is not None
    if y.spec.size == 0:
        return []
    n, c, *windows = y.spec.shape
    results = [y] if positions is None else [y, positions]
    adjacent = c > 1 and all(slot.strides[1] == 1 for slot in (x, *results))
    kind = None if positions is None else positions.spec.dtype
    code = Median(x.spec.dtype, kind, op.kernel, adjacent)
    reads: list[Place] = [x]
    writes: list[Place] = list(results)
    comparators = private = 0
    if code.large:
        network = np.array(selection_network(op.kernel[0] * op.kernel[1]))
        assert binding.workspace is not None
        reads, writes = [x, Table(network)], [binding.workspace, *results]
        private = _private(op, binding.target) // _kept_as(x.spec.dtype).itemsize
        comparators = len(network)
    sizes = (n, *windows, c, comparators, private)
    steps = [x.strides[2 + a] * op.stride[a] for a in (0, 1)]
    steps += [x.strides[2 + a] * op.dilation[a] for a in (0, 1)]
    strides = [slot.strides[axis] for slot in results for axis in (0, 2, 3, 1)]
    return [Call(code, tuple(reads), tuple(writes), (*sizes, *x.strides[:2], *steps, *strides))]


LOWERINGS: Mapping[type, Lowering] = {MedianPool2d: simple(_median, workspace=_workspace)}
