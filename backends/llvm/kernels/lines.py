"""Work along one axis, a line of elements, for as many positions at once as a vector has lanes.

Softmax over classes, positions of the largest element, running sums: each line is gone through in
order, and lines do not depend on each other. Lane j of every vector belongs to position j of a
tile. A tile is copied to a panel, whose row e has element e of all its lines: as it lies where
positions are neighbours in memory, and transposed in registers where a line's elements are (the
channels of images).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from minigraph.backend import Strides
from minigraph.backends.llvm.kernels.iteration import decode, product
from minigraph.backends.llvm.kernels.transposition import transposed
from minigraph.backends.llvm.kernels.vectors import load_vector, offset, store_vector
from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.value import Value
from minigraph.backends.llvm.language.view import View
from minigraph.backends.llvm.target import Target
from minigraph.ir.spec import DType
from minigraph.iteration import collapse, row_major_strides
from minigraph.places import Place


class Neighbours(Enum):
    """What lies side by side in an operand's memory."""

    POSITIONS = "positions"
    ELEMENTS = "elements"  # of one line
    NONE = "none"


@dataclass(frozen=True)
class Layout:
    """What machine code depends on: a part of the fields of kernels along lines."""

    outer: int  # axes of positions beside the innermost
    lines: tuple[Neighbours, ...]  # of the operands that have the lines' axis
    positions: tuple[bool, ...]  # of those that have not: are neighbours adjacent

    @property
    def sizes(self) -> int:
        """Sizes that a call passes: see ``LineSpace``."""
        operands = len(self.lines) + len(self.positions) + 1
        return 1 + (self.outer + 1) * (1 + operands) + len(self.lines)


@dataclass(frozen=True)
class LineSpace:
    """Positions and lines of some operands of equal positions.

    ``sizes`` are the arguments of a call: elements of a line; numbers of positions along each axis;
    strides of each operand, and of the logical order, along each of these; the line's stride in
    each operand that has lines.
    """

    layout: Layout
    elements: int
    positions: int
    sizes: tuple[int, ...]


def line_space(axis: int, lines: Sequence[Place], positions: Sequence[Strides] = ()) -> LineSpace:
    """Lines along an axis of operands of one shape; ``positions``: strides of those without it."""
    shape = lines[0].spec.shape
    axis %= len(shape)
    left = shape[:axis] + shape[axis + 1 :]
    of_lines = [place.strides[:axis] + place.strides[axis + 1 :] for place in lines]
    # The order of the axes follows the first operand.
    operands = [*reversed(of_lines), *positions, row_major_strides(left), of_lines[0]]
    space = collapse(left, operands)
    strides = [*reversed(space.strides[: len(lines)]), *space.strides[len(lines) : -1]]
    along = [place.strides[axis] for place in lines]
    layout = Layout(
        outer=len(space.sizes) - 1,
        lines=tuple(
            _neighbours(steps[-1], step, shape[axis])
            for steps, step in zip(strides, along, strict=False)
        ),
        positions=tuple(steps[-1] == 1 for steps in strides[len(lines) : -1]),
    )
    count = 1
    for size in space.sizes:
        count *= size
    flat = (step for steps in strides for step in steps)
    sizes = (shape[axis], *space.sizes, *flat, *along)
    return LineSpace(layout, shape[axis], count, sizes)


def _neighbours(position: int, element: int, elements: int) -> Neighbours:
    if position == 1:
        return Neighbours.POSITIONS
    return Neighbours.ELEMENTS if element == 1 or elements == 1 else Neighbours.NONE


def line_lanes(dtype: DType, target: Target) -> int:
    """Positions of a tile: no more than float32 vectors have, so that tiles can be transposed."""
    return target.lanes(max(dtype.itemsize, 4))


