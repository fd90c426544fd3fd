"""What goes through each line of an axis: positions of extremes, running sums."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from minigraph.backends.cupy.call import Binding, Call, Lowering, index_type, simple
from minigraph.backends.cupy.code import COMPUTED, STORED, KernelCode, loaded, stored
from minigraph.backends.cupy.kernels.scan_lines import Layout, line_space
from minigraph.ir.spec import DType
from minigraph.iteration import strides_without
from minigraph.ops import reduce
from minigraph.places import along


@dataclass(frozen=True)
class ExtremePosition(KernelCode):
    """Where each line has its first largest or smallest element; not a number is both.

    The threads of a line take every ``rows``-th element; of two that found equal ones, the first
    is right. Sizes: those of the lines.
    """

    dtype: DType
    layout: Layout
    is_largest: bool
    index: str

    @property
    def comment(self) -> str:
        name = "largest" if self.is_largest else "smallest"
        return f"position of the {name} of {self.dtype} elements, {self.layout.rows} threads a line"

    @property
    def pointers(self) -> list[str]:
        return [f"const {STORED[self.dtype]}* x", "long long* y"]

    @property
    def sizes(self) -> list[str]:
        return self.layout.names(["x"], ["y"])

    def functions(self) -> str:
        kind, sign = COMPUTED[self.dtype], ">" if self.is_largest else "<"
        ahead = f"a {sign} b || (a != a && b == b)" if self.dtype.is_floating else f"a {sign} b"
        return f"""
        // Whether a is ahead of b.
        __device__ inline bool {self.symbol}_ahead({kind} a, {kind} b) {{ return {ahead}; }}
        """

    def body(self) -> str:
        kind, index, rows = COMPUTED[self.dtype], self.index, self.layout.rows
        lines = [
            *self.layout.statements(index, ["x", "y"]),
            f"{kind} best = 0;",
            f"{index} at = elements;  // none yet",
            "if (is_there) {",
            "    #pragma unroll 4",
            f"    for ({index} e = row; e < elements; e += {rows}) {{",
            f"        const {kind} element = {loaded('x[e * x_next]', self.dtype)};",
            f"        if (at == elements || {self.symbol}_ahead(element, best)) {{",
            "            best = element;",
            "            at = e;",
            "        }",
            "    }",
            "}",
            *(self._merged() if rows > 1 else []),
            "if (is_there && row == 0) *y = at;",
        ]
        return "\n".join(lines)

    def _merged(self) -> list[str]:
        """The first half of a line's threads looks at what the second found, and so on."""
        kind, columns, ahead = COMPUTED[self.dtype], self.layout.columns, f"{self.symbol}_ahead"
        here = f"row * {columns} + column"
        return [
            f"__shared__ {kind} bests[{self.threads}];",
            f"__shared__ {self.index} places[{self.threads}];",
            f"bests[{here}] = best;",
            f"places[{here}] = at;",
            f"for (int half = {self.layout.rows // 2}; half > 0; half /= 2) {{",
            "    __syncthreads();",
            "    if (row < half) {",
            f"        const {kind} other = bests[{here} + half * {columns}];",
            f"        const {self.index} there = places[{here} + half * {columns}];",
            f"        const bool is_equal = !{ahead}(best, other) && !{ahead}(other, best);",
            "        if (there < elements &&",
            f"            (at == elements || {ahead}(other, best) || (is_equal && there < at))) {{",
            f"            bests[{here}] = best = other;",
            f"            places[{here}] = at = there;",
            "        }",
            "    }",
            "}",
        ]


@dataclass(frozen=True)
class RunningSum(KernelCode):
    """The sum of all elements up to each; floats are summed in float64.

    The threads of a line take neighbouring elements; their running sums, made by adding what is
    1, 2, 4, ... before, follow the total of all before them. Sizes: those of the lines, from the
    element on that comes first.
    """

    dtype: DType
    layout: Layout
    index: str

    @property
    def comment(self) -> str:
        return f"running sums of {self.dtype} elements, {self.layout.rows} threads a line"

    @property
    def pointers(self) -> list[str]:
        return [f"const {STORED[self.dtype]}* x", f"{STORED[self.dtype]}* y"]

    @property
    def sizes(self) -> list[str]:
        return self.layout.names(["x", "y"], [])

    @property
    def _sum(self) -> str:
        return "double" if self.dtype.is_floating else "unsigned long long"  # which wraps around

    def body(self) -> str:
        rows, index = self.layout.rows, self.index
        read = loaded("x[e * x_next]", self.dtype)
        result = "sum" if self.dtype.is_floating else f"({STORED[self.dtype]})sum"
        return "\n".join(
            [
                *self.layout.statements(index, ["x", "y"]),
                *([f"__shared__ {self._sum} sums[{self.threads}];"] if rows > 1 else []),
                f"{self._sum} total = 0;",
                f"for ({index} first = 0; first < elements; first += {rows}) {{",
                f"    const {index} e = first + row;",
                "    const bool has_one = is_there && e < elements;",
                f"    {self._sum} sum = has_one ? ({self._sum}){read} : 0;",
                *(self._scanned() if rows > 1 else []),
                "    sum += total;",
                f"    if (has_one) y[e * y_next] = {stored(result, self.dtype)};",
                *(self._carried() if rows > 1 else ["    total = sum;"]),
                "}",
            ]
        )

    def _scanned(self) -> list[str]:
        here, columns = f"row * {self.layout.columns} + column", self.layout.columns
        return [
            f"    sums[{here}] = sum;",
            f"    for (int before = 1; before < {self.layout.rows}; before *= 2) {{",
            "        __syncthreads();",
            f"        if (row >= before) sum += sums[{here} - before * {columns}];",
            "        __syncthreads();",
            f"        sums[{here}] = sum;",
            "    }",
        ]

    def _carried(self) -> list[str]:
        last = f"{self.layout.rows - 1} * {self.layout.columns} + column"
        return ["    __syncthreads();", f"    total += sums[{last}];", "    __syncthreads();"]


# ---- calls


def _extreme_position(binding: Binding, is_largest: bool) -> list[Call]:
    (x,), y, axis = binding.inputs, binding.output, binding.op.axis
    if y.spec.size == 0:
        return []
    space = line_space(axis, (x,), (strides_without(y, axis, x.spec.ndim),))
    code = ExtremePosition(x.spec.dtype, space.layout, is_largest, index_type(x, y))
    return [Call(code, (x,), (y,), space.sizes, space.blocks)]


def _running_sum(binding: Binding) -> list[Call]:
    (x,), y = binding.inputs, binding.output
    if x.spec.size == 0:
        return []
    if binding.op.reverse:
        axis = binding.op.axis % x.spec.ndim
        backwards = range(x.spec.shape[axis])[::-1]
        x, y = (along(slot, axis, backwards) for slot in (x, y))
    space = line_space(binding.op.axis, (x, y))
    code = RunningSum(x.spec.dtype, space.layout, index_type(x, y))
    return [Call(code, (x,), (y,), space.sizes, space.blocks)]


LOWERINGS: Mapping[type, Lowering] = {
    reduce.ArgMax: simple(partial(_extreme_position, is_largest=True)),
    reduce.ArgMin: simple(partial(_extreme_position, is_largest=False)),
    reduce.CumSum: simple(_running_sum, overwrites=(0,)),
}
