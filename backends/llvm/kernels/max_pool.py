"""Kernels of max pooling: maxima with their positions, and sums of what positions select."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_

from minigraph.backend import Slot
from minigraph.backends.llvm.call import Call
from minigraph.backends.llvm.kernels.copy import fill_calls
from minigraph.backends.llvm.kernels.taps import Taps, pieces_of, tables, tap_table
from minigraph.backends.llvm.kernels.windows import by_window, meetings
from minigraph.backends.llvm.language.code import KernelCode
from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.types import INT32, INT64, Type, value_type
from minigraph.backends.llvm.language.value import Value
from minigraph.backends.llvm.language.view import View
from minigraph.ir.spec import DType
from minigraph.ops.geometry import Pair, effective_kernel
from minigraph.ops.pool import Window
from minigraph.places import Place, border_parts

_MOST_UNROLLED = 16  # elements of a window

# ---- maxima


@dataclass(frozen=True)
class MaxPool(KernelCode):
    """Maxima of windows, and a number for where each lies; the first of equals, the first NaN.

    The taps are (distance, number): the numbers of a row and of a column add up to the position.
    Arguments: tables of rows and columns, x; y and positions (if wanted); sizes N, H', W', C;
    strides of x along N and C, of y and of positions along N, H', W', C.
    """

    dtype: DType
    positions: DType | None
    adjacent: bool  # channels, everywhere

    @property
    def pointers(self) -> int:
        return 4 if self.positions is None else 5

    @property
    def sizes(self) -> int:
        return 10 if self.positions is None else 14

    def emit(self, k: Kernel) -> None:
        n, height, width, channels, *strides = k.sizes
        x = k.view(k.pointers[2], self.dtype, strides[0])
        results = result_views(k, self.dtype, self.positions, strides[2:], self.adjacent)
        rows, columns = tables(k, 2)
        lanes = k.lanes(self.dtype) if self.adjacent else 1
        with pieces_of(k, [n], height) as ((image,), i), k.loop(0, width) as j:
            taps = Taps(rows, i, 2), Taps(columns, j, 2)
            pixel = x.at(image).strided(1 if self.adjacent else strides[1])
            there = [view.at(image, i, j).strided(view.strides[3]) for view in results]

            def body(c: Value, mask: Value | None) -> None:
                best, where = self._maximum(k, *taps, pixel.at(c), lanes, mask)
                _store_results(there, best, where, c, mask)

            k.vectors(channels, lanes, body)

    def _maximum(
        self, k: Kernel, rows: Taps, columns: Taps, x: View, lanes: int, mask: Value | None
    ) -> list[Value]:
        type_ = value_type(self.dtype, lanes)
        numbers = _number_type(self.dtype, self.positions).with_lanes(lanes)
        first = rows.table.load(rows.first + 1) + columns.table.load(columns.first + 1)
        initial = [k.constant(-float("inf"), type_), _as_number(first, numbers)]

        def row(row_tap: list[Value], found: list[Value]) -> Sequence[Value]:
            line = x.strided(1).at(row_tap[0])

            def column(tap: list[Value], found: list[Value]) -> Sequence[Value]:
                value = line.load(tap[0], lanes=lanes, mask=mask)
                number = _as_number(row_tap[1] + tap[1], numbers)
                return _larger(found[0], found[1], value, number)

            return columns.carry(k, found, column)

        return rows.carry(k, initial, row)


@dataclass(frozen=True)
class WholeMaxPool(KernelCode):
    """The same for windows that all lie inside the image, without tables, and unrolled.

    Arguments: x; y and positions (if wanted); sizes N, H', W', C; strides of x along N, C, from
    window to window (down, across) and from place to place within (down, across); strides of y and
    of positions along N, H', W', C. Positions number the places of the window.
    """

    dtype: DType
    positions: DType | None
    kernel: Pair
    adjacent: bool

    @property
    def pointers(self) -> int:
        return 2 if self.positions is None else 3

    @property
    def sizes(self) -> int:
        return 14 if self.positions is None else 18

    def emit(self, k: Kernel) -> None:
        n, height, width, channels, *strides = k.sizes
        image_step, channel_step, window_down, window_across, down, across = strides[:6]
        x = k.view(k.pointers[0], self.dtype, image_step, window_down, window_across)
        results = result_views(k, self.dtype, self.positions, strides[6:], self.adjacent)
        lanes = k.lanes(self.dtype) if self.adjacent else 1
        places = [down * row + across * column for row, column in _places(self.kernel)]
        with pieces_of(k, [n], height) as ((image,), i), k.loop(0, width) as j:
            pixel = x.at(image, i, j).strided(1 if self.adjacent else channel_step)
            there = [view.at(image, i, j).strided(view.strides[3]) for view in results]

            def body(c: Value, mask: Value | None) -> None:
                window = pixel.at(c).strided(1)
                values = [window.load(place, lanes=lanes, mask=mask) for place in places]
                if self.positions is None:
                    there[0].store(_largest(k, values), c, mask=mask)
                else:
                    best, where = self._maximum(k, values)
                    _store_results(there, best, where, c, mask)

            k.vectors(channels, lanes, body)

    def _maximum(self, k: Kernel, values: Sequence[Value]) -> list[Value]:
        numbers = _number_type(self.dtype, self.positions).with_lanes(values[0].lanes)
        best, where = values[0], k.zero(numbers)
        for number, value in enumerate(values[1:], start=1):
            best, where = _larger(best, where, value, k.constant(number, numbers))
        return [best, where]


def _places(kernel: Pair) -> list[Pair]:
    return [(row, column) for row in range(kernel[0]) for column in range(kernel[1])]


def _number_type(dtype: DType, positions: DType | None) -> Type:
    """As wide as the elements where that will do: one mask then selects both."""
    return INT64 if DType.FLOAT64 is dtype or positions is DType.INT64 else INT32


def _as_number(index: Value, numbers: Type) -> Value:
    return index.to(numbers.with_lanes(1)).spread(numbers.lanes)


def _largest(k: Kernel, values: Sequence[Value]) -> Value:
    """Without its number: a maximum is one instruction, and one finds a NaN in two values."""
    best = values[0]
    for value in values[1:]:
        best = (value > best).select(value, best)
    others = [*values[1::2], values[0]]  # the last one's where their number is odd
    undefined = [a.is_nan() | b.is_nan() for a, b in zip(values[::2], others, strict=False)]
    return reduce(or_, undefined).select(k.constant(float("nan"), best.type), best)


def _larger(best: Value, where: Value, value: Value, number: Value) -> list[Value]:
    """The larger with its number; of equals the first, and a NaN is larger than any number."""
    taken = (value > best) | (value.is_nan() & ~best.is_nan())
    return [taken.select(value, best), taken.select(number, where)]


def result_views(
    k: Kernel, dtype: DType, positions: DType | None, strides: Sequence[Value], adjacent: bool
) -> list[View]:
    """The last pointers: y, and positions where they are wanted."""
    dtypes = [dtype] if positions is None else [dtype, positions]
    views = []
    for number, (pointer, kind) in enumerate(zip(k.pointers[-len(dtypes) :], dtypes, strict=True)):
        *outer, channel = strides[4 * number : 4 * number + 4]
        views.append(k.view(pointer, kind, *outer, 1 if adjacent else channel))
    return views


def _store_results(
    views: Sequence[View], best: Value, where: Value, c: Value, mask: Value | None
) -> None:
    views[0].store(best, c, mask=mask)
    for view in views[1:]:
        view.store(where.to(view.type), c, mask=mask)


def max_pool_calls(
    op: Window, x: Slot, y: Slot, positions: Slot | None, numbers: Pair, flat: bool = False
) -> list[Call]:
    """Maxima; a position counts ``numbers`` for each step down and across.

    These are steps of places within the window, or (``flat``) of elements of the image.
    """
    if y.spec.size == 0:
        return []
    n, c, *windows = y.spec.shape
    results = [y] if positions is None else [y, positions]
    adjacent = c > 1 and all(slot.strides[1] == 1 for slot in (x, *results))
    sizes = (n, *windows, c)
    strides = [slot.strides[axis] for slot in results for axis in (0, 2, 3, 1)]
    kind = None if positions is None else positions.spec.dtype
    if not flat and _all_inside(op, x.spec.shape[2:], windows):
        steps = [x.strides[2 + a] * op.stride[a] for a in (0, 1)]
        steps += [x.strides[2 + a] * op.dilation[a] for a in (0, 1)]
        whole = WholeMaxPool(x.spec.dtype, kind, op.kernel, adjacent)
        return [Call(whole, (x,), tuple(results), (*sizes, *x.strides[:2], *steps, *strides))]
    maps = []
    for axis in (0, 1):
        found = meetings(op, axis, x.spec.shape[2:], windows[axis])
        step, number = x.strides[2 + axis], numbers[axis]
        taps = [
            [(m.element * step, (m.element if flat else m.place) * number) for m in each]
            for each in by_window(found, windows[axis])
        ]
        maps.append(tap_table(taps, 2))
    code = MaxPool(x.spec.dtype, kind, adjacent)
    return [Call(code, (*maps, x), tuple(results), (*sizes, *x.strides[:2], *strides))]


def _all_inside(op: Window, size: Sequence[int], windows: Sequence[int]) -> bool:
    """Few places, and no window that reaches beyond the image."""
    if op.kernel[0] * op.kernel[1] > _MOST_UNROLLED or any(
        low for low, _ in op.explicit_padding(size)
    ):
        return False
    return all(
        (count - 1) * stride + effective_kernel(kernel, dilation) <= length
        for count, stride, kernel, dilation, length in zip(
            windows, op.stride, op.kernel, op.dilation, size, strict=True
        )
    )


# ---- by position


@dataclass(frozen=True)
class SelectedSum(KernelCode):
    """Sums over the taps whose number is the position that stands there.

    The taps are (distance in x, distance in positions, number).
    Arguments: tables of rows and columns, x, positions; y; sizes N, H, W, C; strides of x along N,
    C; of positions along N, H, W, C; of y along N, H, W, C.
    """

    dtype: DType
    positions: DType
    adjacent: bool

    pointers = 5
    sizes = 14

    def emit(self, k: Kernel) -> None:
        n, height, width, channels, *strides = k.sizes
        x_step, p_step, y_step = (1 if self.adjacent else strides[number] for number in (1, 5, 9))
        x = k.view(k.pointers[2], self.dtype, strides[0])
        positions = k.view(k.pointers[3], self.positions, *strides[2:5])
        y = k.view(k.pointers[4], self.dtype, *strides[6:9])
        rows, columns = tables(k, 2)
        lanes = k.lanes(self.dtype) if self.adjacent else 1
        with pieces_of(k, [n], height) as ((image,), i), k.loop(0, width) as j:
            taps = Taps(rows, i, 3), Taps(columns, j, 3)
            source = x.at(image).strided(x_step)
            chosen = positions.at(image, i, j).strided(p_step)
            target = y.at(image, i, j).strided(y_step)

            def body(c: Value, mask: Value | None) -> None:
                total = self._sum(k, *taps, source.at(c), chosen.at(c), lanes, mask)
                target.store(total, c, mask=mask)

            k.vectors(channels, lanes, body)

    def _sum(
        self,
        k: Kernel,
        rows: Taps,
        columns: Taps,
        x: View,
        positions: View,
        lanes: int,
        mask: Value | None,
    ) -> Value:
        numbers = value_type(self.positions)

        def row(row_tap: list[Value], sums: list[Value]) -> Sequence[Value]:
            line, chosen = x.strided(1).at(row_tap[0]), positions.strided(1).at(row_tap[1])

            def column(tap: list[Value], sums: list[Value]) -> Sequence[Value]:
                value = line.load(tap[0], lanes=lanes, mask=mask)
                position = chosen.load(tap[1], lanes=lanes, mask=mask)
                number = (row_tap[2] + tap[2]).to(numbers)
                return [sums[0] + position.equals(number).select(value, 0)]

            return columns.carry(k, sums, column)

        return rows.carry(k, [k.zero(value_type(self.dtype, lanes))], row)[0]


def selected_sum_calls(
    x: Slot,
    positions: Slot,
    position_steps: Sequence[int],
    y: Slot,
    taps: Sequence[Sequence[Sequence[tuple[int, ...]]]],
) -> list[Call]:
    """Sums by position; ``position_steps`` along H and W of y (0: the taps move there)."""
    if y.spec.size == 0:
        return []
    n, c, height, width = y.spec.shape
    adjacent = c > 1 and all(slot.strides[1] == 1 for slot in (x, positions, y))
    sizes = (
        *(n, height, width, c),
        *x.strides[:2],
        *(positions.strides[0], *position_steps, positions.strides[1]),
        *(y.strides[axis] for axis in (0, 2, 3, 1)),
    )
    maps: tuple[Place, ...] = tuple(tap_table(lists, 3) for lists in taps)
    code = SelectedSum(y.spec.dtype, positions.spec.dtype, adjacent)
    return [Call(code, (*maps, x, positions), (y,), sizes)]


@dataclass(frozen=True)
class TiledScatter(KernelCode):
    """The gradient of max pooling where windows lie side by side: each is written once.

    Arguments: gy, positions; gx; sizes N, H', W', C; strides of gy, positions (N, H', W', C) and gx
    (N, H, W, C).
    """

    dtype: DType
    positions: DType
    kernel: Pair
    adjacent: bool

    pointers = 3
    sizes = 16

    def emit(self, k: Kernel) -> None:
        n, height, width, channels, *strides = k.sizes
        dtypes = (self.dtype, self.positions, self.dtype)
        gy, positions, gx = (
            k.view(pointer, kind, *strides[at : at + 3], 1 if self.adjacent else strides[at + 3])
            for pointer, kind, at in zip(k.pointers, dtypes, (0, 4, 8), strict=True)
        )
        lanes = k.lanes(self.dtype) if self.adjacent else 1
        down, across = gx.strides[1:3]
        with pieces_of(k, [n], height) as ((image,), i), k.loop(0, width) as j:
            there = [view.at(image, i, j).strided(view.strides[3]) for view in (gy, positions)]
            window = gx.at(image, i * self.kernel[0], j * self.kernel[1])
            window = window.strided(down, across, gx.strides[3])

            def body(c: Value, mask: Value | None) -> None:
                value, position = (view.load(c, lanes=lanes, mask=mask) for view in there)
                for number, (row, column) in enumerate(_places(self.kernel)):
                    chosen = position.equals(number).select(value, 0)
                    window.store(chosen, row, column, c, mask=mask)

            k.vectors(channels, lanes, body)


def windows_tile(op: Window, size: Sequence[int], windows: Sequence[int]) -> bool:
    """Whether the windows lie side by side, inside the image."""
    beside = op.stride == op.kernel and op.dilation == (1, 1)
    return beside and _all_inside(op, size, windows)


def tiled_scatter_calls(op: Window, gy: Slot, positions: Slot, gx: Slot) -> list[Call]:
    """The gradient of max pooling where ``windows_tile``; zeros beyond the last windows."""
    if gy.spec.size == 0:
        return []
    n, c, *windows = gy.spec.shape
    covered = [
        range(n), range(c), *(range(w * size) for w, size in zip(windows, op.kernel, strict=True))
    ]  # fmt: skip
    slots = (gy, positions, gx)
    adjacent = c > 1 and all(slot.strides[1] == 1 for slot in slots)
    strides = [slot.strides[axis] for slot in slots for axis in (0, 2, 3, 1)]
    code = TiledScatter(gy.spec.dtype, positions.spec.dtype, op.kernel, adjacent)
    return [
        Call(code, (gy, positions), (gx,), (n, *windows, c, *strides)),
        *(call for border in border_parts(gx, covered) for call in fill_calls(border, 0.0)),
    ]
