"""Resizing, padding by content, adaptive means, and the adjoints of all: sums of few taps each.

The taps of every output position along the mapped axis are tables, made from the shapes: where each
position's taps start, then each tap's source and weight. Threads follow the output's order in
memory and take packs along its innermost axis where that is not the mapped one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from minigraph.backend import Slot
from minigraph.backends.cupy.call import Binding, Call, Lowering, blocks_for, index_type, simple
from minigraph.backends.cupy.code import COMPUTED, STORED, KernelCode, loaded, stored
from minigraph.backends.cupy.kernels.copy import fill_calls
from minigraph.backends.cupy.kernels.expressions import literal
from minigraph.backends.cupy.kernels.images import EACH, block
from minigraph.ir.spec import DType
from minigraph.iteration import Space, collapse
from minigraph.lowering.taps import AXIS_MAPS, axis_and_taps
from minigraph.places import Table


@dataclass(frozen=True)
class MapAxis(KernelCode):
    """``y[o, m, i] = sum of weight[t] x[o, source[t], i]`` over the taps t of m.

    With one tap of weight 1 for every position (``moves``) elements are copied as they are.
    Sizes: those of the outer axes, of the mapped one and of the inner ones; strides of x, of y.
    """

    dtype: DType
    moves: bool
    weighted: bool
    outer: int  # number of axes
    inner: int
    width: int  # elements of a thread along the innermost axis
    index: str

    @property
    def comment(self) -> str:
        taps = "one tap" if self.moves else "weighted taps" if self.weighted else "taps"
        return f"sums of {taps} along an axis (elements a thread: {self.width})"

    @property
    def pointers(self) -> list[str]:
        kind, of = STORED[self.dtype], COMPUTED[self.dtype]
        return [
            *([] if self.moves else ["const int* first"]),
            "const int* source",
            *([f"const {of}* weight"] if self.weighted else []),
            f"const {kind}* x",
            f"{kind}* y",
        ]

    @property
    def _axes(self) -> list[str]:
        """Names by order in memory: m is the mapped one."""
        return [
            *(f"o{axis}" for axis in range(self.outer)), "m", *(f"i{a}" for a in range(self.inner))
        ]  # fmt: skip

    @property
    def sizes(self) -> list[str]:
        return [f"{part}_{axis}" for part in ("n", "x", "y") for axis in self._axes]

    def body(self) -> str:
        of = COMPUTED[self.dtype]
        x = " + ".join(f"{axis} * x_{axis}" for axis in self._axes if axis != "m")
        y = " + ".join(f"{axis} * y_{axis}" for axis in self._axes)
        place, target = f"x += {x};", f"y + {y}"
        load = f"load_pack<pack>(x + source[{'m' if self.moves else 't'}] * x_m)"
        if self.moves:
            return block(self._decoded(), place, f"store_pack({target}, {load});")
        element = loaded("elements.at[k]", self.dtype)
        return block(
            self._decoded(),
            place,
            f"{of} total[pack];",
            f"{EACH} total[k] = {literal(0, self.dtype)};",
            "for (int t = first[m]; t < first[m + 1]; ++t) {",
            f"    const auto elements = {load};",
            f"    {EACH} total[k] += {'weight[t] * ' if self.weighted else ''}{element};",
            "}",
            f"Pack<{STORED[self.dtype]}, pack> y_pack;",
            f"{EACH} y_pack.at[k] = {stored('total[k]', self.dtype)};",
            f"store_pack({target}, y_pack);",
        )

    def _decoded(self) -> str:
        """This thread's indices, the innermost one that of its first element."""
        index, width = self.index, self.width
        outermost, *others, last = self._axes
        packs, scale = (f"n_{last}", "") if width == 1 else (f"(n_{last} / pack)", " * pack")
        lines = [
            f"constexpr int pack = {width};",
            f"{index} rest = global_thread<{index}>();",
            f"const {index} {last} = rest % {packs}{scale};",
            f"rest /= {packs};",
        ]
        for axis in reversed(others):
            lines += [f"const {index} {axis} = rest % n_{axis};", f"rest /= n_{axis};"]
        guard = f"if ({outermost} >= n_{outermost}) return;"
        return block(*lines, f"const {index} {outermost} = rest;", guard)


# ---- calls


def _calls(binding: Binding) -> list[Call]:
    (x,), y = binding.inputs, binding.output
    if y.spec.size == 0:
        return []
    if x.spec.size == 0:
        return fill_calls(y, 0.0)
    axis, taps = axis_and_taps(binding.op, x.spec)
    dtype = y.spec.dtype
    outer, inner = _around(x, y, axis)
    width = _width(x, y, axis, outer, inner)
    flat = [tap for each in taps for tap in each]
    weighted = any(weight != 1 for _, weight in flat)
    moves = not weighted and all(len(each) == 1 for each in taps)
    tables = [Table(np.array([source for source, _ in flat], np.int32))]
    if not moves:
        starts = np.cumsum([0, *(len(each) for each in taps)])
        tables.insert(0, Table(starts.astype(np.int32)))
    if weighted:
        tables.append(Table(np.array([weight for _, weight in flat], dtype.accumulator.numpy)))
    code = MapAxis(
        dtype, moves, weighted, len(outer.sizes), len(inner.sizes), width, index_type(x, y)
    )
    sizes = (*outer.sizes, len(taps), *inner.sizes)
    strides = (
        (*outer.strides[number], slot.strides[axis], *inner.strides[number])
        for number, slot in enumerate((x, y))
    )
    arguments = (*sizes, *(step for each in strides for step in each))
    blocks = blocks_for(prod(sizes) // width, code.threads)
    return [Call(code, (*tables, x), (y,), arguments, blocks)]


def _around(x: Slot, y: Slot, axis: int) -> tuple[Space, Space]:
    """The axes outside and inside of the mapped one in memory, joined where they lie as one."""
    others = [a for a in range(y.spec.ndim) if a != axis]
    outer = [a for a in others if y.strides[a] > y.strides[axis]]
    inner = [a for a in others if a not in outer]
    found = [
        collapse(
            [y.spec.shape[a] for a in group],
            [tuple(s.strides[a] for a in group) for s in (x, y)],
        )
        for group in (outer, inner)
    ]
    return found[0], found[1]


def _width(x: Slot, y: Slot, axis: int, outer: Space, inner: Space) -> int:
    """The elements of one 16-byte access, or as many of them as all lines are cut into."""
    itemsize = y.spec.dtype.itemsize
    if any(steps[-1] != 1 for steps in inner.strides):
        return 1
    numbers: Sequence[int] = (
        inner.sizes[-1],
        *(x.strides[axis], y.strides[axis]),
        *(step for steps in outer.strides for step in steps),
        *(step for steps in inner.strides for step in steps[:-1]),
    )
    width = 16 // itemsize
    while width > 1 and not all(
        number % width == 0 for number in (*numbers, x.offset // itemsize, y.offset // itemsize)
    ):
        width //= 2
    return width


LOWERINGS: Mapping[type, Lowering] = dict.fromkeys(AXIS_MAPS, simple(_calls))
