"""What a convolution or matrix product does to its results before it stores them.

A fused node's body is an anchor (the convolution) and elementwise ops on its result: bias,
activation, residual, the mask of a ReLU's gradient. Kernels of anchors do not know which: they
finish every element by the function of their ``Epilogue``. A plain node has the empty epilogue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from minigraph.backend import Refused, Slot, Supported
from minigraph.backends.cupy.call import Binding, Call, blocks_for, index_type
from minigraph.backends.cupy.code import COMPUTED, STORED, KernelCode, loaded, stored
from minigraph.backends.cupy.kernels.expressions import EXPRESSIONS, names, statements
from minigraph.ir.spec import DType, TensorSpec
from minigraph.ops.fused import Body, Fused, Instruction
from minigraph.ops.matmul import MatMul


class Kind(Enum):
    """How an operand of an epilogue lies beside the results."""

    SCALAR = "scalar"  # one number for all
    CHANNEL = "channel"  # one a channel
    TENSOR = "tensor"  # one an element, at the same place in memory as the result


@dataclass(frozen=True)
class Epilogue:
    """Elementwise instructions on an anchor's results. Operand 0 is the result; then the others.

    Part of the fields of a kernel's code: it says nothing of the anchor.
    """

    instructions: tuple[Instruction, ...]
    kinds: tuple[Kind, ...]  # of the operands beside the result
    dtypes: tuple[DType, ...]  # of the result, of these operands, and of what is stored

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


# ---- nodes


def anchor_of(op: Any) -> Any:
    """The convolution (or product) that a node runs, fused or not."""
    return op.body.anchor.op if isinstance(op, Fused) else op


def anchor_operands(op: Any, operands: Sequence[Any]) -> list[Any]:
    """The anchor's own operands among those of the node."""
    if not isinstance(op, Fused):
        return list(operands)
    return [operands[number] for number in op.body.anchor.operands]


def epilogue_of(binding: Binding) -> Epilogue:
    """The epilogue of a node, fused or not."""
    output = binding.output.spec.dtype
    if not isinstance(binding.op, Fused):
        return Epilogue((), (), (output, output))
    body, specs = binding.op.body, [slot.spec for slot in binding.inputs]
    extras = _extra_operands(body)
    result = body.specs(*specs)[body.inputs]
    kinds = tuple(_kind(specs[number], result) for number in extras)
    assert all(kind is not None for kind in kinds)
    # Operand numbers: the anchor's result becomes 0, the others follow, then later results.
    position = {body.inputs: 0} | {number: 1 + i for i, number in enumerate(extras)}
    for i in range(1, len(body.instructions)):
        position[body.inputs + i] = len(extras) + i
    instructions = tuple(
        Instruction(instruction.op, tuple(position[n] for n in instruction.operands))
        for instruction in body.instructions[1:]
    )
    dtypes = (result.dtype, *(specs[number].dtype for number in extras), output)
    return Epilogue(instructions, kinds, dtypes)  # type: ignore[arg-type]


def epilogue_places(binding: Binding) -> list[Slot]:
    """What an epilogue reads."""
    if not isinstance(binding.op, Fused):
        return []
    return [binding.inputs[number] for number in _extra_operands(binding.op.body)]


def _extra_operands(body: Body) -> list[int]:
    """Numbers of a body's operands that instructions after the anchor read."""
    later = [n for i in body.instructions[1:] for n in i.operands if n < body.inputs]
    return list(dict.fromkeys(later))


def can_finish(body: Body, inputs: Sequence[TensorSpec]) -> Supported | Refused:
    """Whether all that follows the anchor can be an epilogue."""
    if body.outputs != (body.inputs + len(body.instructions) - 1,):
        return Refused("only the last result of a body can be stored")
    specs = body.specs(*inputs)
    result = specs[body.inputs]
    if result.ndim not in (2, 4) or (isinstance(body.anchor.op, MatMul) and result.ndim == 4):
        return Refused("matrices in batches have no epilogue")
    for instruction in body.instructions[1:]:
        if type(instruction.op) not in EXPRESSIONS:
            return Refused(f"{instruction.op.name} is not elementwise")
    if any(spec.shape != result.shape for spec in specs[body.inputs :]):
        return Refused("the shape changes within the body")
    if any(_kind(specs[number], result) is None for number in _extra_operands(body)):
        return Refused("an operand is neither a scalar, nor one a channel, nor one an element")
    return Supported()


def _kind(spec: TensorSpec, result: TensorSpec) -> Kind | None:
    """How an operand lies beside results whose channels are axis 1."""
    if spec.shape == result.shape:
        return Kind.TENSOR
    if spec.size == 1:
        return Kind.SCALAR
    padded = (1,) * (result.ndim - spec.ndim) + spec.shape
    channels = (1, result.shape[1]) + (1,) * (result.ndim - 2)
    return Kind.CHANNEL if padded == channels else None


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
    code = FinishParts(parts.spec.dtype, epilogue_of(binding), index_type(parts, y, *operands))
    channels = y.spec.shape[1] if y.spec.ndim in (2, 4) else 1
    sizes = (y.spec.size, count, channels)
    return Call(code, (parts, *operands), (y,), sizes, blocks_for(y.spec.size, code.threads))
