"""Elementwise ops of any shape: a body of instructions run once for every element.

The body's operands are broadcast to the shape of its results. Axes that lie as one in all of them
are joined (``minigraph.iteration``); each thread takes a pack of neighbours along the innermost
axis, read and written 16 bytes at a time where they adjoin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from minigraph.backend import Slot, Strides
from minigraph.backends.cupy.call import Call, blocks_for, index_type
from minigraph.backends.cupy.code import COMPUTED, STORED, KernelCode, loaded, stored
from minigraph.backends.cupy.kernels.expressions import names, statements
from minigraph.ir.spec import DType
from minigraph.iteration import Space, broadcast_strides, collapse
from minigraph.lowering.elementwise import ADJACENT, REPEATED, STRIDED, movement_of
from minigraph.ops.fused import Body
from minigraph.places import Place


@dataclass(frozen=True)
class Pointwise(KernelCode):
    """``results = body(operands)`` over a space of collapsed axes, ``width`` elements a thread.

    Sizes: those of the axes; then, operand by operand, the stride of every axis along which it is
    STRIDED. With one axis the last pack may be cut short; with more, the innermost size is a
    multiple of the width.
    """

    program: Body
    dtypes: tuple[DType, ...]  # of operands, then of results
    movement: tuple[str, ...]  # one letter an axis, for each of them
    width: int
    index: str

    @property
    def axes(self) -> int:
        return len(self.movement[0])

    @property
    def comment(self) -> str:
        ops = ", ".join(instruction.op.name for instruction in self.program.instructions)
        return f"{ops} (axes: {self.axes}, elements a thread: {self.width})"

    @property
    def pointers(self) -> list[str]:
        operands, results = self._named()
        return [
            *(f"const {STORED[dtype]}* {name}" for name, dtype, _ in operands),
            *(f"{STORED[dtype]}* {name}" for name, dtype, _ in results),
        ]

    @property
    def sizes(self) -> list[str]:
        strides = [
            f"{name}_step{axis}"
            for name, _, moves in (*self._named()[0], *self._named()[1])
            for axis, move in enumerate(moves)
            if move == STRIDED
        ]
        return [*(f"n{axis}" for axis in range(self.axes)), *strides]

    def _named(self) -> tuple[list[tuple[str, DType, str]], list[tuple[str, DType, str]]]:
        """(name, dtype, movement) of operands and of results."""
        given = self.program.inputs
        all_names = [f"x{i}" if i < given else f"y{i - given}" for i in range(len(self.dtypes))]
        named = list(zip(all_names, self.dtypes, self.movement, strict=True))
        return named[:given], named[given:]

    # ---- the body of instructions, as a function

    def functions(self) -> str:
        operands, results = self._named()
        parameters = [
            *(f"{COMPUTED[dtype]} v{i}" for i, (_, dtype, _) in enumerate(operands)),
            *(f"{STORED[dtype]}& {name}" for name, dtype, _ in results),
        ]
        given = [f"v{i}" for i in range(len(operands))]
        lines = statements(self.program, self.dtypes[: len(operands)], given)
        named = names(self.program, given)
        for (name, dtype, _), number in zip(results, self.program.outputs, strict=True):
            lines.append(f"{name} = {stored(named[number], dtype)};")
        text = "\n".join(f"    {line}" for line in lines)
        signature = f"__device__ inline void {self.symbol}_body({', '.join(parameters)})"
        return f"{signature}\n{{\n{text}\n}}"

    def _call(self, operands: Sequence[str], results: Sequence[str]) -> str:
        return f"{self.symbol}_body({', '.join([*operands, *results])});"

    # ---- where each thread works

    def body(self) -> str:
        return "\n".join([*self._decoded(), *self._advanced(), *self._pack()])

    def _decoded(self) -> list[str]:
        """This thread's indices: the innermost one is that of its first element."""
        last, width = self.axes - 1, self.width
        if self.axes == 1:
            scale = f"{width} * " if width > 1 else ""
            return [
                f"const {self.index} i0 = {scale}global_thread<{self.index}>();",
                "if (i0 >= n0) return;",
            ]
        packs = f"(n{last} / {width})" if width > 1 else f"n{last}"
        lines = [
            f"{self.index} rest = global_thread<{self.index}>();",
            f"const {self.index} i{last} = rest % {packs}{f' * {width}' if width > 1 else ''};",
            f"rest /= {packs};",
        ]
        for axis in range(last - 1, 0, -1):
            lines += [f"const {self.index} i{axis} = rest % n{axis};", f"rest /= n{axis};"]
        return [*lines, f"const {self.index} i0 = rest;", "if (i0 >= n0) return;"]

    def _advanced(self) -> list[str]:
        """Pointers moved to this thread's first element."""
        lines = []
        for name, _, moves in (*self._named()[0], *self._named()[1]):
            terms = [
                f"i{axis}" if move == ADJACENT else f"i{axis} * {name}_step{axis}"
                for axis, move in enumerate(moves)
                if move != REPEATED
            ]
            if terms:
                lines.append(f"{name} += {' + '.join(terms)};")
        return lines

    def _pack(self) -> list[str]:
        """The elements of this thread: a pack, or at the end of a flat space what is left."""
        if self.width == 1:
            return self._one("0")
        loop = [f"for (int k = 0; k < {self.width}; ++k) {{", *_indented(self._of_pack()), "}"]
        whole = [*self._loads(), *self._empty(), *loop, *self._stores()]
        if self.axes > 1:
            return whole
        single = ["for (int k = 0; k < n0 - i0; ++k) {", *_indented(self._one("k")), "}"]
        condition = f"if (n0 - i0 >= {self.width}) {{"
        return [condition, *_indented(whole), "} else {", *_indented(single), "}"]

    def _one(self, k: str) -> list[str]:
        """Element k, from memory to memory."""
        operands, results = self._named()
        last = self.axes - 1
        given = [loaded(_element(name, moves[last], k, last), d) for name, d, moves in operands]
        return [self._call(given, [_element(name, m[last], k, last) for name, _, m in results])]

    def _of_pack(self) -> list[str]:
        """Element k of what was loaded."""
        operands, results = self._named()
        last = self.axes - 1
        given = []
        for name, dtype, moves in operands:
            held = f"{name}_pack.at[k]" if moves[last] == ADJACENT else _element(
                name, moves[last], "k", last
            )  # fmt: skip
            given.append(loaded(held, dtype))
        return [self._call(given, [f"{name}_pack.at[k]" for name, _, _ in results])]

    def _loads(self) -> list[str]:
        return [
            f"const auto {name}_pack = load_pack<{self.width}>({name});"
            for name, _, moves in self._named()[0]
            if moves[-1] == ADJACENT
        ]

    def _empty(self) -> list[str]:
        return [
            f"Pack<{STORED[dtype]}, {self.width}> {name}_pack;"
            for name, dtype, _ in self._named()[1]
        ]

    def _stores(self) -> list[str]:
        lines = []
        for name, _, moves in self._named()[1]:
            if moves[-1] == ADJACENT:
                lines.append(f"store_pack({name}, {name}_pack);")
            else:
                element = _element(name, moves[-1], "k", self.axes - 1)
                loop = f"for (int k = 0; k < {self.width}; ++k)"
                lines.append(f"{loop} {element} = {name}_pack.at[k];")
        return lines


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _element(name: str, move: str, k: str, axis: int) -> str:
    """Element k of a pointer along an axis."""
    if move == REPEATED or k == "0":
        return f"*{name}"
    return f"{name}[{k}]" if move == ADJACENT else f"{name}[{k} * {name}_step{axis}]"


