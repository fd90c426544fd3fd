"""What goes through each line of an axis in order: largest positions, running and window sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from minigraph.backends.llvm.call import Binding, Call, Context, Lowering, simple
from minigraph.backends.llvm.kernels.lines import (
    Layout,
    Tile,
    Tiles,
    line_lanes,
    line_space,
    panel_elements,
)
from minigraph.backends.llvm.kernels.softmax import panel_bytes, thread_panel
from minigraph.backends.llvm.kernels.statistics import Statistic, accumulator_type
from minigraph.backends.llvm.language.code import KernelCode
from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.types import INDEX, value_type
from minigraph.backends.llvm.language.value import Value
from minigraph.backends.llvm.language.view import View
from minigraph.ir.spec import DType, TensorSpec
from minigraph.iteration import strides_without
from minigraph.ops import reduce
from minigraph.ops.local_response import ChannelWindowSum
from minigraph.places import Place, along


class _Step(Protocol):
    """``step(e, x, state)``: element e of all lines of a tile."""

    def __call__(self, e: Value, x: Value, state: list[Value]) -> list[Value]: ...


def over_elements(
    k: Kernel, tile: Tile, source: View, state: Sequence[Value], step: _Step
) -> list[Value]:
    """Hand every element of a tile's lines to ``step``, in order, through a small panel."""
    tiles, lanes = tile.tiles, tile.tiles.lanes
    panel = tiles.panel(k.local(source.dtype.accumulator, lanes * lanes))

    def block(first: Value, state: list[Value]) -> list[Value]:
        count = k.minimum(tiles.elements - first, lanes)
        tile.fetch(source, 0, panel, first, count)

        def element(e: Value, state: list[Value]) -> list[Value]:
            return step(first + e, panel.load(e, lanes=lanes), state)

        return k.carry(0, count, state, element)

    return k.carry(0, tiles.elements, list(state), block, step=lanes)


@dataclass(frozen=True)
class ExtremePosition(KernelCode):
    """Where each line has its first largest or smallest element; not a number is both.

    Arguments: source; target; the lines.
    """

    dtype: DType
    layout: Layout
    is_largest: bool

    pointers = 2

    @property
    def sizes(self) -> int:
        return self.layout.sizes

    def emit(self, k: Kernel) -> None:
        tiles = Tiles(k, self.layout, line_lanes(self.dtype.accumulator, k.target))
        source = k.view(k.pointers[0], self.dtype, 1)
        target = k.view(k.pointers[1], DType.INT64, 1)
        nowhere = k.zero(INDEX.with_lanes(tiles.lanes))
        start = k.zero(value_type(self.dtype, tiles.lanes))

        def step(e: Value, x: Value, state: list[Value]) -> list[Value]:
            best, position = state
            better = x > best if self.is_largest else x < best
            if x.type.is_float:
                better = better | (x.is_nan() & ~best.is_nan())
            better = better | e.equals(0).spread(x.lanes)
            return [better.select(x, best), better.select(e.spread(x.lanes), position)]

        with k.parallel(tiles.count) as number:
            tile = tiles.tile(number)
            _, position = over_elements(k, tile, source, [start, nowhere], step)
            tile.store(target, 0, position)


@dataclass(frozen=True)
class StatisticOfLines(KernelCode):
    """A reduction of short lines: see ``statistics.py``. Arguments: source; target; the lines."""

    statistic: Statistic
    source: DType
    target: DType
    layout: Layout

    pointers = 2

    @property
    def sizes(self) -> int:
        return self.layout.sizes

    def emit(self, k: Kernel) -> None:
        tiles = Tiles(k, self.layout, line_lanes(self.source.accumulator, k.target))
        source = k.view(k.pointers[0], self.source, 1)
        target = k.view(k.pointers[1], self.target, 1)
        type_ = accumulator_type(self.statistic, self.source, tiles.lanes)
        initial = self.statistic.initial(k, type_)

        def step(e: Value, x: Value, state: list[Value]) -> list[Value]:
            return self.statistic.add(k, state, x, None)

        with k.parallel(tiles.count) as number:
            tile = tiles.tile(number)
            totals = over_elements(k, tile, source, initial, step)
            (result,) = self.statistic.result(k, totals, tiles.elements)
            tile.store(target, 0, result.to(value_type(self.target)))


