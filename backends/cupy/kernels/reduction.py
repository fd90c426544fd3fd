"""One kernel for all reductions: sums, means, extremes, moments, over any axes.

A block of threads is ``columns`` results wide. The threads of a column share its elements: each
accumulates every ``rows``-th one, then their totals are merged in shared memory, halves, quarters
and so on, always in the same order. Where results are few and elements many, the elements are cut
into parts by shape alone, each part's totals go to the workspace, and a second launch merges them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from minigraph.backend import Slot
from minigraph.backends.cupy.call import Call, blocks_for, index_type
from minigraph.backends.cupy.code import COMPUTED, STORED, KernelCode, loaded, stored
from minigraph.backends.cupy.kernels.statistics import Statistic
from minigraph.ir.spec import DType
from minigraph.iteration import Axis, ReductionSpace, reduction_space
from minigraph.places import Place, carve, carved_bytes

_THREADS = 256


@dataclass(frozen=True)
class Reduction(KernelCode):
    """``y[kept] = statistic of x[kept, reduced]``

    Sizes: the number of columns, of elements to a result, and of parts; what a mean divides by;
    the columns' strides in x and y, the parts' stride in y; then size, stride in x and stride in y
    of the other kept axes; then size and stride in x of the reduced ones.
    """

    statistic: Statistic
    element: DType  # of what the statistic is taken of
    targets: tuple[DType, ...]  # of what is written; of totals that are parts, the accumulators'
    from_parts: bool  # x are totals
    to_parts: bool  # y are totals
    columns: int  # of a block, a power of two
    kept: int  # number of axes, without the columns
    reduced: int
    index: str

    @property
    def comment(self) -> str:
        name = type(self.statistic).__name__.lower()
        source = "parts" if self.from_parts else str(self.element)
        target = "parts" if self.to_parts else ", ".join(map(str, self.targets))
        return f"{name} of {source}, {self.reduced} axes, to {target} by {self.columns} columns"

    @property
    def rows(self) -> int:
        """Threads that share a column."""
        return self.threads // self.columns

    @property
    def accumulator(self) -> DType:
        return self.statistic.accumulates(self.element)

    @property
    def pointers(self) -> list[str]:
        source = self.accumulator if self.from_parts else self.element
        sources = self.statistic.accumulators if self.from_parts else 1
        return [
            *(f"const {STORED[source]}* x{i}" for i in range(sources)),
            *(f"{STORED[dtype]}* y{i}" for i, dtype in enumerate(self.targets)),
        ]

    @property
    def sizes(self) -> list[str]:
        return [
            "columns", "depth", "parts", "count", "x_column", "y_column", "y_part",
            *(f"{name}{axis}" for axis in range(self.kept) for name in ("n", "x_step", "y_step")),
            *(f"{name}{axis}" for axis in range(self.reduced) for name in ("m", "x_inner")),
        ]  # fmt: skip

    def body(self) -> str:
        totals = [f"total{i}" for i in range(self.statistic.accumulators)]
        shared = [f"shared{i}" for i in range(self.statistic.accumulators)]
        of = COMPUTED[self.accumulator]
        lines = [
            *(f"__shared__ {of} {name}[{self.threads}];" for name in shared),
            f"const int lane = threadIdx.x % {self.columns}, row = threadIdx.x / {self.columns};",
            *self._place(),
            *(
                f"{of} {total} = {value};"
                for total, value in zip(
                    totals, self.statistic.initial(self.accumulator), strict=True
                )
            ),
            *self._accumulate(totals, of),
            *(
                f"{name}[threadIdx.x] = {total};"
                for name, total in zip(shared, totals, strict=True)
            ),
            *self._merge(shared, of),
            "if (row == 0 && column < columns) {",
            *self._store(shared),
            "}",
        ]
        return "\n".join(lines)

    def _place(self) -> list[str]:
        """Which results this block makes, and where they lie."""
        index = self.index
        lines = [
            f"const {index} blocks = (columns + {self.columns - 1}) / {self.columns};",
            f"{index} rest = blockIdx.x;",
            f"const {index} column = rest % blocks * {self.columns} + lane;",
            "rest /= blocks;",
        ]
        for axis in reversed(range(self.kept)):
            lines += [f"const {index} i{axis} = rest % n{axis};", f"rest /= n{axis};"]
        source, target = (
            "".join(f" + i{axis} * {name}_step{axis}" for axis in range(self.kept))
            for name in ("x", "y")
        )
        lines.append(f"const {index} x_first = column * x_column{source};")
        lines.append(f"const {index} y_first = column * y_column{target} + blockIdx.y * y_part;")
        return lines

    def _accumulate(self, totals: Sequence[str], of: str) -> list[str]:
        """This thread's elements of its column."""
        index = self.index
        lines = [
            f"const {index} start = (long long)depth * blockIdx.y / parts;",
            f"const {index} stop = (long long)depth * (blockIdx.y + 1) / parts;",
            "if (column < columns) {",
            "    #pragma unroll 4",
            f"    for ({index} i = start + row; i < stop; i += {self.rows}) {{",
        ]
        if self.reduced == 1:
            lines.append(f"        const {index} at = x_first + i * x_inner0;")
        else:
            lines += [f"        {index} at = x_first, inner = i;"]
            for axis in range(self.reduced - 1, 0, -1):
                lines.append(f"        at += inner % m{axis} * x_inner{axis};")
                lines.append(f"        inner /= m{axis};")
            lines.append("        at += inner * x_inner0;")
        if self.from_parts:
            merged = self.statistic.merge(totals, [f"x{i}[at]" for i in range(len(totals))])
        else:
            lines.append(f"        const {of} element = {loaded('x0[at]', self.element)};")
            merged = self.statistic.add(totals, "element")
        lines += [f"        {line}" for line in _assign(totals, merged, of)]
        return [*lines, "    }", "}"]

    def _merge(self, shared: Sequence[str], of: str) -> list[str]:
        """The totals of a column's threads: the first half takes the second's, and so on."""
        if self.rows == 1:
            return []
        mine = [f"{name}[threadIdx.x]" for name in shared]
        others = [f"{name}[threadIdx.x + half * {self.columns}]" for name in shared]
        return [
            f"for (int half = {self.rows // 2}; half > 0; half /= 2) {{",
            "    __syncthreads();",
            "    if (row < half) {",
            *(f"        {line}" for line in _assign(mine, self.statistic.merge(mine, others), of)),
            "    }",
            "}",
        ]

    def _store(self, shared: Sequence[str]) -> list[str]:
        totals = [f"{name}[threadIdx.x]" for name in shared]
        results = totals if self.to_parts else self.statistic.results(totals, "count")
        return [
            f"    y{i}[y_first] = {stored(result, dtype)};"
            for i, (result, dtype) in enumerate(zip(results, self.targets, strict=True))
        ]


