"""Epilogues within kernels: what is done to results before they are stored.

Kernels of anchors do not know what: they finish every element by the function of their
``Epilogue``.
"""

from __future__ import annotations

from dataclasses import dataclass

from minigraph.backend import Slot
from minigraph.backends.cupy.call import Binding, Call, blocks_for, index_type
from minigraph.backends.cupy.code import COMPUTED, STORED, KernelCode, loaded, stored
from minigraph.backends.cupy.kernels.expressions import names, statements
from minigraph.ir.spec import DType
from minigraph.lowering.epilogue import EpilogueBody, Kind, epilogue_places
from minigraph.ops.fused import Body


@dataclass(frozen=True)
class Epilogue(EpilogueBody):
    """An epilogue as part of the fields of a kernel's code. Operands of ``Kind.TENSOR`` are at the
    same place in memory as the result."""

    @property
    def comment(self) -> str:
        return "".join(f", {instruction.op.name}" for instruction in self.instructions)

    @property
    def names(self) -> list[str]:
        """Of the operands beside the result."""
        return [f"x{i}" for i in range(1, 1 + len(self.kinds))]

    @property
    def pointers(self) -> list[str]:
        """Declarations of the operands, which a kernel reads after its own."""
        named = zip(self.names, self.dtypes[1:], strict=False)
        return [f"const {STORED[dtype]}* {name}" for name, dtype in named]

    def function(self, name: str) -> str:
        """``__device__`` function: from a result and the operands' elements to what is stored."""
        given = [f"v{i}" for i in range(1 + len(self.kinds))]
        parameters = ", ".join(
            f"{COMPUTED[dtype]} {value}" for value, dtype in zip(given, self.dtypes, strict=False)
        )
        lines, last = [], given[0]
        if self.instructions:
            number = len(given) + len(self.instructions) - 1
            body = Body(len(given), self.instructions, (number,))
            lines, last = statements(body, self.dtypes[:-1], given), names(body, given)[-1]
        lines.append(f"return {stored(last, self.dtypes[-1])};")
        text = "\n".join(f"    {line}" for line in lines)
        return f"__device__ inline {STORED[self.dtypes[-1]]} {name}({parameters})\n{{\n{text}\n}}"

    def packs(self, width: int, at: str, channel: str) -> list[str]:
        """Statements that load the operands of neighbouring results, for ``of_pack``."""
        found = []
        for name, kind in zip(self.names, self.kinds, strict=True):
            if kind is not Kind.SCALAR:
                place = channel if kind is Kind.CHANNEL else at
                found.append(f"const auto {name}_pack = load_pack<{width}>({name} + {place});")
        return found

    def of_pack(self, k: str) -> list[str]:
        """Element k of what ``packs`` loaded."""
        return [
            loaded("*" + name if kind is Kind.SCALAR else f"{name}_pack.at[{k}]", dtype)
            for name, kind, dtype in zip(self.names, self.kinds, self.dtypes[1:], strict=False)
        ]

    def single(self, at: str, channel: str) -> list[str]:
        """The operands of one result."""
        places = {Kind.SCALAR: "0", Kind.CHANNEL: channel, Kind.TENSOR: at}
        return [
            loaded(f"{name}[{places[kind]}]", dtype)
            for name, kind, dtype in zip(self.names, self.kinds, self.dtypes[1:], strict=False)
        ]


# ---- results that come in parts


@dataclass(frozen=True)
class FinishParts(KernelCode):
    """``y[i] = epilogue(parts[0][i] + parts[1][i] + ...)``, a thread an element, in this order.

    Neighbouring threads read neighbouring elements of each part.
    """

    accumulated: DType
    epilogue: Epilogue
    index: str

    @property
    def comment(self) -> str:
        return f"sum of parts in their order{self.epilogue.comment}"

    @property
    def pointers(self) -> list[str]:
        output = STORED[self.epilogue.dtypes[-1]]
        return [f"const {STORED[self.accumulated]}* parts", *self.epilogue.pointers, f"{output}* y"]

    @property
    def sizes(self) -> list[str]:
        return ["size", "count", "channels"]

    def functions(self) -> str:
        return self.epilogue.function(f"{self.symbol}_finish")

    def body(self) -> str:
        given = ", ".join(["sum", *self.epilogue.single("i", "i % channels")])
        return f"""
            const {self.index} i = global_thread<{self.index}>();
            if (i >= size) return;
            {COMPUTED[self.accumulated]} sum = parts[i];
            #pragma unroll 8
            for ({self.index} part = 1; part < count; ++part) sum += parts[part * size + i];
            y[i] = {self.symbol}_finish({given});
        """


def finish_call(binding: Binding, parts: Slot, count: int) -> Call:
    """Sum parts that each lie as the output does, and finish the sums."""
    y, operands = binding.output, epilogue_places(binding)
    code = FinishParts(parts.spec.dtype, Epilogue.of(binding), index_type(parts, y, *operands))
    channels = y.spec.shape[1] if y.spec.ndim in (2, 4) else 1
    sizes = (y.spec.size, count, channels)
    return Call(code, (parts, *operands), (y,), sizes, blocks_for(y.spec.size, code.threads))
