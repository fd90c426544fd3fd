"""One tiled matrix product for all: convolutions, their gradients, products of matrices.

``y[row, column] = sum over depth of a[row, depth] b[depth, column]``, where ``a`` and ``b`` are
anything that ``gemm_operands`` can load: an implicit GEMM has the windows of an image as one.

A block of 256 threads makes one tile of y. It walks along the depth in steps of 16: packs of both
operands are loaded into registers while the step before is multiplied from shared memory, then take
its place there. Each thread sums 4 x 4 elements, or a multiple of it: columns side by side are
those of neighbouring threads. Blocks that share rows of a follow each other. Where y has few tiles
and the depth is long, the depth is cut into parts by shape alone; ``FinishParts`` sums these.
"""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent, indent

from minigraph.backends.cupy.code import COMPUTED, STORED, KernelCode, loaded
from minigraph.backends.cupy.kernels.epilogue import Epilogue
from minigraph.backends.cupy.kernels.gemm_operands import Matrix, Operand, Taps, Windows
from minigraph.ir.spec import DType

STEP = 16  # of the depth
PHASE_NUMBERS = 5  # of each axis: windows, first output, first input, first tap, taps


@dataclass(frozen=True)
class Tile:
    """A block's part of the result, and how much of it is a thread's: multiples of 4."""

    rows: int
    columns: int
    thread_rows: int
    thread_columns: int


