"""What the ops of a program become: calls of kernels with the places of their operands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from minigraph.backend import Algorithm, Refused, Slot
from minigraph.backends.llvm.language.code import KernelCode
from minigraph.backends.llvm.target import Target
from minigraph.ir.spec import TensorSpec
from minigraph.lowering.call import BoundStep
from minigraph.places import Place


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a kernel. It gets pointers to all that it reads, then to all that it writes.

    ``reads`` and ``writes`` name every byte that the kernel may touch: calls that share none of
    them may run at the same time.
    """

    code: KernelCode
    reads: tuple[Place, ...]
    writes: tuple[Place, ...]
    sizes: tuple[int, ...]
    prepares: bool = False  # fills ``Binding.prepared``, from operands that may never change

    def __post_init__(self) -> None:
        given, taken = len(self.reads) + len(self.writes), self.code.pointers
        if given != taken:
            raise ValueError(f"Expected {taken} places for {self.code.symbol}, got {given}")
        if len(self.sizes) != self.code.sizes:
            raise ValueError(
                f"Expected {self.code.sizes} sizes for {self.code.symbol}, got {len(self.sizes)}"
            )


@dataclass(frozen=True, slots=True)
class Binding(BoundStep):
    """One step of a program, with what its kernels are chosen by."""

    prepared: Slot | None  # the algorithm's ``prepared`` bytes: packed weights
    threads: int
    target: Target


@dataclass(frozen=True, slots=True)
class Context:
    """What candidates may depend on beside the op and its specs."""

    threads: int
    target: Target


Candidates = Callable[[Any, tuple[TensorSpec, ...], Context], tuple[Algorithm, ...] | Refused]


@dataclass(frozen=True, slots=True)
class Lowering:
    """One op's row in a table: which algorithms there are, and how a step becomes calls."""

    candidates: Candidates
    calls: Callable[[Binding], Sequence[Call]]
    refusal: Callable[[Any, tuple[Slot, ...], int, int], Exception] | None = None
    """The error for a refused value: of (op, input slots, position, value)."""
    refused_input: int = 0  # the operand whose values may be refused


def simple(
    calls: Callable[[Binding], Sequence[Call]],
    *,
    overwrites: tuple[int, ...] = (),
    workspace: Callable[[Any, tuple[TensorSpec, ...], Context], int] | None = None,
    name: str = "llvm",
) -> Lowering:
    """A lowering with one algorithm, whose workspace (bytes) follows from the specs."""

    def candidates(
        op: Any, inputs: tuple[TensorSpec, ...], context: Context
    ) -> tuple[Algorithm, ...]:
        size = 0 if workspace is None else workspace(op, inputs, context)
        return (Algorithm(name, size, op.cost(*inputs).bytes / 1e10, overwrites=overwrites),)

    return Lowering(candidates, calls)
