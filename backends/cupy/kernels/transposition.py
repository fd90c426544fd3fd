"""Copies between two innermost axes: planes of pixels to pixels of channels, and back.

Along ``rows`` the source's elements are adjacent, along ``columns`` the target's. A block of
threads takes a square tile through shared memory, so that both sides are read and written in whole
rows of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from minigraph.backends.cupy.call import Call, index_type
from minigraph.backends.cupy.code import STORED, KernelCode
from minigraph.backends.cupy.kernels.iteration import decoded, position, steps
from minigraph.ir.spec import DType
from minigraph.iteration import collapse
from minigraph.places import Place

_TILE = 32
_NARROW = 8  # rows or columns: with fewer most of a tile would be empty


@dataclass(frozen=True)
class TransposedCopy(KernelCode):
    """Copy a (rows, columns) matrix, or many of them.

    Sizes: numbers of rows and of columns; strides of x from column to column and of y from row to
    row; sizes of the other axes, strides of x and of y along them.
    """

    dtype: DType
    axes: int
    index: str

    @property
    def comment(self) -> str:
        return f"{self.dtype} matrices, transposed by tiles of {_TILE}x{_TILE}"

    @property
    def pointers(self) -> list[str]:
        return [f"const {STORED[self.dtype]}* x", f"{STORED[self.dtype]}* y"]

    @property
    def sizes(self) -> list[str]:
        return [
            "rows", "columns", "x_column", "y_row", *(f"n{axis}" for axis in range(self.axes)),
            *(step for name in ("x", "y") for step in steps(name, self.axes)),
        ]  # fmt: skip

    def body(self) -> str:
        index, tile, step = self.index, _TILE, self.threads // _TILE
        # A column more than is used: neighbours in a column lie in different banks.
        return "\n".join(
            [
                f"__shared__ {STORED[self.dtype]} tile[{tile}][{tile} + 1];",
                f"const {index} across = (columns + {tile - 1}) / {tile};",
                f"const {index} down = (rows + {tile - 1}) / {tile};",
                f"{index} rest = blockIdx.x;",
                f"const {index} column = rest % across * {tile};",
                "rest /= across;",
                f"const {index} row = rest % down * {tile};",
                "rest /= down;",
                *decoded(self.axes, index),
                f"x += {position('x', self.axes)} + column * x_column + row;",
                f"y += {position('y', self.axes)} + row * y_row + column;",
                f"const int lane = threadIdx.x % {tile}, line = threadIdx.x / {tile};",
                "#pragma unroll",
                f"for (int k = line; k < {tile}; k += {step})",
                "    if (column + k < columns && row + lane < rows)",
                "        tile[k][lane] = x[k * x_column + lane];",
                "__syncthreads();",
                "#pragma unroll",
                f"for (int k = line; k < {tile}; k += {step})",
                "    if (row + k < rows && column + lane < columns)",
                "        y[k * y_row + lane] = tile[lane][k];",
            ]
        )


def transposed_copy_calls(source: Place, target: Place) -> list[Call]:
    """A copy by tiles, where the innermost axes of both sides differ and are long; else none."""
    space = collapse(source.spec.shape, [source.strides, target.strides])
    x, y = space.strides
    if source.spec != target.spec or y[-1] != 1 or 1 not in x[:-1]:
        return []
    row_axis, column_axis = x.index(1), len(y) - 1
    rows, columns = space.sizes[row_axis], space.sizes[column_axis]
    if min(rows, columns) < _NARROW:
        return []
    others = [axis for axis in range(column_axis) if axis != row_axis]
    outer = [(space.sizes[a], x[a], y[a]) for a in others] or [(1, 0, 0)]
    code = TransposedCopy(source.spec.dtype, len(outer), index_type(source, target))
    sizes = (
        rows,
        columns,
        x[column_axis],
        y[row_axis],
        *(n for axis in zip(*outer, strict=True) for n in axis),
    )
    tiles = -(-rows // _TILE) * -(-columns // _TILE) * prod(size for size, _, _ in outer)
    return [Call(code, (source,), (target,), sizes, tiles)]
