"""What every way of computing a convolution offers, and how its time is estimated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from minigraph.backend import Algorithm
from minigraph.backends.llvm.call import Binding, Call, Context
from minigraph.ir.spec import DType, TensorSpec
from minigraph.lowering.epilogue import anchor_of, anchor_operands
from minigraph.ops.geometry import ConvGeometry

_CLOCK = 2.5e9  # Hz
NOMINAL_THREADS = 2
_BANDWIDTH = 1.2e10  # bytes a second
_ATTAINED = 0.8  # of the multiply-adds that could be done
_ADDRESS_CYCLES = 4  # to note an address and to start what is read there


@dataclass(frozen=True)
class Method:
    """One way to run an op, fused or not: its name, when it can, and its calls."""

    name: str
    algorithm: Callable[[str, Problem, Context], Algorithm | None]
    """Given the method's name: what it needs and takes, or None where it cannot."""
    calls: Callable[[Binding], Sequence[Call]]


@dataclass(frozen=True)
class Problem:
    """A convolution in one of its directions: what methods decide by."""

    op: Any  # the anchor
    geometry: ConvGeometry
    dtype: DType
    operands: tuple[int, ...]  # which of the node's are the anchor's
    bytes: int  # of all operands and results


def problem_of(op: Any, inputs: Sequence[TensorSpec]) -> Problem:
    """The convolution of a node, fused or not."""
    anchor = anchor_of(op)
    operands = tuple(anchor_operands(op, range(len(inputs))))
    specs = [inputs[number] for number in operands]
    geometry = anchor.geometry(*specs)
    return Problem(anchor, geometry, specs[0].dtype, operands, op.cost(*inputs).bytes)


def estimated_seconds(
    context: Context, dtype: DType, multiply_adds: float, moved: float, attained: float = _ATTAINED
) -> float:
    """Time of a kernel on a few threads: its arithmetic, and its traffic with memory.

    Not on as many as there are: what is chosen must not depend on them, and so no bit of a result.
    """
    lanes = context.target.lanes(8 if dtype is DType.FLOAT64 else 4)
    rate = 2 * lanes * _CLOCK * attained * NOMINAL_THREADS  # two units of multiply-adds
    return multiply_adds / rate + moved / _BANDWIDTH


def address_seconds(geometry: ConvGeometry) -> float:
    """Time that a table of addresses takes (see ``indirection.py``): one a tap and pixel."""
    g = geometry
    addresses = g.batch * g.out_height * g.out_width * g.kernel[0] * g.kernel[1]
    return addresses * _ADDRESS_CYCLES / _CLOCK / NOMINAL_THREADS