# ---- calls


def pointwise_calls(body: Body, operands: Sequence[Place], results: Sequence[Place]) -> list[Call]:
    """The call of a body on operands that broadcast to the shape of the results."""
    shape = results[0].spec.shape
    if 0 in shape:
        return []
    places = (*operands, *results)
    space = collapse(shape, [broadcast_strides(place, shape) for place in places])
    width = pack_width(space, places)
    movement, strides = movement_of(space)
    code = Pointwise(
        body, tuple(place.spec.dtype for place in places), movement, width,
        index_type(*places, *results),
    )  # fmt: skip
    packs = -(-space.sizes[-1] // width)
    for size in space.sizes[:-1]:
        packs *= size
    sizes = (*space.sizes, *strides)
    return [Call(code, tuple(operands), tuple(results), sizes, blocks_for(packs, code.threads))]


_WIDEST = 16  # bytes of one access


def pack_width(space: Space, places: Sequence[Place]) -> int:
    """How many neighbours along the innermost axis a thread takes at once.

    A power of two, such that the widest of the adjacent operands is read 16 bytes at a time, and
    every pack of every adjacent operand begins at a multiple of its size. 1 where the first result
    has gaps.
    """
    if space.strides[-1][-1] != 1:
        return 1
    adjacent = [
        (place, steps) for place, steps in zip(places, space.strides, strict=True) if steps[-1] == 1
    ]
    width = _WIDEST // max(place.spec.dtype.itemsize for place, _ in adjacent)
    while width > 1 and not _fits(width, space, adjacent):
        width //= 2
    return width


def _fits(width: int, space: Space, adjacent: Sequence[tuple[Place, Strides]]) -> bool:
    if len(space.sizes) > 1 and space.sizes[-1] % width:
        return False
    if space.sizes[-1] < width:
        return False
    return all(
        _offset(place) % (width * place.spec.dtype.itemsize) == 0
        and all(step % width == 0 for step in steps[:-1])
        for place, steps in adjacent
    )


def _offset(place: Place) -> int:
    """How many bytes after a well aligned address a place begins."""
    return place.offset if isinstance(place, Slot) else 0