def panel_elements(elements: int, lanes: int) -> int:
    """Room for a panel with whole lines."""
    return -(-elements // lanes) * lanes * lanes


class Tiles:
    """All tiles of a kernel whose last arguments are a LineSpace's sizes."""

    def __init__(self, k: Kernel, layout: Layout, lanes: int) -> None:
        self.k = k
        self.layout = layout
        self.lanes = lanes
        arguments = iter(k.sizes[len(k.sizes) - layout.sizes :])
        axes = layout.outer + 1
        operands = len(layout.lines) + len(layout.positions) + 1
        self.elements = next(arguments)
        self.axes = [next(arguments) for _ in range(axes)]
        self.strides = [[next(arguments) for _ in range(axes)] for _ in range(operands)]
        self.along = [next(arguments) for _ in layout.lines]
        self._in_a_row = (self.axes[-1] + (lanes - 1)) // lanes

    @property
    def count(self) -> Value:
        """How many there are."""
        outer = self.axes[:-1]
        return product(outer) * self._in_a_row if outer else self._in_a_row

    def tile(self, number: Value) -> Tile:
        return Tile(
            self,
            decode(number // self._in_a_row, self.axes[:-1]) if self.axes[:-1] else [],
            number % self._in_a_row * self.lanes,
        )

    def panel(self, memory: View) -> View:
        """A panel in some memory: ``load(e, lanes=lanes)`` gives element e of all lines."""
        return memory.strided(self.lanes)


class Tile:
    """Neighbouring positions, one a lane; the last ones of a row may be fewer than lanes."""

    def __init__(self, tiles: Tiles, outer: list[Value], first: Value) -> None:
        self.tiles = tiles
        self.k = tiles.k
        self._outer = outer
        self._first = first
        self._left = tiles.axes[-1] - first
        self.mask = self.k.first_lanes(self._left, tiles.lanes)

    def _start(self, view: View, operand: int) -> tuple[View, Value]:
        """An operand at this tile's first position, and its stride between positions."""
        *outer, inner = self.tiles.strides[operand]
        return view.strided(1).at(offset(self._outer, outer) + self._first * inner), inner

    # ---- operands without the lines' axis

    def load(self, view: View, number: int) -> Value:
        """One element a position."""
        line, zero = self._position_line(view, number)
        return load_vector(line, zero, self.tiles.lanes, self.mask)

    def store(self, view: View, number: int, value: Value) -> None:
        line, zero = self._position_line(view, number)
        store_vector(line, zero, value, self.mask)

    def _position_line(self, view: View, number: int) -> tuple[View, Value]:
        here, stride = self._start(view, len(self.tiles.layout.lines) + number)
        adjacent = self.tiles.layout.positions[number]
        return here.strided(1 if adjacent else stride), self.k.index(0)

    def logical_positions(self) -> Value:
        """Each position's number in the logical order of all positions, row by row."""
        *outer, inner = self.tiles.strides[-1]
        lanes = self.k.lane_numbers(self.tiles.lanes)
        return (lanes + self._first) * inner + offset(self._outer, outer)

    # ---- operands with lines

    def fetch(self, view: View, number: int, panel: View, first: Value, count: Value) -> None:
        """Copy elements first, first + 1, ... of this tile's lines to a panel's rows 0, 1, ..."""
        k, lanes = self.k, self.tiles.lanes
        here, stride = self._start(view, number)
        along = self.tiles.along[number]
        if self.tiles.layout.lines[number] is not Neighbours.ELEMENTS:
            step = 1 if self.tiles.layout.lines[number] is Neighbours.POSITIONS else stride
            with k.loop(0, count) as e:
                line = here.at((first + e) * along).strided(step)
                panel.store(load_vector(line, k.index(0), lanes, self.mask), e)
            return
        last = self._left - 1  # positions beyond it get this one's line
        starts = [here.at(k.minimum(k.index(j), last) * stride + first) for j in range(lanes)]
        with k.loop(0, count, lanes) as block:
            mask = k.first_lanes(count - block, lanes)
            rows = transposed([start.load(block, lanes=lanes, mask=mask) for start in starts])
            for i, row in enumerate(rows):
                panel.store(row, block + i)

    def put(self, view: View, number: int, panel: View, first: Value, count: Value) -> None:
        """Copy a panel's rows 0, 1, ... to elements first, first + 1, ... of this tile's lines."""
        k, lanes = self.k, self.tiles.lanes
        here, stride = self._start(view, number)
        along = self.tiles.along[number]
        if self.tiles.layout.lines[number] is not Neighbours.ELEMENTS:
            step = 1 if self.tiles.layout.lines[number] is Neighbours.POSITIONS else stride
            with k.loop(0, count) as e:
                line = here.at((first + e) * along).strided(step)
                store_vector(line, k.index(0), panel.load(e, lanes=lanes), self.mask)
            return
        starts = [here.at(stride * j + first) for j in range(lanes)]
        with k.loop(0, count, lanes) as block:
            mask = k.first_lanes(count - block, lanes)
            rows = transposed([panel.load(block + i, lanes=lanes) for i in range(lanes)])
            for j, (start, row) in enumerate(zip(starts, rows, strict=True)):
                with k.when(self._left > j):
                    start.store(row, block, mask=mask)