@dataclass(frozen=True)
class Gemm(KernelCode):
    """``y = epilogue(a b)``, or sums over a part of the depth each, for ``FinishParts``.

    Batch axes (groups of a convolution are one) move the operands and the result. With phases,
    blockIdx.y is that of a transposed convolution, whose rows and depth follow from a table; its
    rows are the windows of all images. blockIdx.z is the part.
    """

    dtype: DType
    tile: Tile
    a: Matrix | Windows
    b: Matrix | Windows | Taps
    epilogue: Epilogue
    batch_axes: int
    phases: bool
    to_parts: bool
    width: int  # results stored at once
    adjacent: bool  # columns of the result adjoin
    index: str

    @property
    def comment(self) -> str:
        a, b = (type(operand).__name__.lower() for operand in (self.a, self.b))
        size = f"{self.tile.rows} x {self.tile.columns}"
        parts = " in parts" if self.to_parts else self.epilogue.comment
        return f"product of {self.dtype}: {a} by {b}, tiles of {size}{parts}"

    @property
    def accumulated(self) -> DType:
        return DType.FLOAT64 if self.dtype is DType.FLOAT64 else DType.FLOAT32

    @property
    def pointers(self) -> list[str]:
        element = STORED[self.dtype]
        output = self.accumulated if self.to_parts else self.epilogue.dtypes[-1]
        return [
            f"const {element}* a",
            f"const {element}* b",
            *([] if self.to_parts else self.epilogue.pointers),
            *(["const int* phases"] if self.phases else []),
            f"{STORED[output]}* y",
        ]

    @property
    def sizes(self) -> list[str]:
        if self.phases:
            extents = ["images", "columns", "stride_h", "stride_w", "channels"]
            target = ["y_image", "y_line", "y_pixel"]
        else:
            extents = ["rows", "columns", "depth"]
            if isinstance(self.a, Windows) or isinstance(self.b, Windows):
                extents += ["count_h", "count_w", "first_h", "first_w", "taps_w", "channels"]
            target = ["y_row", *([] if self.adjacent else ["y_column"])]
        if self.to_parts:
            target.append("y_part")
        batch = [
            name
            for axis in range(self.batch_axes)
            for name in (f"n{axis}", f"a_step{axis}", f"b_step{axis}", f"y_step{axis}")
        ]
        return [*extents, *self.a.sizes("a"), *self.b.sizes("b"), *target, *batch]

    def functions(self) -> str:
        return "" if self.to_parts else self.epilogue.function(f"{self.symbol}_finish")

    # ---- the body

    def body(self) -> str:
        tile, of, index = self.tile, COMPUTED[self.accumulated], self.index
        across = tile.columns // tile.thread_columns
        return "\n".join(
            [
                f"__align__(16) __shared__ {of} a_tile[{STEP}][{tile.rows + 4}];",
                f"__align__(16) __shared__ {of} b_tile[{STEP}][{tile.columns + 4}];",
                f"const int across = threadIdx.x % {across}, down = threadIdx.x / {across};",
                *(self._phase() if self.phases else []),
                *self._place(),
                *self._part(),
                *self._begin("a", self.a, tile.rows),
                *self._begin("b", self.b, tile.columns),
                f"{of} sums[{tile.thread_rows}][{tile.thread_columns}] = {{}};",
                f"for ({index} k = start;; k += {STEP}) {{",
                *_indented(self._fetch("a", self.a, tile.rows)),
                *_indented(self._fetch("b", self.b, tile.columns)),
                "    if (k > start) {  // the step before",
                *_indented(_indented(self._multiply())),
                "    }",
                "    if (k >= stop) break;",
                "    __syncthreads();",
                *_indented(self._share("a", self.a, tile.rows)),
                *_indented(self._share("b", self.b, tile.columns)),
                "    __syncthreads();",
                "}",
                *self._store(),
            ]
        )

    def _phase(self) -> list[str]:
        numbers = ("count", "first_output", "first", "first_tap")
        lines = [
            f"const int* phase_h = phases + {PHASE_NUMBERS} * (blockIdx.y / (int)stride_w);",
            f"const int* phase_w = phases + {PHASE_NUMBERS} * "
            "((int)stride_h + blockIdx.y % (int)stride_w);",
        ]
        for axis in ("h", "w"):
            named = (f"{name}_{axis} = phase_{axis}[{i}]" for i, name in enumerate(numbers))
            lines.append(f"const {self.index} {', '.join(named)};")
        return [
            *lines,
            f"const {self.index} taps_w = maximum(phase_w[4], 1);  // also divides",
            f"const {self.index} depth = phase_h[4] * phase_w[4] * channels;",
            f"const {self.index} rows = images * count_h * count_w;",
            "if (rows == 0) return;",
        ]

    def _place(self) -> list[str]:
        """Which tile this block makes."""
        tile, index = self.tile, self.index
        lines = [
            f"const {index} row_tiles = (rows + {tile.rows - 1}) / {tile.rows};",
            f"const {index} column_tiles = (columns + {tile.columns - 1}) / {tile.columns};",
            f"{index} rest = blockIdx.x;",
            f"const {index} first_column = rest % column_tiles * {tile.columns};",
            "rest /= column_tiles;",
            f"const {index} first_row = rest % row_tiles * {tile.rows};",
            "rest /= row_tiles;",
        ]
        for axis in range(self.batch_axes - 1, 0, -1):
            lines += [f"const {index} i{axis} = rest % n{axis};", f"rest /= n{axis};"]
        lines += [f"const {index} i0 = rest;", "if (i0 >= n0) return;"]
        for x in "aby":
            terms = " + ".join(f"i{axis} * {x}_step{axis}" for axis in range(self.batch_axes))
            lines.append(f"const {index} y_first = {terms};" if x == "y" else f"{x} += {terms};")
        return lines

    def _part(self) -> list[str]:
        index = self.index
        if not self.to_parts:
            return [f"const {index} start = 0, stop = depth;"]
        return [
            f"const {index} steps = (depth + {STEP - 1}) / {STEP};",
            f"const {index} start = steps * (long long)blockIdx.z / gridDim.z * {STEP};",
            f"const {index} stop = minimum<{index}>(depth, "
            f"steps * (blockIdx.z + 1LL) / gridDim.z * {STEP});",
        ]

    # ---- loading

    def _packs(self, operand: Operand, extent: int) -> tuple[int, list[str], str]:
        """Packs of a thread; where pack e lies within a tile; and whether there is one."""
        packs, width = extent * STEP // operand.width, operand.width
        along = (STEP if operand.depth_in_columns else extent) // width
        place = ["pack % " + str(along) + (f" * {width}" if width > 1 else ""), f"pack / {along}"]
        inner, outer = place if operand.depth_in_columns else reversed(place)
        lines = [
            f"const int pack = threadIdx.x + {self.threads} * e;",
            f"const int inner = {inner}, outer = {outer};",
        ]
        whole = packs % self.threads == 0
        return -(-packs // self.threads), lines, "" if whole else f"pack < {packs}"

    def _begin(self, x: str, operand: Operand, extent: int) -> list[str]:
        """The state of this thread's packs at the first step."""
        count, place, _ = self._packs(operand, extent)
        position = ["start + inner", f"first_{'row' if x == 'a' else 'column'} + outer"]
        column, row = position if operand.depth_in_columns else reversed(position)
        arrays = ", ".join(f"{x}_{name}[{count}]" for name in operand.state)
        return [
            f"Pack<{STORED[self.dtype]}, {operand.width}> {x}_held[{count}];",
            f"{self.index} {arrays};",
            *self._each(
                count,
                [
                    *place,
                    f"const {self.index} row = {row}, column = {column};",
                    *operand.begin(x),
                ],
            ),
        ]

    def _fetch(self, x: str, operand: Operand, extent: int) -> list[str]:
        count, place, exists = self._packs(operand, extent)
        limit = "first_row + outer < rows" if x == "a" else "first_column + outer < columns"
        conditions = [exists, limit, "k + inner < stop", operand.inside(x)]
        return self._each(
            count,
            [
                *place,
                *operand.locate(x, self.index),
                f"{x}_held[e] = {{}};",
                f"if ({' && '.join(condition for condition in conditions if condition)})",
                f"    {x}_held[e] = load_pack<{operand.width}>({x} + {operand.address(x)});",
                *operand.advance(x, STEP),
            ],
        )

    def _share(self, x: str, operand: Operand, extent: int) -> list[str]:
        """From registers to shared memory, where neighbours along rows or columns of y adjoin."""
        count, place, exists = self._packs(operand, extent)
        width = operand.width
        if width == 1:
            lines = [f"{x}_tile[inner][outer] = {loaded(f'{x}_held[e].at[0]', self.dtype)};"]
        elif operand.depth_in_columns:
            element = loaded(f"{x}_held[e].at[v]", self.dtype)
            lines = [f"for (int v = 0; v < {width}; ++v) {x}_tile[inner + v][outer] = {element};"]
        elif self.accumulated is self.dtype:
            lines = [f"store_pack(&{x}_tile[inner][outer], {x}_held[e]);"]
        else:
            element = loaded(f"{x}_held[e].at[v]", self.dtype)
            lines = [
                f"Pack<float, {width}> wide;",
                f"for (int v = 0; v < {width}; ++v) wide.at[v] = {element};",
                f"store_pack(&{x}_tile[inner][outer], wide);",
            ]
        if exists:
            lines = [f"if ({exists}) {{", *_indented(lines), "}"]
        return self._each(count, [*place, *lines])

    def _each(self, count: int, lines: list[str]) -> list[str]:
        loop = f"for (int e = 0; e < {count}; ++e) {{"
        return ["#pragma unroll", loop, *_indented(lines), "}"]

    # ---- multiplying and storing

    def _multiply(self) -> list[str]:
        tile, of = self.tile, COMPUTED[self.accumulated]
        lines = []
        for x, many, apart, mine in (
            ("a", tile.thread_rows, _apart(tile.rows, tile.thread_rows), "down"),
            ("b", tile.thread_columns, _apart(tile.columns, tile.thread_columns), "across"),
        ):
            if many == 4:
                lines.append(f"const auto {x}_part = load_pack<4>(&{x}_tile[d][4 * {mine}]);")
                continue
            lines += [
                f"Pack<{of}, 4> {x}_part[{many // 4}];",
                f"for (int q = 0; q < {many // 4}; ++q)",
                f"    {x}_part[q] = load_pack<4>(&{x}_tile[d][{apart} * q + 4 * {mine}]);",
            ]
        a, b = (
            f"{x}_part.at[{i}]" if many == 4 else f"{x}_part[{i} / 4].at[{i} % 4]"
            for x, i, many in (("a", "i", tile.thread_rows), ("b", "j", tile.thread_columns))
        )
        return [
            "#pragma unroll",
            f"for (int d = 0; d < {STEP}; ++d) {{",
            *_indented(lines),
            f"    for (int i = 0; i < {tile.thread_rows}; ++i)",
            f"        for (int j = 0; j < {tile.thread_columns}; ++j)",
            f"            sums[i][j] += {a} * {b};",
            "}",
        ]

    def _store(self) -> list[str]:
        tile = self.tile
        return [
            "#pragma unroll",
            f"for (int i = 0; i < {tile.thread_rows}; ++i) {{",
            f"    const {self.index} row = first_row + "
            f"{_among('i', 'down', tile.rows, tile.thread_rows)};",
            "    if (row >= rows) break;",
            f"    const {self.index} y_at = {self._row_address()};",
            "    #pragma unroll",
            f"    for (int j = 0; j < {tile.thread_columns}; j += {self.width}) {{",
            f"        const {self.index} column = first_column + "
            f"{_among('j', 'across', tile.columns, tile.thread_columns)};",
            "        if (column >= columns) break;",
            f"        const {self.index} at = y_at + column"
            f"{'' if self.adjacent else ' * y_column'};",
            *_indented(_indented(self._finish())),
            "    }",
            "}",
        ]

    def _row_address(self) -> str:
        part = " + blockIdx.z * y_part" if self.to_parts else ""
        if not self.phases:
            return f"y_first + row * y_row{part}"
        return dedent(
            f"""\
            y_first + row / count_w / count_h * y_image
                + (first_output_h + row / count_w % count_h * stride_h) * y_line
                + (first_output_w + row % count_w * stride_w) * y_pixel{part}"""
        ).replace("\n", "\n    ")

    def _finish(self) -> list[str]:
        """Elements j, j + 1, ... of row i."""
        if self.to_parts and self.width == 1:
            return ["y[at] = sums[i][j];"]
        finish, width = f"{self.symbol}_finish", self.width
        output = self.accumulated if self.to_parts else self.epilogue.dtypes[-1]
        if width == 1:
            operands = self.epilogue.single("at", "(y_first + column)")
            return [f"y[at] = {finish}({', '.join(['sums[i][j]', *operands])});"]
        element, packs = "sums[i][j + v]", []
        if not self.to_parts:
            packs = self.epilogue.packs(width, "at", "y_first + column")
            element = f"{finish}({', '.join([element, *self.epilogue.of_pack('v')])})"
        return [
            *packs,
            f"Pack<{STORED[output]}, {width}> pack;",
            f"for (int v = 0; v < {width}; ++v) pack.at[v] = {element};",
            "store_pack(y + at, pack);",
        ]


def _apart(extent: int, mine: int) -> int:
    """The distance between a thread's fours along a tile."""
    return extent * 4 // mine


def _among(name: str, thread: str, extent: int, mine: int) -> str:
    """Where a thread's element lies along a tile."""
    if mine == 4:
        return f"4 * {thread} + {name}"
    return f"{name} / 4 * {_apart(extent, mine)} + 4 * {thread} + {name} % 4"


def _indented(lines: list[str]) -> list[str]:
    return [indent(line, "    ") for line in lines]
