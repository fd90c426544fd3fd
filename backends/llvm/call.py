"""What the ops of a program become: calls of kernels with the places of their operands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from minigraph.backend import Slot
from minigraph.backends.llvm.language.code import KernelCode
from minigraph.backends.llvm.target import Target
from minigraph.ir.spec import TensorSpec
from minigraph.lowering import call as lowering
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
        name, taken, sizes = type(self.code).__name__, self.code.pointers, self.code.sizes
        given = len(self.reads) + len(self.writes)
        if given != taken:
            raise ValueError(f"Expected {taken} places for {name}, got {given}")
        if len(self.sizes) != sizes:
            raise ValueError(f"Expected {sizes} sizes for {name}, got {len(self.sizes)}")


@dataclass(frozen=True, slots=True)
class Binding(lowering.BoundStep):
    """One step of a program, with what its kernels are chosen by."""

    prepared: Slot | None  # the algorithm's ``prepared`` bytes: packed weights
    threads: int
    target: Target


@dataclass(frozen=True, slots=True)
class Context:
    """What candidates may depend on beside the op and its specs."""

    threads: int
    target: Target


BYTES_PER_SECOND = 1e10  # only the ratio of times counts


def memory_seconds(op: Any, inputs: tuple[TensorSpec, ...]) -> float:
    """The expected time of an op that waits for memory."""
    return op.cost(*inputs).bytes / BYTES_PER_SECOND


Lowering = lowering.Lowering[Context, Binding, Call]
"""One op's row in a table: which algorithms there are, and how a step becomes calls."""

simple = lowering.OneAlgorithm[Context, Binding, Call]("llvm", memory_seconds)
"""The lowering of an op with one algorithm, given its calls."""