def _assign(names: Sequence[str], values: Sequence[str], of: str) -> list[str]:
    """All values are computed before the first of them is kept."""
    if len(names) == 1:
        return [f"{names[0]} = {values[0]};"]
    return [
        *(f"const {of} new{i} = {value};" for i, value in enumerate(values)),
        *(f"{name} = new{i};" for i, name in enumerate(names)),
    ]


# ---- calls


@dataclass(frozen=True)
class Split:
    """How a reduction is shared out: by its shape alone."""

    space: ReductionSpace
    columns: int  # of a block
    parts: int

    @property
    def partial_results(self) -> int:
        """How many totals the first of two launches leaves; 0 of one."""
        return self.parts * self.space.results if self.parts > 1 else 0


_SHORT = 32  # elements to a result, up to which a thread does one or several by itself
_WARP = 32
_BLOCKS = 512  # wanted, for several on each multiprocessor
_ROUNDS = 16  # elements of a thread, at least, before a reduction is cut into parts


def split(axes: Sequence[Axis]) -> Split:
    """Which threads do what."""
    space = reduction_space(axes)
    if not space.has_columns and space.kept and space.depth <= _SHORT:
        space = replace(space, kept=space.kept[:-1], columns=space.kept[-1])
    widest = min(_power_of_two(space.columns.size), _WARP)
    rows = min(_power_of_two(space.depth), _THREADS // widest)
    columns = _THREADS // rows
    blocks = -(-space.columns.size // columns) * (space.results // max(space.columns.size, 1))
    parts = max(min(-(-_BLOCKS // max(blocks, 1)), space.depth // (rows * _ROUNDS)), 1)
    return Split(space, columns, parts)


def _power_of_two(size: int) -> int:
    """The smallest power of two that is not below."""
    return 1 << max(size - 1, 0).bit_length()


def workspace_bytes(statistic: Statistic, element: DType, axes: Sequence[Axis]) -> int:
    """What ``reduction_calls`` needs."""
    return carved_bytes(*_partial_arrays(statistic, element, split(axes)))


def _partial_arrays(statistic: Statistic, element: DType, how: Split) -> list[tuple[DType, int]]:
    if not how.partial_results:
        return []
    return [(statistic.accumulates(element), how.partial_results)] * statistic.accumulators


def reduction_calls(
    statistic: Statistic,
    source: Place,
    targets: Sequence[Place],
    axes: Sequence[Axis],
    workspace: Slot | None,
) -> list[Call]:
    """A reduction in one launch, or in two with the parts' totals in the workspace.

    ``axes`` are the source's, those that are kept with their strides in every target.
    """
    how, element = split(axes), source.spec.dtype
    if how.parts == 1:
        return [_call(statistic, element, (source,), targets, how)]
    partial = carve(workspace, *_partial_arrays(statistic, element, how))
    first = replace(how, space=how.space.packed())
    results = how.space.results
    # The second launch's axes: the parts, then what is kept, which lies packed.
    kept = [
        Axis(outer.size, packed.target or 0, outer.target)
        for outer, packed in zip(
            (*how.space.kept, how.space.columns),
            (*first.space.kept, first.space.columns),
            strict=True,
        )
    ]
    second = replace(split([Axis(how.parts, results), *kept]), parts=1)
    return [
        _call(statistic, element, (source,), partial, first, to_parts=True, part_stride=results),
        _call(
            statistic, element, partial, targets, second, from_parts=True, count=how.space.depth
        ),
    ]  # fmt: skip


def _call(
    statistic: Statistic,
    element: DType,
    sources: Sequence[Place],
    targets: Sequence[Place],
    how: Split,
    *,
    from_parts: bool = False,
    to_parts: bool = False,
    part_stride: int = 0,
    count: int | None = None,
) -> Call:
    space = how.space
    code = Reduction(
        statistic=statistic,
        element=element,
        targets=tuple(target.spec.dtype for target in targets),
        from_parts=from_parts,
        to_parts=to_parts,
        columns=how.columns,
        kept=len(space.kept),
        reduced=len(space.reduced),
        index=index_type(*sources, *targets),
    )
    columns = space.columns
    sizes = (
        columns.size, space.depth, how.parts, space.depth if count is None else count,
        columns.source, columns.target, part_stride,
        *(number for axis in space.kept for number in (axis.size, axis.source, axis.target)),
        *(number for axis in space.reduced for number in (axis.size, axis.source)),
    )  # fmt: skip
    blocks = blocks_for(columns.size, how.columns) * (space.results // columns.size)
    return Call(
        code, tuple(sources), tuple(targets), sizes, grid=(blocks, how.parts, 1)  # type: ignore[arg-type]
    )  # fmt: skip
