"""Work along one axis, a line of elements for each position of the other axes.

A block of threads has ``columns`` lines; ``rows`` threads share each. Neighbouring threads are
neighbours along the line where its elements adjoin, and otherwise along the positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from minigraph.backend import Strides
from minigraph.backends.cupy.call import blocks_for
from minigraph.backends.cupy.kernels.iteration import decoded, position, steps
from minigraph.iteration import collapse
from minigraph.places import Place

THREADS = 256
_WARP = 32
_SHORT = 32  # elements: up to so many are one thread's
_MANY = 1 << 16  # lines: enough threads for a device by themselves


@dataclass(frozen=True)
class Layout:
    """How the lines lie, and which threads do them: what kernels depend on."""

    axes: int  # of positions
    rows: int  # threads of a line, a power of two
    along: bool  # neighbouring threads are neighbours along a line

    @property
    def columns(self) -> int:
        """Lines of a block."""
        return THREADS // self.rows

    def names(self, lines: Sequence[str], positions: Sequence[str]) -> list[str]:
        """Of the sizes that ``LineSpace`` gives, for operands with the line's axis and without."""
        return [
            "elements", "lines", *(f"n{axis}" for axis in range(self.axes)),
            *(step for name in (*lines, *positions) for step in steps(name, self.axes)),
            *(f"{name}_next" for name in lines),
        ]  # fmt: skip

    def statements(self, index: str, operands: Sequence[str]) -> list[str]:
        """This thread's ``row``, ``column``, whether its line ``is_there``, and its pointers."""
        row, column = f"threadIdx.x % {self.rows}", f"threadIdx.x / {self.rows}"
        if not self.along:
            row, column = f"threadIdx.x / {self.columns}", f"threadIdx.x % {self.columns}"
        return [
            f"const int row = {row}, column = {column};",
            f"{index} rest = ({index})blockIdx.x * {self.columns} + column;",
            "const bool is_there = rest < lines;",
            *decoded(self.axes, index),
            *(f"{name} += {position(name, self.axes)};" for name in operands),
        ]


@dataclass(frozen=True)
class LineSpace:
    """Positions and lines of some operands of equal positions."""

    layout: Layout
    sizes: tuple[int, ...]
    blocks: int


def line_space(axis: int, lines: Sequence[Place], positions: Sequence[Strides] = ()) -> LineSpace:
    """Lines along an axis of operands of one shape; ``positions``: strides of those without it."""
    shape = lines[0].spec.shape
    axis %= len(shape)
    elements = shape[axis]
    left = (*shape[:axis], *shape[axis + 1 :])
    of_lines = [(*place.strides[:axis], *place.strides[axis + 1 :]) for place in lines]
    space = collapse(left, [*positions, *reversed(of_lines)])  # in the order of the first operand
    count, given = prod(space.sizes), len(positions)
    strides = [*reversed(space.strides[given:]), *space.strides[:given]]
    next_elements = [place.strides[axis] for place in lines]
    along = abs(next_elements[0]) == 1 and elements > 1
    rows = _rows(elements, count, along)
    flat = (step for operand in strides for step in operand)
    return LineSpace(
        Layout(len(space.sizes), rows, along),
        (elements, count, *space.sizes, *flat, *next_elements),
        blocks_for(count, THREADS // rows),
    )


def _rows(elements: int, lines: int, along: bool) -> int:
    """Threads of a line: one, a part of a block, or all of it."""
    if elements <= _SHORT or (lines >= _MANY and not along):
        return 1
    if not along:
        return THREADS if lines < _WARP else THREADS // _WARP
    return _WARP if elements < 2 * THREADS or lines >= _MANY // _WARP else THREADS
