"""One kernel for all reductions: sums, means, extremes, moments, over any axes.

Two ways to go through memory. Where the innermost axis is kept (the channels of images in a sum
over pixels), a block of columns is accumulated row by row. Where it is reduced, vectors run along
it and their lanes are combined at the end. Reductions over much data are cut into chunks, whose
results a second call puts together in their order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from minigraph.backend import Slot
from minigraph.backends.llvm.call import Call
from minigraph.backends.llvm.kernels.iteration import decode, product
from minigraph.backends.llvm.kernels.reduction_space import chunks, fold
from minigraph.backends.llvm.kernels.statistics import (
    Mean,
    Statistic,
    Sum,
    accumulator_type,
    reference_point,
)
from minigraph.backends.llvm.kernels.vectors import load_vector, offset, store_vector
from minigraph.backends.llvm.language.code import KernelCode
from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.types import value_type
from minigraph.backends.llvm.language.value import Value
from minigraph.backends.llvm.language.view import View
from minigraph.backends.llvm.target import Target
from minigraph.ir.spec import DType
from minigraph.iteration import Axis, ReductionSpace, reduction_space
from minigraph.places import Place, part

_ACCUMULATED = 4  # vectors that are accumulated side by side: additions wait for each other

Totals = list[Value]
Line = Callable[[View, Value, Value, Totals], Totals]


@dataclass(frozen=True)
class Reduction(KernelCode):
    """``target[kept] = statistic of source[kept, reduced]``

    Arguments: source, target; the numbers of columns and chunks, the number of elements of a
    result; the columns' strides in source and target; the target's strides between chunks and
    between accumulators; sizes, source strides and target strides of the other kept axes; sizes and
    source strides of the reduced ones.
    """

    statistic: Statistic
    source: DType
    target: DType
    has_columns: bool
    source_is_adjacent: bool  # along the axis of the vectors
    target_is_adjacent: bool
    kept: int  # number of axes, without the columns
    reduced: int
    vectors: int  # of columns, in a block

    pointers = 2

    @property
    def sizes(self) -> int:
        return 7 + 3 * self.kept + 2 * self.reduced

    def emit(self, k: Kernel) -> None:
        columns, parts, _, _, _, chunk_stride, _ = k.sizes[:7]
        kept_sizes, kept_source, kept_target = self._kept_axes(k)
        width = self.vectors * k.lanes(self.source)
        blocks = (columns + (width - 1)) // width if self.has_columns else k.index(1)
        results = product(kept_sizes) if self.kept else k.index(1)
        depth = product(self._reduced_axes(k)[0])
        with k.parallel(results * parts * blocks) as item:
            block, chunk = item % blocks, item // blocks % parts
            place = decode(item // blocks // parts, kept_sizes) if self.kept else []
            source = k.view(k.pointers[0], self.source, 1).at(offset(place, kept_source))
            target = k.view(k.pointers[1], self.target, 1).at(
                offset(place, kept_target) + chunk * chunk_stride
            )
            start, stop = depth * chunk // parts, depth * (chunk + 1) // parts
            if self.has_columns:
                self._block(k, source, target, block * width, start, stop)
            else:
                self._row(k, source, target, start, stop)

    def _kept_axes(self, k: Kernel) -> tuple[list[Value], list[Value], list[Value]]:
        axes = k.sizes[7 : 7 + 3 * self.kept]
        n = self.kept
        return axes[:n], axes[n : 2 * n], axes[2 * n :]

    def _reduced_axes(self, k: Kernel) -> tuple[list[Value], list[Value]]:
        axes = k.sizes[7 + 3 * self.kept :]
        return axes[: self.reduced], axes[self.reduced :]

    # ---- columns

    def _block(
        self, k: Kernel, source: View, target: View, first: Value, start: Value, stop: Value
    ) -> None:
        """Results of a block of columns; the last block may have fewer."""
        lanes = k.lanes(self.source)
        left = k.sizes[0] - first

        def run(masks: list[Value | None]) -> None:
            totals = self._sum_columns(k, source, first, start, stop, masks)
            self._store_columns(k, target, first, totals, masks)

        if self.vectors == 1 and lanes == 1:
            run([None])
            return
        with k.when_else(left >= self.vectors * lanes) as (whole, part_of_it):
            with whole:
                run([None] * self.vectors)
            with part_of_it:
                run([k.first_lanes(left - v * lanes, lanes) for v in range(self.vectors)])

    def _sum_columns(
        self,
        k: Kernel,
        source: View,
        first: Value,
        start: Value,
        stop: Value,
        masks: list[Value | None],
    ) -> list[Totals]:
        """Accumulate rows; every so many of them have accumulators of their own."""
        lanes = k.lanes(self.source)
        stride = 1 if self.source_is_adjacent else k.sizes[3]
        rows = max(_ACCUMULATED // self.vectors, 1)

        def load(row: View) -> list[Value]:
            line = row.strided(stride)
            return [
                load_vector(line, first + v * lanes, lanes, mask) for v, mask in enumerate(masks)
            ]

        type_ = accumulator_type(self.statistic, self.source, lanes)
        firsts = self._firsts(load, source)

        def add(row: View, group: int, totals: list[Totals]) -> None:
            for v, element in enumerate(load(row)):
                at = group * self.vectors + v
                totals[at] = self.statistic.add(k, totals[at], element, firsts[v])

        def line(rows_of: View, low: Value, high: Value, flat: Totals) -> Totals:
            def some(i: Value, flat: Totals, together: int) -> Totals:
                totals = self._grouped(flat)
                for group in range(together):
                    add(rows_of.at(i + group), group, totals)
                return _flat(totals)

            whole = low + (high - low) // rows * rows
            flat = k.carry(low, whole, flat, lambda i, t: some(i, t, rows), step=rows)
            return k.carry(whole, high, flat, lambda i, t: some(i, t, 1))

        initial = self.statistic.initial(k, type_) * (rows * self.vectors)
        totals = self._grouped(self._over_lines(k, source, start, stop, initial, line))
        merged = totals[: self.vectors]
        for group in range(1, rows):
            others = totals[group * self.vectors : (group + 1) * self.vectors]
            merged = [self.statistic.merge(k, *pair) for pair in zip(merged, others, strict=True)]
        return merged

    def _firsts(self, load: Callable[[View], list[Value]], source: View) -> list[Value | None]:
        if not self.statistic.needs_first:
            return [None] * self.vectors
        type_ = accumulator_type(self.statistic, self.source)
        return [reference_point(v, type_.with_lanes(v.lanes)) for v in load(source)]

    def _store_columns(
        self,
        k: Kernel,
        target: View,
        first: Value,
        totals: list[Totals],
        masks: list[Value | None],
    ) -> None:
        lanes = k.lanes(self.source)
        stride = 1 if self.target_is_adjacent else k.sizes[4]
        for v, (total, mask) in enumerate(zip(totals, masks, strict=True)):
            for number, result in enumerate(self.statistic.result(k, total, k.sizes[2])):
                line = target.at(k.sizes[6] * number).strided(stride)
                stored = result.to(value_type(self.target))
                store_vector(line, first + v * lanes, stored, mask)

    # ---- rows

    def _row(self, k: Kernel, source: View, target: View, start: Value, stop: Value) -> None:
        """One result, from vectors along the innermost axis."""
        lanes = k.lanes(self.source)
        type_ = accumulator_type(self.statistic, self.source, lanes)
        step = _ACCUMULATED * lanes
        first: Value | None = None
        if self.statistic.needs_first:
            first = reference_point(source.load(), type_.with_lanes(1)).spread(lanes)

        def line(elements: View, low: Value, high: Value, flat: Totals) -> Totals:
            def some(i: Value, flat: Totals, together: int) -> Totals:
                totals = self._grouped(flat)
                for group in range(together):
                    element = load_vector(elements, i + group * lanes, lanes)
                    totals[group] = self.statistic.add(k, totals[group], element, first)
                return _flat(totals)

            many = low + (high - low) // step * step
            whole = many + (high - many) // lanes * lanes
            flat = k.carry(low, many, flat, lambda i, t: some(i, t, _ACCUMULATED), step=step)
            flat = k.carry(many, whole, flat, lambda i, t: some(i, t, 1), step=lanes)
            return self._last(k, elements, whole, high, flat, first) if lanes > 1 else flat

        initial = self.statistic.initial(k, type_) * _ACCUMULATED
        totals = self._grouped(self._over_lines(k, source, start, stop, initial, line))
        total = totals[0]
        for other in totals[1:]:
            total = self.statistic.merge(k, total, other)
        total = self._merge_lanes(k, total)
        for number, result in enumerate(self.statistic.result(k, total, k.sizes[2])):
            target.store(result.to(value_type(self.target)), k.sizes[6] * number)

    def _last(
        self, k: Kernel, elements: View, i: Value, stop: Value, flat: Totals, first: Value | None
    ) -> Totals:
        """Fewer elements than lanes."""
        totals = self._grouped(flat)
        lanes = k.lanes(self.source)
        mask = k.first_lanes(stop - i, lanes)
        element = load_vector(elements, i, lanes, mask)
        with_it = self.statistic.add(k, totals[0], element, first)
        totals[0] = [mask.select(a, b) for a, b in zip(with_it, totals[0], strict=True)]
        return _flat(totals)

    def _merge_lanes(self, k: Kernel, totals: Totals) -> Totals:
        """Halves, then quarters, ..."""
        while totals[0].lanes > 1:
            half = totals[0].lanes // 2
            low = [total.shuffle(range(half)) for total in totals]
            high = [total.shuffle(range(half, 2 * half)) for total in totals]
            if half == 1:
                low = [total.lane(0) for total in totals]
                high = [total.lane(1) for total in totals]
            totals = self.statistic.merge(k, low, high)
        return totals

    # ---- both

    def _grouped(self, flat: Sequence[Value]) -> list[Totals]:
        """Accumulators of one vector together."""
        n = self.statistic.accumulators
        return [list(flat[i : i + n]) for i in range(0, len(flat), n)]

    def _over_lines(
        self, k: Kernel, source: View, start: Value, stop: Value, initial: Totals, line: Line
    ) -> Totals:
        """Hand positions start to stop among the reduced axes to ``line``, which does a run of
        neighbours along the last of them."""
        (*outer, last), (*outer_strides, stride) = self._reduced_axes(k)
        inner = 1 if self.source_is_adjacent and not self.has_columns else stride

        def run(u: Value, totals: Totals) -> Totals:
            here = source.at(offset(decode(u, outer), outer_strides)).strided(inner)
            before = u * last
            low = k.maximum(start - before, 0)
            return line(here, low, k.minimum(stop - before, last), totals)

        if not outer:
            return line(source.strided(inner), start, stop, initial)
        return k.carry(start // last, (stop - 1) // last + 1, initial, run)


def reduction_call(
    statistic: Statistic,
    source: Place,
    target: Place,
    space: ReductionSpace,
    target_machine: Target,
    *,
    parts: int = 1,
    chunk_stride: int = 0,
    accumulator_stride: int = 0,
    depth: int | None = None,
) -> Call:
    """One call of the kernel: ``depth`` is how many elements a mean divides by."""
    columns = space.columns
    inner = columns if space.has_columns else space.reduced[-1]
    lanes = _lanes(source.spec.dtype, target_machine)
    code = Reduction(
        statistic=statistic,
        source=source.spec.dtype,
        target=target.spec.dtype,
        has_columns=space.has_columns,
        source_is_adjacent=inner.source == 1,
        target_is_adjacent=columns.target == 1,
        kept=len(space.kept),
        reduced=len(space.reduced),
        vectors=min(-(-columns.size // lanes), _ACCUMULATED) if space.has_columns else 1,
    )
    sizes = (
        columns.size, parts, space.depth if depth is None else depth, columns.source,
        columns.target, chunk_stride, accumulator_stride,
        *(axis.size for axis in space.kept), *(axis.source for axis in space.kept),
        *(axis.target for axis in space.kept),
        *(axis.size for axis in space.reduced), *(axis.source for axis in space.reduced),
    )  # fmt: skip
    return Call(code, (source,), (target,), sizes)  # type: ignore[arg-type]


def reduction_calls(
    statistic: Statistic,
    source: Place,
    target: Place,
    axes: Sequence[Axis],
    workspace: Slot | None,
    machine: Target,
) -> list[Call]:
    """A reduction in one step, or in two with the chunks' results in the workspace."""
    space = reduction_space(axes)
    dtype = statistic.accumulates(source.spec.dtype)
    rows, parts, size = partial_results(space, source.spec.dtype, machine)
    if rows * parts > 1 and size * dtype.itemsize > _bytes(workspace):
        rows, size = 1, parts * space.results  # only an odd layout's rows were not foreseen
    if rows * parts == 1:
        return [reduction_call(statistic, source, target, space, machine)]
    assert workspace is not None
    partial = part(workspace, 0, (size,), dtype, (1,))
    first = space.packed() if rows == 1 else space.folded(rows).packed()
    start: Statistic = Sum() if isinstance(statistic, Mean) else statistic
    results = first.results
    call = reduction_call(start, source, partial, first, machine, parts=parts, chunk_stride=results)
    # The second step's axes: chunks, kept axes, folded rows, columns.
    of_chunks = [Axis(parts, results), Axis(rows, space.columns.size)]
    kept = [
        Axis(outer.size, packed.target or 0, outer.target)
        for outer, packed in zip(space.kept, first.kept, strict=True)
    ]
    columns = replace(space.columns, source=1)
    second = reduction_space([*of_chunks, *kept, columns])
    final = reduction_call(statistic, partial, target, second, machine, depth=space.depth)
    return [call, final]


def partial_results(space: ReductionSpace, dtype: DType, machine: Target) -> tuple[int, int, int]:
    """How many rows to fold, how many chunks to make, and how many numbers that leaves."""
    rows = fold(space, _lanes(dtype, machine))
    parts = chunks(space.depth, space.results)
    return rows, parts, rows * parts * space.results if rows * parts > 1 else 0


def _lanes(dtype: DType, machine: Target) -> int:
    return machine.lanes(4 if dtype in (DType.FLOAT16, DType.BFLOAT16) else dtype.itemsize)


def _bytes(workspace: Slot | None) -> int:
    return 0 if workspace is None else workspace.spec.size * workspace.spec.dtype.itemsize


def _flat(groups: Sequence[Totals]) -> Totals:
    return [value for group in groups for value in group]
