"""Sums over windows of channels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from minigraph.backends.cupy.call import Binding, Call, Lowering, blocks_for, index_type, simple
from minigraph.backends.cupy.code import COMPUTED, STORED, KernelCode, loaded, stored
from minigraph.backends.cupy.kernels.expressions import literal
from minigraph.backends.cupy.kernels.lines import Layout, line_space
from minigraph.ir.spec import DType
from minigraph.ops.local_response import ChannelWindowSum


@dataclass(frozen=True)
class WindowSums(KernelCode):
    """``y[e] = x[e - before] + ... + x[e + after]`` along each line, in this order.

    A thread has one element; what its neighbours read too comes from a cache.
    """

    dtype: DType
    layout: Layout
    index: str

    comment = "sums over windows of lines"

    @property
    def pointers(self) -> list[str]:
        return [f"const {STORED[self.dtype]}* x", f"{STORED[self.dtype]}* y"]

    @property
    def sizes(self) -> list[str]:
        return ["before", "after", *self.layout.sizes(["x", "y"])]

    def body(self) -> str:
        index, of = self.index, COMPUTED[self.dtype]
        number, e = "all % lines", "all / lines"  # neighbours are adjacent lines ...
        if not self.layout.across:
            number, e = "all / elements", "all % elements"  # ... or elements of one
        x = loaded("x[x_at + i * x_along]", self.dtype)
        return "\n".join(
            [
                f"const {index} all = global_thread<{index}>();",
                "if (all >= elements * lines) return;",
                f"const {index} number = {number}, e = {e};",
                *self.layout.offsets("number", ["x", "y"], index),
                f"const {index} first = e > before ? e - before : 0;",
                f"const {index} last = elements - 1 - e > after ? e + after : elements - 1;",
                f"{of} total = {literal(0, self.dtype)};",
                f"for ({index} i = first; i <= last; ++i)",
                f"    total += {x};",
                f"y[y_at + e * y_along] = {stored('total', self.dtype)};",
            ]
        )


def _calls(binding: Binding) -> list[Call]:
    (x,), y, op = binding.inputs, binding.output, binding.op
    if x.spec.size == 0:
        return []
    space = line_space(1, (x, y))
    # More channels than there are add nothing; without them the numbers fit the index type.
    before, after = (min(size, space.elements) for size in (op.before, op.after))
    code = WindowSums(x.spec.dtype, space.layout, index_type(x, y))
    sizes = (before, after, *space.sizes)
    return [Call(code, (x,), (y,), sizes, blocks_for(x.spec.size, code.threads))]


LOWERINGS: Mapping[type, Lowering] = {ChannelWindowSum: simple(_calls)}
