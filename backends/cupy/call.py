"""What the ops of a program become: launches of kernels with the places of their operands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from minigraph.backends.cupy.code import KernelCode
from minigraph.backends.cupy.cudnn.plans import Cudnn
from minigraph.backends.cupy.device import Device, DeviceInfo, Dimensions
from minigraph.ir.spec import TensorSpec
from minigraph.lowering import call as lowering
from minigraph.places import Place


@dataclass(frozen=True, slots=True)
class Call:
    """One launch of a kernel. It gets pointers to all that it reads, then to all that it writes.

    ``grid`` is the number of blocks, or (x, y, z); ``block`` likewise (all of the code's threads).
    """

    code: KernelCode
    reads: tuple[Place, ...]
    writes: tuple[Place, ...]
    sizes: tuple[int, ...]
    grid: int | Dimensions
    block: int | Dimensions = 0  # 0: as many as the code's threads
    shared_bytes: int = 0  # of dynamic shared memory

    def __post_init__(self) -> None:
        given, taken = len(self.reads) + len(self.writes), len(self.code.pointers)
        if given != taken:
            raise ValueError(f"Expected {taken} places for {self.code.symbol}, got {given}")
        if len(self.sizes) != len(self.code.sizes):
            raise ValueError(
                f"Expected the sizes {', '.join(self.code.sizes)} for {self.code.symbol}, "
                f"got {self.sizes}"
            )


@dataclass(frozen=True, slots=True)
class LibraryCall:
    """Work that a library queues: ``queue(device, addresses of reads and writes)``.

    It must be allowed while a stream is captured: no allocation, no synchronisation.
    """

    queue: Callable[[Device, Sequence[int]], None]
    reads: tuple[Place, ...]
    writes: tuple[Place, ...]


AnyCall = Call | LibraryCall


@dataclass(frozen=True, slots=True)
class Context:
    """What candidates may depend on beside the op and its specs."""

    info: DeviceInfo
    cudnn: Cudnn | None = None  # where the library is there


@dataclass(frozen=True, slots=True)
class Binding(lowering.BoundStep):
    """One step of a program, with what its kernels are chosen by."""

    info: DeviceInfo
    cudnn: Cudnn | None = None


LAUNCH_SECONDS = 2e-6
BYTES_PER_SECOND = 2e12  # of a data centre's device: only the ratio of times counts


def memory_seconds(op: Any, inputs: tuple[TensorSpec, ...]) -> float:
    """The expected time of an op that waits for memory."""
    return LAUNCH_SECONDS + op.cost(*inputs).bytes / BYTES_PER_SECOND


Lowering = lowering.Lowering[Context, Binding, AnyCall]
"""One op's row in a table: which algorithms there are, and how a step becomes calls."""

simple = lowering.OneAlgorithm[Context, Binding, AnyCall]("cuda", memory_seconds)
"""The lowering of an op with one algorithm, given its calls."""


def index_type(*places: Place) -> str:
    """The C type for positions in these places: "int" where 31 bits reach every element.

    Half of that is asked for, so that a position may be computed beyond the end before it is
    compared with it.
    """
    return "int" if all(_reach(place) < 2**30 for place in places) else "long long"


def _reach(place: Place) -> int:
    """Elements from the first to the last, gaps included."""
    axes = zip(place.spec.shape, place.strides, strict=True)
    return max(place.spec.size, sum((n - 1) * abs(stride) for n, stride in axes) + 1)


def blocks_for(items: int, threads: int = 256) -> int:
    """Blocks of so many threads for one thread an item."""
    return max(-(-items // threads), 1)
