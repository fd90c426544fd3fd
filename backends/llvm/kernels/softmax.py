"""Softmax and log-softmax along any axis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from minigraph.backends.llvm.call import Binding, Call, Context, Lowering, simple
from minigraph.backends.llvm.kernels.lines import (
    Layout,
    Tiles,
    line_lanes,
    line_space,
    panel_elements,
)
from minigraph.backends.llvm.language import mathematics
from minigraph.backends.llvm.language.code import KernelCode
from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.value import Value
from minigraph.backends.llvm.language.view import View
from minigraph.ir.spec import DType, TensorSpec
from minigraph.ops.softmax import LogSoftmax, Softmax


@dataclass(frozen=True)
class SoftmaxLines(KernelCode):
    """``e^x / sum(e^x)`` of each line, or its logarithm, with x less its maximum.

    Arguments: source, target, a panel for each thread; elements of a panel; the lines.
    """

    dtype: DType
    layout: Layout
    logarithm: bool

    pointers = 3

    @property
    def sizes(self) -> int:
        return 1 + self.layout.sizes

    def emit(self, k: Kernel) -> None:
        lanes = line_lanes(self.dtype.accumulator, k.target)
        tiles = Tiles(k, self.layout, lanes)
        source, target = (k.view(pointer, self.dtype, 1) for pointer in k.pointers[:2])
        panel = thread_panel(k, tiles, k.pointers[2], self.dtype, k.sizes[0])
        first = k.index(0)
        with k.parallel(tiles.count) as number:
            tile = tiles.tile(number)
            tile.fetch(source, 0, panel, first, tiles.elements)
            largest = line_maximum(k, panel, tiles)
            total = exponentiate(k, panel, tiles, largest, keep=not self.logarithm)
            if self.logarithm:
                # In two steps: the logarithm is small beside a large maximum.
                less = mathematics.log(k, total)
                change_rows(k, panel, tiles, lambda e, x: (x - largest) - less)
            else:
                share = 1.0 / total
                change_rows(k, panel, tiles, lambda e, x: x * share)
            tile.put(target, 1, panel, first, tiles.elements)


def thread_panel(k: Kernel, tiles: Tiles, pointer: Any, dtype: DType, elements: Value) -> View:
    """This thread's panel, for a dtype's accumulators."""
    return tiles.panel(k.view(pointer, dtype.accumulator, 1).at(k.thread * elements))


def line_maximum(k: Kernel, panel: View, tiles: Tiles) -> Value:
    """The largest element of each line of a panel."""

    def larger(e: Value, values: list[Value]) -> list[Value]:
        return [k.maximum(values[0], panel.load(e, lanes=tiles.lanes))]

    return k.carry(1, tiles.elements, [panel.load(0, lanes=tiles.lanes)], larger)[0]


def exponentiate(k: Kernel, panel: View, tiles: Tiles, largest: Value, keep: bool) -> Value:
    """Each line's sum of ``e ** (x - largest)``; the powers take the panel's place if kept."""

    def add(e: Value, totals: list[Value]) -> list[Value]:
        power = mathematics.exp(k, panel.load(e, lanes=tiles.lanes) - largest)
        if keep:
            panel.store(power, e)
        return [totals[0] + power]

    return k.carry(0, tiles.elements, [k.zero(largest.type)], add)[0]


def change_rows(k: Kernel, panel: View, tiles: Tiles, change: Any) -> None:
    """``x = change(e, x)`` for each row e of a panel."""
    with k.loop(0, tiles.elements) as e:
        panel.store(change(e, panel.load(e, lanes=tiles.lanes)), e)


def panel_bytes(dtype: DType, elements: int, context: Context) -> int:
    """The workspace that a panel for each thread takes."""
    lanes = line_lanes(dtype.accumulator, context.target)
    return context.threads * panel_elements(elements, lanes) * dtype.accumulator.itemsize


def _calls(binding: Binding, logarithm: bool) -> list[Call]:
    (x,), y = binding.inputs, binding.output
    if x.spec.size == 0:
        return []
    space = line_space(binding.op.axis, (x, y))
    code = SoftmaxLines(x.spec.dtype, space.layout, logarithm)
    room = panel_elements(space.elements, line_lanes(x.spec.dtype.accumulator, binding.target))
    assert binding.workspace is not None
    return [Call(code, (x,), (y, binding.workspace), (room, *space.sizes))]


def _workspace(op: Any, inputs: tuple[TensorSpec, ...], context: Context) -> int:
    (x,) = inputs
    return panel_bytes(x.dtype, x.shape[op.axis], context)


LOWERINGS: Mapping[type, Lowering] = {
    Softmax: simple(partial(_calls, logarithm=False), overwrites=(0,), workspace=_workspace),
    LogSoftmax: simple(partial(_calls, logarithm=True), overwrites=(0,), workspace=_workspace),
}
