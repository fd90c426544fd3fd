"""Kernels that choose elements by indices of another tensor, and that add to chosen ones.

Indices are checked first, by a kernel of their own: it refuses the first (in logical order) that is
outside of its axis. The kernels after it clamp what they read, so that nothing beyond a tensor is
touched in a call that is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from minigraph.backend import Slot, Strides
from minigraph.backends.cupy.call import AnyCall, Call, blocks_for, index_type
from minigraph.backends.cupy.code import STORED, KernelCode, loaded
from minigraph.backends.cupy.kernels.copy import copy_calls
from minigraph.backends.cupy.kernels.expressions import expression_of
from minigraph.backends.cupy.kernels.iteration import decoded, position, steps
from minigraph.backends.cupy.kernels.pointwise import pack_width
from minigraph.ir.spec import DType
from minigraph.iteration import collapse, row_major_strides
from minigraph.lowering.indexing import IndexedAxis, IndexKernels, Moves
from minigraph.ops.elementwise import Add


@dataclass(frozen=True)
class CheckIndices(KernelCode):
    """Refuse indices outside of [lowest, count), one a thread.

    Sizes: lowest, count; those of the axes; strides of the indices, and of the position that a
    refusal tells.
    """

    dtype: DType
    axes: int
    index: str

    may_refuse = True

    @property
    def comment(self) -> str:
        return f"refuse {self.dtype} indices outside of an axis"

    @property
    def pointers(self) -> list[str]:
        return [f"const {STORED[self.dtype]}* indices"]

    @property
    def sizes(self) -> list[str]:
        axes = [f"n{axis}" for axis in range(self.axes)]
        return [
            "lowest", "count", *axes, *steps("indices", self.axes), *steps("place", self.axes)
        ]  # fmt: skip

    def body(self) -> str:
        return "\n".join(
            [
                f"{self.index} rest = global_thread<{self.index}>();",
                *decoded(self.axes, self.index),
                "if (i0 >= n0) return;",
                f"const long long chosen = indices[{position('indices', self.axes)}];",
                "if (chosen < lowest || chosen >= count)",
                f"    refuse(refused, position, {position('place', self.axes)});",
            ]
        )


def check_calls(indices: Slot, lowest: int, count: int) -> list[Call]:
    """Refuse the indices outside of [lowest, count)."""
    shape = indices.spec.shape
    if 0 in shape:
        return []
    space = collapse(shape, [row_major_strides(shape), indices.strides])
    positions, strides = space.strides
    code = CheckIndices(indices.spec.dtype, len(space.sizes), index_type(indices))
    sizes = (lowest, count, *space.sizes, *strides, *positions)
    return [Call(code, (indices,), (), sizes, blocks_for(indices.spec.size, code.threads))]


def _chosen(index: str, where: str) -> list[str]:
    """Where an index leads along its axis; one outside of it leads to some place within."""
    return [
        f"const long long chosen = indices[{where}];",
        "const long long wrapped = chosen < 0 ? chosen + count : chosen;",
        f"const {index} at = wrapped < 0 ? 0 : wrapped < count ? wrapped : count - 1;",
    ]


# ---- choosing


@dataclass(frozen=True)
class Take(KernelCode):
    """y = x at the indices' places along one axis; all other axes are those of y.

    ``width`` neighbours along the innermost axis are one thread's: more than one where they share
    an index. Sizes: of the indexed axis, and its stride in x; of the axes of y, the last in packs;
    strides of x along these (0 where it does not move), of the indices, of y, the last of a pack.
    """

    dtype: DType
    indices: DType
    axes: int
    width: int
    index: str

    @property
    def comment(self) -> str:
        return f"{self.dtype} elements by {self.indices} indices, {self.width} a thread"

    @property
    def pointers(self) -> list[str]:
        element = STORED[self.dtype]
        return [f"const {element}* x", f"const {STORED[self.indices]}* indices", f"{element}* y"]

    @property
    def sizes(self) -> list[str]:
        return [
            "count", "axis_step", *(f"n{axis}" for axis in range(self.axes)),
            *(step for name in ("x", "indices", "y") for step in steps(name, self.axes)),
        ]  # fmt: skip

    def body(self) -> str:
        source = f"x + {position('x', self.axes)} + at * axis_step"
        target = f"y + {position('y', self.axes)}"
        return "\n".join(
            [
                f"{self.index} rest = global_thread<{self.index}>();",
                *decoded(self.axes, self.index),
                "if (i0 >= n0) return;",
                *_chosen(self.index, position("indices", self.axes)),
                f"store_pack({target}, load_pack<{self.width}>({source}));",
            ]
        )


def take_calls(
    x: Slot, x_strides: Strides, axis: IndexedAxis, indices: Slot, i_strides: Strides, y: Slot
) -> list[Call]:
    """Elements of x along an axis; the strides are along the axes of y, 0 where nothing moves."""
    if y.spec.size == 0 or axis.count == 0:
        return []
    space = collapse(y.spec.shape, [x_strides, i_strides, y.strides])
    along_x, along_i, along_y = space.strides
    width = 1
    if along_i[-1] == 0 and along_x[-1] == along_y[-1] == 1:
        width = pack_width(space, (x, indices, y))
        while space.sizes[-1] % width or axis.step % width:
            width //= 2
    *outer, inner = space.sizes
    packs = (*outer, inner // width)
    code = Take(
        y.spec.dtype, indices.spec.dtype, len(packs), width, index_type(x, indices, y)
    )  # fmt: skip
    sizes = (
        axis.count, axis.step, *packs,
        *(step for strides in space.strides for step in (*strides[:-1], strides[-1] * width)),
    )  # fmt: skip
    return [Call(code, (x, indices), (y,), sizes, blocks_for(prod(packs), code.threads))]


# ---- adding


@dataclass(frozen=True)
class AddAt(KernelCode):
    """y += updates at the indices' places along one axis, one after the other.

    The indexed axis is cut into parts. Each place of the shared axes is one thread's in each part:
    it goes through all updates in order, and adds those that fall into its part. Neighbouring
    threads are neighbours along the innermost shared axis.

    Sizes: of the indexed axis, and its stride in y; the number of parts; sizes of the shared axes
    and of the ordered ones; strides of the indices and of the updates along the shared axes, then
    along the ordered ones; of y along the shared ones.
    """

    dtype: DType  # of y
    updates: DType
    indices: DType
    shared: int
    ordered: int
    index: str

    @property
    def comment(self) -> str:
        return f"add {self.updates} updates to {self.dtype} in the order of {self.indices} indices"

    @property
    def pointers(self) -> list[str]:
        return [
            f"const {STORED[self.indices]}* indices", f"const {STORED[self.updates]}* updates",
            f"{STORED[self.dtype]}* y",
        ]  # fmt: skip

    @property
    def sizes(self) -> list[str]:
        return [
            "count", "axis_step", "parts",
            *(f"n{axis}" for axis in range(self.shared)),
            *(f"m{axis}" for axis in range(self.ordered)),
            *(
                name
                for operand in ("indices", "updates")
                for name in (
                    *steps(operand, self.shared),
                    *(f"{operand}_next{axis}" for axis in range(self.ordered)),
                )
            ),
            *steps("y", self.shared),
        ]  # fmt: skip

    def body(self) -> str:
        index, depth = self.index, range(self.ordered)
        places = {
            name: " + ".join([f"{name}_first", *(f"j{axis} * {name}_next{axis}" for axis in depth)])
            for name in ("indices", "updates")
        }
        element = loaded(f"updates[{places['updates']}]", self.updates)
        total = expression_of(Add(), [self.dtype] * 2, ["y[target]", element])
        lines = [
            f"{index} rest = global_thread<{index}>();",
            *decoded(self.shared, index),
            "if (i0 >= n0) return;",
            *(
                f"const {index} {name}_first = {position(name, self.shared)};"
                for name in ("indices", "updates", "y")
            ),
            f"const {index} start = (long long)count * blockIdx.y / parts;",
            f"const {index} stop = (long long)count * (blockIdx.y + 1) / parts;",
            *(f"for ({index} j{axis} = 0; j{axis} < m{axis}; ++j{axis})" for axis in depth),
            "{",
            *_chosen(index, places["indices"]),
            "if (at < start || at >= stop) continue;",
            f"const {index} target = y_first + at * axis_step;",
            f"y[target] = {total};",
            "}",
        ]
        return "\n".join(_nested(lines))


def _nested(lines: Sequence[str]) -> list[str]:
    """Statements between lines of braces one level in."""
    depth, result = 0, []
    for line in lines:
        depth -= line == "}"
        result.append("    " * depth + line)
        depth += line == "{"
    return result


_THREADS = 1 << 16  # wanted at least: the indexed axis is cut into parts for it
_MOST_PARTS = 256


def add_calls(
    y: Slot,
    others: Sequence[int],
    axis: IndexedAxis,
    indices: Moves,
    updates: Moves,
    ordered: Sequence[int],
) -> list[Call]:
    """Add updates to y, whose other axes are ``others``, in the order of axes of these sizes."""
    if updates.slot.spec.size == 0 or y.spec.size == 0:
        return []
    if not ordered:  # a single index
        ordered = (1,)
        indices, updates = (replace(moves, ordered=(0,)) for moves in (indices, updates))
    space = collapse(
        [y.spec.shape[a] for a in others],
        [indices.shared, updates.shared, tuple(y.strides[a] for a in others)],
    )
    along_i, along_u, along_y = space.strides
    code = AddAt(
        y.spec.dtype,
        updates.slot.spec.dtype,
        indices.slot.spec.dtype,
        len(space.sizes),
        len(ordered),
        index_type(indices.slot, updates.slot, y),
    )
    shared = prod(space.sizes)
    parts = max(min(_THREADS // shared, axis.count, _MOST_PARTS), 1)
    sizes = (
        *(axis.count, axis.step, parts, *space.sizes, *ordered),
        *(*along_i, *indices.ordered, *along_u, *updates.ordered, *along_y),
    )
    grid = (blocks_for(shared, code.threads), parts, 1)
    return [Call(code, (indices.slot, updates.slot), (y,), sizes, grid)]


INDEX_KERNELS = IndexKernels[AnyCall](check_calls, take_calls, add_calls, copy_calls)
