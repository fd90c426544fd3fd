"""Softmax and log-softmax along any axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from minigraph.backends.cupy.call import Binding, Call, Lowering, blocks_for, index_type, simple
from minigraph.backends.cupy.code import COMPUTED, STORED, KernelCode, loaded, stored
from minigraph.backends.cupy.kernels.expressions import function, literal
from minigraph.backends.cupy.kernels.lines import Layout, line_space
from minigraph.ir.spec import DType
from minigraph.ops.softmax import LogSoftmax, Softmax


@dataclass(frozen=True)
class SoftmaxLines(KernelCode):
    """``e^x / sum(e^x)`` of each line, or its logarithm, with x less its maximum.

    A line is read three times: for its maximum, for the sum, for the result. All but the first
    reading finds it in a cache.
    """

    dtype: DType
    logarithm: bool
    layout: Layout
    index: str

    @property
    def comment(self) -> str:
        name = "log-softmax" if self.logarithm else "softmax"
        return f"{name} of {self.dtype} lines, {self.layout.lanes} threads to a line"

    @property
    def pointers(self) -> list[str]:
        return [f"const {STORED[self.dtype]}* x", f"{STORED[self.dtype]}* y"]

    @property
    def sizes(self) -> list[str]:
        return self.layout.sizes(["x", "y"])

    def functions(self) -> str:
        return exponential_functions(self.symbol, self.dtype, self.layout)

    def body(self) -> str:
        of, index = COMPUTED[self.dtype], self.index
        x = loaded("x[x_at + e * x_along]", self.dtype)
        exp, log = function("exp", self.dtype), function("log", self.dtype)
        result = f"({x} - largest) - less" if self.logarithm else f"{exp}({x} - largest) * share"
        last = f"const {of} share = {literal(1, self.dtype)} / total;"
        if self.logarithm:  # in two steps: the logarithm is small beside a large maximum
            last = f"const {of} less = {log}(total);"
        return "\n".join(
            [
                *self.layout.shared(of),
                *self.layout.threads(),
                f"const {index} number = ({index})blockIdx.x * {self.layout.lines} + line;",
                f"const {index} stop = number < lines ? elements : 0;",
                *self.layout.offsets("number", ["x", "y"], index),
                *exponential_sums(self.symbol, self.dtype, self.layout, index),
                last,
                self.layout.loop(index),
                f"    y[y_at + e * y_along] = {stored(result, self.dtype)};",
            ]
        )


def exponential_functions(symbol: str, dtype: DType, layout: Layout) -> str:
    """What ``exponential_sums`` calls."""
    of = COMPUTED[dtype]
    largest = layout.merging(f"{symbol}_largest", of, "maximum(a, b)")
    return largest + layout.merging(f"{symbol}_total", of, "a + b")


def exponential_sums(symbol: str, dtype: DType, layout: Layout, index: str) -> Sequence[str]:
    """A line's ``largest`` x, and the ``total`` of ``e^(x - largest)``, for all of its lanes."""
    of, x = COMPUTED[dtype], loaded("x[x_at + e * x_along]", dtype)
    return [
        f"{of} largest = -INFINITY;",
        layout.loop(index),
        f"    largest = maximum(largest, {x});",
        *layout.merge(f"{symbol}_largest", "largest"),
        f"{of} total = {literal(0, dtype)};",
        layout.loop(index),
        f"    total += {function('exp', dtype)}({x} - largest);",
        *layout.merge(f"{symbol}_total", "total"),
    ]


def _calls(binding: Binding, logarithm: bool) -> list[Call]:
    (x,), y = binding.inputs, binding.output
    if x.spec.size == 0:
        return []
    space = line_space(binding.op.axis, (x, y))
    code = SoftmaxLines(x.spec.dtype, logarithm, space.layout, index_type(x, y))
    return [Call(code, (x,), (y,), space.sizes, blocks_for(space.lines, space.layout.lines))]


LOWERINGS: Mapping[type, Lowering] = {
    Softmax: simple(partial(_calls, logarithm=False), overwrites=(0,)),
    LogSoftmax: simple(partial(_calls, logarithm=True), overwrites=(0,)),
}
