"""Dropout by the counter-based random numbers of ``minigraph/ops/random.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from minigraph.backend import Slot
from minigraph.backends.cupy.call import Binding, Call, Lowering, blocks_for, index_type, simple
from minigraph.backends.cupy.code import STORED, KernelCode, loaded, stored
from minigraph.backends.cupy.kernels.expressions import literal
from minigraph.backends.cupy.kernels.iteration import decoded, position, steps
from minigraph.ir.spec import DType
from minigraph.iteration import Space, collapse, row_major_strides
from minigraph.ops.random import Dropout

_WORDS = 4  # of a block of Philox


@dataclass(frozen=True)
class DropoutElements(KernelCode):
    """``x / (1 - rate)`` where the element's word reaches the threshold, else 0.

    A thread takes ``width`` elements that are neighbours in logical order: the four that share a
    block of random words, or one. With a single axis (arrays row by row) they adjoin, and the last
    ones may be fewer. Of images each thread has four pixels of a channel, and neighbouring threads
    have neighbouring channels.

    Sizes: those of the axes, where one axis is counted in packs; strides of x, y and the logical
    order along each; strides of x and y within a pack; the number of elements; the stream, an int.
    """

    dtype: DType
    rate: float
    threshold: int
    axes: int
    width: int
    index: str

    @property
    def comment(self) -> str:
        return f"dropout of {self.rate} of {self.dtype} elements, {self.width} a thread"

    @property
    def pointers(self) -> list[str]:
        element = STORED[self.dtype]
        return [f"const {element}* x", "const long long* key", f"{element}* y"]

    @property
    def sizes(self) -> list[str]:
        return [
            *(f"n{axis}" for axis in range(self.axes)),
            *(step for name in ("x", "y", "logical") for step in steps(name, self.axes)),
            "x_next", "y_next", "count", "stream",
        ]  # fmt: skip

    def body(self) -> str:
        number = " + ".join(f"(long long)i{a} * logical_step{a}" for a in range(self.axes))
        return "\n".join(
            [
                f"{self.index} rest = global_thread<{self.index}>();",
                *decoded(self.axes, self.index),
                "if (i0 >= n0) return;",
                f"const unsigned long long element = {number}, block = element / {_WORDS};",
                "const unsigned long long seed = key[0];",
                "const uint4 words = philox(",
                "    {(unsigned)block, (unsigned)(block >> 32), (unsigned)key[1], "
                "(unsigned)stream},",
                "    {(unsigned)seed, (unsigned)(seed >> 32)});",
                f"const unsigned word[{_WORDS}] = {{words.x, words.y, words.z, words.w}};",
                f"x += {position('x', self.axes)};",
                f"y += {position('y', self.axes)};",
                *self._elements(),
            ]
        )

    def _elements(self) -> list[str]:
        if self.width == 1:
            return [f"*y = {self._dropped('*x', f'word[element % {_WORDS}]')};"]
        if self.axes > 1:
            return [
                f"for (int k = 0; k < {self.width}; ++k)",
                f"    y[k * y_next] = {self._dropped('x[k * x_next]', 'word[k]')};",
            ]
        return [
            f"if (count - {self.width} * i0 >= {self.width}) {{",
            f"    auto pack = load_pack<{self.width}>(x);",
            f"    for (int k = 0; k < {self.width}; ++k)",
            f"        pack.at[k] = {self._dropped('pack.at[k]', 'word[k]')};",
            "    store_pack(y, pack);",
            "} else {",
            f"    for (int k = 0; k < count - {self.width} * i0; ++k)",
            f"        y[k] = {self._dropped('x[k]', 'word[k]')};",
            "}",
        ]

    def _dropped(self, x: str, word: str) -> str:
        scaled = f"{loaded(x, self.dtype)} * {literal(1.0 / (1.0 - self.rate), self.dtype)}"
        kept = f"{word} >= {self.threshold}u"
        return stored(f"{kept} ? {scaled} : {literal(0.0, self.dtype)}", self.dtype)


def _dropout(binding: Binding) -> list[Call]:
    (x, key), y, op = binding.inputs, binding.output, binding.op
    shape = x.spec.shape
    if x.spec.size == 0:
        return []
    space = collapse(shape, [row_major_strides(shape), x.strides, y.strides])
    sizes, (logical, source, target) = list(space.sizes), space.strides
    counted = logical.index(1)
    next_in = source[counted], target[counted]
    width = _width(space, counted, (x, y))
    sizes[counted] = -(-sizes[counted] // width)
    strides = [
        step * (width if axis == counted else 1)
        for steps_ in (source, target, logical)
        for axis, step in enumerate(steps_)
    ]
    code = DropoutElements(x.spec.dtype, op.rate, op.threshold, len(sizes), width, index_type(x, y))
    stream = op.stream - 2**32 if op.stream >= 2**31 else op.stream  # the same 32 bits
    given = (*sizes, *strides, *next_in, x.spec.size, stream)
    return [Call(code, (x, key), (y,), given, blocks_for(prod(sizes), code.threads))]


def _width(space: Space, counted: int, places: Sequence[Slot]) -> int:
    """How many elements a thread takes."""
    if len(space.sizes) > 1:
        return 1 if space.sizes[counted] % _WORDS else _WORDS
    _, *strides = space.strides
    adjoin = all(steps == (1,) for steps in strides)
    whole = all(place.offset % (_WORDS * place.spec.dtype.itemsize) == 0 for place in places)
    return _WORDS if adjoin and whole else 1


LOWERINGS: Mapping[type, Lowering] = {Dropout: simple(_dropout, overwrites=(0,))}
