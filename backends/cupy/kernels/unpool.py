"""Unpooling by flat positions, and its adjoint, which takes elements at them.

Positions are whatever comes, so a pixel cannot know which elements are its own. A warp adds those
of a whole map, 32 at a time: elements that share a pixel take turns, in the order of the elements,
so the sums are always the same. Warps of a block have neighbouring channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from minigraph.backend import Slot
from minigraph.backends.cupy.call import (
    Binding,
    Call,
    Lowering,
    blocks_for,
    index_type,
    simple,
)
from minigraph.backends.cupy.code import COMPUTED, STORED, KernelCode, loaded
from minigraph.backends.cupy.kernels.copy import copy_calls, fill_calls
from minigraph.backends.cupy.kernels.images import block, pixel_of_thread, step_names, steps
from minigraph.ir.spec import DType
from minigraph.lowering.sums import sums_of
from minigraph.lowering.unpool import unpool_lowerings

_WARP = 32


@dataclass(frozen=True)
class AddAtPositions(KernelCode):
    """``y[n, c, at[n, c, i]] += x[n, c, i]``, where a warp has one (n, c)."""

    may_refuse = True

    dtype: DType
    sums: DType  # of y
    index: str

    comment = "adds elements at flat positions: a warp has one channel of one image"

    @property
    def pointers(self) -> list[str]:
        return [f"const {STORED[self.dtype]}* x", "const long long* at", f"{STORED[self.sums]}* y"]

    @property
    def sizes(self) -> list[str]:
        strides = [step for name in ("x", "at", "y") for step in step_names(name)]
        return ["images", "channels", "rows", "columns", "height", "width", *strides]

    def body(self) -> str:
        index, of = self.index, COMPUTED[self.sums]
        return f"""
const unsigned all = 0xffffffff;
const int lane = threadIdx.x % 32;
const {index} map = global_thread<{index}>() / 32, n = map / channels, c = map % channels;
if (n >= images) return;
x += n * x_image + c;
at += n * at_image + c;
y += n * y_image + c;
for ({index} start = 0; start < rows * columns; start += 32) {{
    const {index} element = start + lane, i = element / columns, j = element % columns;
    {index} pixel = -1;
    {of} value = 0;
    if (element < rows * columns) {{
        const long long wanted = at[i * at_row + j * at_pixel];
        value = {loaded("x[i * x_row + j * x_pixel]", self.dtype)};
        if (wanted >= 0 && wanted < (long long)height * width)
            pixel = ({index})wanted;
        else
            refuse(refused, position, (long long)map * rows * columns + element);
    }}
    int turn = 0;  // how many lanes before this one have the same pixel
    for (int other = 0; other < 31; ++other) {{
        const {index} theirs = __shfl_sync(all, pixel, other);
        turn += other < lane && theirs == pixel;
    }}
    if (pixel < 0) turn = -1;
    for (int now = 0; __any_sync(all, turn >= now); ++now) {{
        if (turn == now) y[pixel / width * y_row + pixel % width * y_pixel] += value;
        __syncwarp();
    }}
}}
"""


@dataclass(frozen=True)
class TakeAtPositions(KernelCode):
    """``y[n, c, i] = x[n, c, at[n, c, i]]``"""

    may_refuse = True

    dtype: DType
    index: str

    comment = "elements at flat positions: a thread takes one"

    @property
    def pointers(self) -> list[str]:
        kind = STORED[self.dtype]
        return [f"const {kind}* x", "const long long* at", f"{kind}* y"]

    @property
    def sizes(self) -> list[str]:
        strides = [step for name in ("x", "at", "y") for step in step_names(name)]
        return ["images", "channels", "rows", "columns", "height", "width", *strides]

    def body(self) -> str:
        return block(
            pixel_of_thread(self.index, 1, "i", "j", ("rows", "columns")),
            f"""\
const long long wanted = at[n * at_image + i * at_row + j * at_pixel + c];
{STORED[self.dtype]} element{{}};
if (wanted >= 0 && wanted < (long long)height * width) {{
    const {self.index} h = ({self.index})wanted / width, w = ({self.index})wanted % width;
    element = x[n * x_image + h * x_row + w * x_pixel + c];
}} else {{
    refuse(refused, position, (((long long)n * channels + c) * rows + i) * columns + j);
}}
y[n * y_image + i * y_row + j * y_pixel + c] = element;""",
        )


# ---- calls


def _sizes(pooled: Slot, image: Slot, places: Sequence[Slot]) -> tuple[int, ...]:
    strides = (step for place in places for step in steps(place))
    return (*pooled.spec.shape, *image.spec.shape[2:], *strides)


def _unpool(binding: Binding) -> list[Call]:
    (x, positions), y = binding.inputs, binding.output
    if y.spec.size == 0:
        return []
    sums = sums_of(y, binding.workspace)
    slots = (x, positions, sums)
    code = AddAtPositions(x.spec.dtype, sums.spec.dtype, index_type(*slots))
    maps = x.spec.shape[0] * x.spec.shape[1]
    blocks = blocks_for(maps * _WARP, code.threads)
    return [
        *fill_calls(sums, 0.0),
        Call(code, (x, positions), (sums,), _sizes(x, y, slots), blocks),
        *(copy_calls(sums, y) if sums is not y else ()),
    ]


def _take(binding: Binding) -> list[Call]:
    (x, positions), y = binding.inputs, binding.output
    if y.spec.size == 0:
        return []
    slots = (x, positions, y)
    code = TakeAtPositions(y.spec.dtype, index_type(*slots))
    blocks = blocks_for(y.spec.size, code.threads)
    return [Call(code, (x, positions), (y,), _sizes(y, x, slots), blocks)]


LOWERINGS: Mapping[type, Lowering] = unpool_lowerings(simple, _unpool, _take)
