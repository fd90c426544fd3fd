"""Work along one axis: each line of elements, such as a pixel's classes, is shared by some threads.

Where a line's elements lie side by side (the channels of images), neighbouring threads take
neighbouring elements of a line; otherwise they take neighbouring lines, which then do. A line has
so many threads, its lanes, that all of the device is busy and no thread has less than it is worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from minigraph.backend import Strides
from minigraph.backends.cupy.code import KernelCode
from minigraph.iteration import Space, collapse, row_major_strides
from minigraph.places import Place

THREADS = KernelCode.threads
_WARP = 32
_WANTED = 1 << 17  # threads that keep a large device busy
_WORTH = 4  # elements of a line for one thread


@dataclass(frozen=True)
class Layout:
    """What the text of a kernel along lines depends on."""

    axes: int  # of the lines' places, collapsed
    lanes: int  # threads that share a line, a power of two
    across: bool  # neighbouring threads have neighbouring lines, and not elements of one

    @property
    def lines(self) -> int:
        """Lines of a block."""
        return THREADS // self.lanes

    def sizes(self, lines: Sequence[str], places: Sequence[str] = ()) -> list[str]:
        """Size arguments: see ``LineSpace``. ``places`` names operands that have not the axis."""
        return [
            "elements", "lines",
            *(f"n{axis}" for axis in range(self.axes)),
            *(f"{name}_step{axis}" for name in (*lines, *places) for axis in range(self.axes)),
            *(f"{name}_along" for name in lines),
        ]  # fmt: skip

    # ---- statements

    def threads(self) -> list[str]:
        """``lane`` of this thread's line, and ``line`` of the block."""
        if self.lanes == 1:
            return ["const int lane = 0, line = threadIdx.x;"]
        inner, outer = ("line", "lane") if self.across else ("lane", "line")
        size = self.lines if self.across else self.lanes
        return [f"const int {inner} = threadIdx.x % {size}, {outer} = threadIdx.x / {size};"]

    def offsets(self, number: str, names: Sequence[str], index: str) -> list[str]:
        """``<name>_at``: where the line of this number begins in each operand."""
        lines, axes = [], range(self.axes)
        if self.axes > 1:
            lines.append(f"{index} rest = {number};")
        for axis in reversed(axes[1:]):
            lines += [f"const {index} i{axis} = rest % n{axis};", f"rest /= n{axis};"]
        if self.axes > 1:
            lines.append(f"const {index} i0 = rest;")
        indices = [number] if self.axes == 1 else [f"i{axis}" for axis in axes]
        for name in names:
            terms = [f"{i} * {name}_step{axis}" for axis, i in enumerate(indices)]
            lines.append(f"const {index} {name}_at = {' + '.join(terms)};")
        return lines

    def loop(self, index: str) -> str:
        """Over this thread's elements of its line; none where there is no such line."""
        return f"for ({index} e = lane; e < stop; e += {self.lanes})"

    # ---- what the lanes of a line have, put together in a fixed order, for all of them

    def merging(self, name: str, of: str, merged: str) -> str:
        """The function that ``merge`` calls: ``merged`` is an expression of ``a`` and ``b``."""
        if self.lanes == 1:
            return ""
        if not self.needs_shared:
            return f"""
__device__ inline {of} {name}({of} a)
{{
    for (int apart = {self.lanes // 2}; apart > 0; apart /= 2) {{
        const {of} b = __shfl_xor_sync(0xffffffffu, a, apart);
        a = {merged};
    }}
    return a;
}}

"""
        step = f" * {self.lines}" if self.across else ""
        return f"""
__device__ inline {of} {name}({of} a, {of}* shared, int lane)
{{
    shared[threadIdx.x] = a;
    for (int half = {self.lanes // 2}; half > 0; half /= 2) {{
        __syncthreads();
        if (lane < half) {{
            const {of} b = shared[threadIdx.x + half{step}];
            a = {merged};
            shared[threadIdx.x] = a;
        }}
    }}
    __syncthreads();
    a = shared[threadIdx.x - lane{step}];
    __syncthreads();
    return a;
}}

"""

    def merge(self, name: str, value: str) -> list[str]:
        """Statements that replace the value of each of a line's lanes by the merged one."""
        if self.lanes == 1:
            return []
        others = ", shared, lane" if self.needs_shared else ""
        return [f"{value} = {name}({value}{others});"]

    @property
    def needs_shared(self) -> bool:
        """Whether lanes meet in ``shared``, an array of one value a thread, and not by shuffles."""
        return self.lanes > 1 and (self.across or self.lanes > _WARP)

    def shared(self, of: str) -> list[str]:
        """Its declaration, where it is needed."""
        return [f"__shared__ {of} shared[{THREADS}];"] if self.needs_shared else []


@dataclass(frozen=True)
class LineSpace:
    """Lines and where they lie in some operands.

    ``sizes`` are the arguments of a call: elements of a line; number of lines; numbers of places
    along each axis; strides of each operand along each of these; the line's stride in each operand
    that has lines.
    """

    layout: Layout
    elements: int
    lines: int
    sizes: tuple[int, ...]


def line_space(axis: int, lines: Sequence[Place], places: Sequence[Strides] = ()) -> LineSpace:
    """Lines along an axis of operands of one shape; ``places``: strides of those without it."""
    shape = lines[0].spec.shape
    axis %= len(shape)
    left = shape[:axis] + shape[axis + 1 :]
    of_lines = [place.strides[:axis] + place.strides[axis + 1 :] for place in lines]
    # The order of the axes follows the first operand.
    space = collapse(left, [*of_lines, *places, of_lines[0]])
    along = [place.strides[axis] for place in lines]
    elements, count = shape[axis], prod(space.sizes)
    layout = _layout(space, elements, count, along[0])
    steps = (step for strides in space.strides[:-1] for step in strides)
    return LineSpace(layout, elements, count, (elements, count, *space.sizes, *steps, *along))


def logical_strides(axis: int, shape: Sequence[int]) -> Strides:
    """Strides of the row by row numbers of the lines along an axis."""
    axis %= len(shape)
    return row_major_strides([*shape[:axis], *shape[axis + 1 :]])


def _layout(space: Space, elements: int, lines: int, along: int) -> Layout:
    across = along != 1 and elements > 1
    if not across:
        lanes = min(_power_of_two(-(-elements // _WORTH)), THREADS)
        return Layout(len(space.sizes), lanes, across)
    most = min(_power_of_two(elements), THREADS // min(_power_of_two(lines), _WARP))
    lanes = min(_power_of_two(-(-_WANTED // max(lines, 1))), most)
    return Layout(len(space.sizes), lanes, across)


def _power_of_two(size: int) -> int:
    """The smallest power of two that is not below."""
    return 1 << max(size - 1, 0).bit_length()
