"""The operand that all rows of a product share, packed so that tiles read it from end to end.

A matrix of some rows (what is summed over) and columns (outputs) for each group and tap becomes
``[group][panel][tap][row][column within the panel]``. Panels are as wide as a tile; the last one is
filled up with zeros, so that products need no masks. 16-bit floats are widened to float32.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from typing import Generic, TypeVar

from minigraph.backends.llvm.call import Call
from minigraph.backends.llvm.convolution.axis import packed_position
from minigraph.backends.llvm.kernels.transposition import transposed
from minigraph.backends.llvm.language.code import KernelCode
from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.types import value_type
from minigraph.backends.llvm.language.value import Value
from minigraph.backends.llvm.language.view import View
from minigraph.ir.spec import DType
from minigraph.places import Place

N = TypeVar("N")  # int where a call is made, Value within the kernel

_ROWS = 64  # rows that one thread packs in one go


@dataclass(frozen=True)
class Source(Generic[N]):
    """Where the matrices lie: sizes, and strides in elements. ``cycle_*``: see ``axis.py``."""

    groups: N
    rows: N
    columns: N
    taps_down: N
    taps_across: N
    group_stride: N
    row_stride: N
    column_stride: N
    tap_down_stride: N
    tap_across_stride: N
    cycle_down: N
    cycle_across: N


@dataclass(frozen=True)
class Pack(KernelCode):
    """Pack matrices into panels. Arguments: matrices; panels; sizes as in ``Source``."""

    dtype: DType
    panel: int  # columns
    transpose: bool  # rows lie side by side in memory, else columns do

    pointers = 2
    sizes = len(fields(Source))

    def emit(self, k: Kernel) -> None:
        s = Source(*k.sizes)
        panels = (s.columns + self.panel - 1) // self.panel
        pieces = (s.rows + _ROWS - 1) // _ROWS
        taps = s.taps_down * s.taps_across
        with k.parallel(s.groups * panels * taps * pieces) as item:
            piece, rest = item % pieces, item // pieces
            tap, rest = rest % taps, rest // taps
            panel, group = rest % panels, rest // panels
            down, across = tap // s.taps_across, tap % s.taps_across
            offset = group * s.group_stride + panel * self.panel * s.column_stride
            offset = offset + down * s.tap_down_stride + across * s.tap_across_stride
            source = k.view(k.pointers[0], self.dtype, s.row_stride, s.column_stride)
            source = source.shifted(offset)
            place = (rest * taps + self._position(k, s, down, across)) * s.rows * self.panel
            target = k.view(k.pointers[1], computed(self.dtype), self.panel, 1).shifted(place)
            first = piece * _ROWS
            last = k.minimum(first + _ROWS, s.rows)
            copy = self._transposed if self.transpose else self._plain
            copy(k, source, target, first, last, s.columns - panel * self.panel)

    def _position(self, k: Kernel, s: Source[Value], down: Value, across: Value) -> Value:
        """Where a tap comes when those of each phase lie together, row by row."""
        phase, phase_across = down % s.cycle_down, across % s.cycle_across
        before = packed_position(k, s.taps_down, s.cycle_down, phase) * s.taps_across
        rows = (s.taps_down - phase + s.cycle_down - 1) // s.cycle_down
        before = before + rows * packed_position(k, s.taps_across, s.cycle_across, phase_across)
        wide = (s.taps_across - phase_across + s.cycle_across - 1) // s.cycle_across
        return before + down // s.cycle_down * wide + across // s.cycle_across

    def _plain(
        self, k: Kernel, source: View, target: View, first: Value, last: Value, columns: Value
    ) -> None:
        lanes = k.lanes(self.dtype)
        line = source.strided(source.strides[0], 1)
        masks = [k.first_lanes(columns - j, lanes) for j in range(0, self.panel, lanes)]
        with k.loop(first, last) as row:
            for j, mask in enumerate(masks):
                target.store(line.load(row, j * lanes, lanes=lanes, mask=mask), row, j * lanes)

    def _transposed(
        self, k: Kernel, source: View, target: View, first: Value, last: Value, columns: Value
    ) -> None:
        lanes = k.lanes(self.dtype)
        line = source.strided(1, source.strides[1])
        with k.loop(0, self.panel, lanes) as j, k.loop(first, last, lanes) as row:
            vectors = []
            for column in range(lanes):
                count = (j + column < columns).select(last - row, 0)
                mask = k.first_lanes(count, lanes)
                vectors.append(line.load(row, j + column, lanes=lanes, mask=mask))
            for i, vector in enumerate(transposed(vectors)):
                with k.when(row + i < last):
                    target.store(vector, row + i, j)


def computed(dtype: DType) -> DType:
    """What a dtype is computed with."""
    return DType.FLOAT64 if value_type(dtype).bits == 64 else DType.FLOAT32


def pack_calls(operand: Place, packed: Place, source: Source[int], panel: int) -> list[Call]:
    """Pack an operand into a place of its own."""
    transpose = source.column_stride != 1 and (source.row_stride == 1 or source.rows == 1)
    code = Pack(operand.spec.dtype, panel, transpose)
    return [Call(code, (operand,), (packed,), astuple(source), prepares=True)]
