"""Fused nodes: ops that only passes create."""

from __future__ import annotations

from dataclasses import dataclass

from minigraph.ir.errors import SpecError
from minigraph.ir.op import Cost, Op, memory_cost
from minigraph.ir.spec import TensorSpec
from minigraph.ops.broadcast import Sum
from minigraph.ops.elementwise import Elementwise


@dataclass(frozen=True)
class Instruction:
    """One op of a body. Operands count the fused node's inputs first, then earlier results."""

    op: Op
    operands: tuple[int, ...]


@dataclass(frozen=True)
class Body:
    """A small straight-line program with ``inputs`` operands; ``outputs`` are operand numbers.

    At most one *anchor* (the first instruction: a convolution, say); the rest is elementwise in
    the anchor's iteration space.
    """

    inputs: int
    instructions: tuple[Instruction, ...]
    outputs: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.instructions:
            raise SpecError("Expected at least one instruction in a body, got none")
        for position, instruction in enumerate(self.instructions):
            if any(not 0 <= i < self.inputs + position for i in instruction.operands):
                raise SpecError(f"Expected operands defined before instruction {position}")
            if position > 0 and not isinstance(instruction.op, Elementwise):
                raise SpecError(f"Expected elementwise ops after the anchor, got {instruction.op}")
        if any(not 0 <= i < self.inputs + len(self.instructions) for i in self.outputs):
            raise SpecError(f"Expected outputs that exist, got {self.outputs}")

    def specs(self, *inputs: TensorSpec) -> list[TensorSpec]:
        """Specs of all operands: the inputs, then each instruction's (single) result."""
        if len(inputs) != self.inputs:
            raise SpecError(f"Expected {self.inputs} inputs, got {len(inputs)}")
        specs = list(inputs)
        for instruction in self.instructions:
            (spec,) = instruction.op.infer(*(specs[i] for i in instruction.operands))
            specs.append(spec)
        return specs

    @property
    def anchor(self) -> Instruction:
        return self.instructions[0]

    @property
    def is_chain(self) -> bool:
        """Whether each instruction works on the result before it, and the last alone is kept.

        Other bodies are for kernels that store several results, or compute beside the anchor.
        """
        last = self.inputs + len(self.instructions) - 1
        earlier = range(self.inputs, last)
        read = [set(i.operands).difference(range(self.inputs)) for i in self.instructions[1:]]
        return self.outputs == (last,) and read == [{number} for number in earlier]


@dataclass(frozen=True)
class Fused(Op):
    """One node that does the work of several: intermediates never reach memory."""

    body: Body

    def infer(self, *inputs: TensorSpec) -> tuple[TensorSpec, ...]:
        specs = self.body.specs(*inputs)
        return tuple(specs[i] for i in self.body.outputs)

    @property
    def absolute_attributes(self) -> tuple[str, ...]:
        return ("body",) if any(i.op.absolute_attributes for i in self.body.instructions) else ()

    def cost(self, *inputs: TensorSpec) -> Cost:
        specs = self.body.specs(*inputs)
        flops = sum(
            instruction.op.cost(*(specs[i] for i in instruction.operands)).flops
            for instruction in self.body.instructions
        )
        return Cost(
            flops,
            sum(spec.nbytes for spec in inputs),
            sum(specs[i].nbytes for i in self.body.outputs),
        )


@dataclass(frozen=True)
class FusedSum(Op):
    """Sums over some axes of an elementwise body's outputs, which never reach memory."""

    body: Body
    axes: tuple[int, ...] | None
    keepdims: bool

    def infer(self, *inputs: TensorSpec) -> tuple[TensorSpec, ...]:
        specs, total = self.body.specs(*inputs), Sum(self.axes, self.keepdims)
        return tuple(spec for i in self.body.outputs for spec in total.infer(specs[i]))

    def cost(self, *inputs: TensorSpec) -> Cost:
        specs, outputs = self.body.specs(*inputs), self.infer(*inputs)
        flops = sum(spec.size for spec in specs[self.body.inputs :])
        flops += sum(specs[i].size for i in self.body.outputs)
        return memory_cost(flops, inputs, outputs)
