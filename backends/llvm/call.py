"""What the ops of a program become: calls of kernels with the places of their operands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minigraph.backend import Algorithm, Memory, Refused, Slot, Strides, aligned
from minigraph.backends.llvm.language.code import KernelCode
from minigraph.backends.llvm.target import Target
from minigraph.ir.spec import DType, TensorSpec


@dataclass(frozen=True, slots=True)
class External:
    """An array that the caller brings: an input, or room for an output, row by row in memory."""

    name: str
    is_output: bool
    spec: TensorSpec
    strides: Strides


@dataclass(frozen=True, eq=False, slots=True)
class Table:
    """Numbers that a kernel reads and that shapes determine: made once, kept by the runner."""

    array: np.ndarray

    @property
    def spec(self) -> TensorSpec:
        return TensorSpec(self.array.shape, DType.of(self.array.dtype))

    @property
    def strides(self) -> Strides:
        return tuple(step // self.array.itemsize for step in self.array.strides)


Place = Slot | External | Table


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
class Binding:
    """One step of a program, for the function that turns it into calls."""

    op: Any
    algorithm: str
    inputs: tuple[Slot, ...]
    outputs: tuple[Slot | None, ...]  # None: nothing reads it, and the op allows leaving it out
    workspace: Slot | None
    prepared: Slot | None  # the algorithm's ``prepared`` bytes: packed weights
    threads: int
    target: Target

    @property
    def output(self) -> Slot:
        """The first output."""
        first = self.outputs[0]
        assert first is not None
        return first


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


def part(slot: Slot, offset: int, shape: Sequence[int], dtype: DType, strides: Strides) -> Slot:
    """A tensor within a slot's bytes, ``offset`` bytes from its start."""
    spec = TensorSpec(tuple(shape), dtype)
    return replace(slot, spec=spec, offset=slot.offset + offset, strides=strides)


def carve(workspace: Slot | None, *sizes: tuple[DType, int]) -> list[Slot]:
    """Vectors of (dtype, elements) one after the other in a workspace, 64-byte aligned."""
    assert workspace is not None and workspace.memory is not Memory.STATE
    parts, offset = [], 0
    for dtype, count in sizes:
        parts.append(part(workspace, offset, (count,), dtype, (1,)))
        offset += aligned(count * dtype.itemsize)
    return parts


def carved_bytes(*sizes: tuple[DType, int]) -> int:
    """The workspace that ``carve`` needs."""
    return sum(aligned(count * dtype.itemsize) for dtype, count in sizes)


def byte_range(slot: Slot) -> tuple[int, int]:
    """Where a tensor's bytes start, and end, in its arena; strides may be negative."""
    if slot.spec.size == 0:
        return slot.offset, slot.offset
    reaches = [(n - 1) * s for n, s in zip(slot.spec.shape, slot.strides, strict=True)]
    below, above = sum(r for r in reaches if r < 0), sum(r for r in reaches if r > 0)
    itemsize = slot.spec.dtype.itemsize
    return slot.offset + below * itemsize, slot.offset + (above + 1) * itemsize