@dataclass(frozen=True)
class RunningSum(KernelCode):
    """The sum of all elements up to each; floats are summed in float64.

    Arguments: source; target; the lines, from the element on that comes first.
    """

    dtype: DType
    layout: Layout

    pointers = 2

    @property
    def sizes(self) -> int:
        return self.layout.sizes

    def emit(self, k: Kernel) -> None:
        tiles = Tiles(k, self.layout, line_lanes(self.dtype.accumulator, k.target))
        lanes = tiles.lanes
        source, target = (k.view(pointer, self.dtype, 1) for pointer in k.pointers)
        panel = tiles.panel(k.local(self.dtype.accumulator, lanes * lanes))
        wide = value_type(DType.FLOAT64 if self.dtype.is_floating else self.dtype)

        def block(first: Value, totals: list[Value], tile: Tile) -> list[Value]:
            count = k.minimum(tiles.elements - first, lanes)
            tile.fetch(source, 0, panel, first, count)

            def add(e: Value, totals: list[Value]) -> list[Value]:
                total = totals[0] + panel.load(e, lanes=lanes).to(wide)
                panel.store(total.to(value_type(self.dtype)), e)
                return [total]

            totals = k.carry(0, count, totals, add)
            tile.put(target, 1, panel, first, count)
            return totals

        with k.parallel(tiles.count) as number:
            of_tile = partial(block, tile=tiles.tile(number))
            k.carry(0, tiles.elements, [k.zero(wide.with_lanes(lanes))], of_tile, step=lanes)


@dataclass(frozen=True)
class WindowSum(KernelCode):
    """For each element the sum of those from ``before`` before it to ``after`` after it.

    Arguments: source; target, two panels for each thread; before, after, elements of two panels;
    the lines.
    """

    dtype: DType
    layout: Layout

    pointers = 3

    @property
    def sizes(self) -> int:
        return 3 + self.layout.sizes

    def emit(self, k: Kernel) -> None:
        before, after, room = k.sizes[:3]
        lanes = line_lanes(self.dtype.accumulator, k.target)
        tiles = Tiles(k, self.layout, lanes)
        source, target = (k.view(pointer, self.dtype, 1) for pointer in k.pointers[:2])
        panel = thread_panel(k, tiles, k.pointers[2], self.dtype, room)
        sums = panel.shifted(room // 2)
        zero = k.zero(value_type(self.dtype, lanes))
        first = k.index(0)

        def add(e: Value, totals: list[Value]) -> list[Value]:
            return [totals[0] + panel.load(e, lanes=lanes)]

        with k.parallel(tiles.count) as number:
            tile = tiles.tile(number)
            tile.fetch(source, 0, panel, first, tiles.elements)
            with k.loop(0, tiles.elements) as e:
                start = k.maximum(e - before, 0)
                stop = k.minimum(e + after + 1, tiles.elements)
                sums.store(k.carry(start, stop, [zero], add)[0], e)
            tile.put(target, 1, sums, first, tiles.elements)


# ---- calls


def statistic_call(statistic: Statistic, x: Place, axis: int, target: Place) -> Call:
    """A reduction along one axis."""
    space = line_space(axis, (x,), (strides_without(target, axis, x.spec.ndim),))
    code = StatisticOfLines(statistic, x.spec.dtype, target.spec.dtype, space.layout)
    return Call(code, (x,), (target,), space.sizes)


def _extreme_position(binding: Binding, is_largest: bool) -> list[Call]:
    (x,), y, axis = binding.inputs, binding.output, binding.op.axis
    if y.spec.size == 0:
        return []
    dtype = DType.UINT8 if x.spec.dtype is DType.BOOL else x.spec.dtype  # bytes of 0 and 1
    space = line_space(axis, (x,), (strides_without(y, axis, x.spec.ndim),))
    return [Call(ExtremePosition(dtype, space.layout, is_largest), (x,), (y,), space.sizes)]


def _running_sum(binding: Binding) -> list[Call]:
    (x,), y = binding.inputs, binding.output
    if x.spec.size == 0:
        return []
    if binding.op.reverse:
        axis = binding.op.axis % x.spec.ndim
        backwards = range(x.spec.shape[axis])[::-1]
        x, y = (along(slot, axis, backwards) for slot in (x, y))
    space = line_space(binding.op.axis, (x, y))
    return [Call(RunningSum(x.spec.dtype, space.layout), (x,), (y,), space.sizes)]


def _window_sum(binding: Binding) -> list[Call]:
    (x,), y, op = binding.inputs, binding.output, binding.op
    if x.spec.size == 0:
        return []
    space = line_space(1, (x, y))
    room = 2 * panel_elements(space.elements, line_lanes(x.spec.dtype.accumulator, binding.target))
    reach = (min(op.before, space.elements), min(op.after, space.elements))
    assert binding.workspace is not None
    code = WindowSum(x.spec.dtype, space.layout)
    return [Call(code, (x,), (y, binding.workspace), (*reach, room, *space.sizes))]


def _two_panels(op: Any, inputs: tuple[TensorSpec, ...], context: Context) -> int:
    return 2 * panel_bytes(inputs[0].dtype, inputs[0].shape[1], context)


LOWERINGS: Mapping[type, Lowering] = {
    reduce.ArgMax: simple(partial(_extreme_position, is_largest=True)),
    reduce.ArgMin: simple(partial(_extreme_position, is_largest=False)),
    reduce.CumSum: simple(_running_sum, overwrites=(0,)),
    ChannelWindowSum: simple(_window_sum, overwrites=(0,), workspace=_two_panels),
}
