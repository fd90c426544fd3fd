"""The boundary between the compiler and what runs a program.

The compiler knows legality, a backend knows ability. A backend lists its candidates for each op,
says which bodies it can fuse, and turns a ``Program`` into a ``Runner``. Backends are found by name
through the entry-point group ``minigraph.backends``; nothing here imports one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

import numpy as np

from minigraph.ir.errors import UnsupportedError
from minigraph.ir.location import Location
from minigraph.ir.op import Op
from minigraph.ir.spec import TensorSpec
from minigraph.ops.fused import Body

ENTRY_POINT_GROUP = "minigraph.backends"
ALIGNMENT = 64  # bytes: a cache line, and the widest vector of today's CPUs


def aligned(size: int) -> int:
    """``size`` in bytes, rounded up to whole cache lines."""
    return -(-size // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True, slots=True)
class Supported:
    """The backend can."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The backend cannot, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One way of a backend to run a node: data to choose by."""

    name: str
    workspace: int = 0  # bytes
    seconds: float = 0.0  # expected time of one run
    relative_error: float = 0.0  # max|error| / max|reference| beyond plain rounding
    overwrites: tuple[
        int, ...
    ] = ()  # operands that output 0 may be written over, element by element


class Memory(Enum):
    """The three kinds of memory."""

    WORK = "work"  # intermediates and workspaces: one arena per executable, offsets fixed
    CACHED = "cached"  # what depends on state and constants alone
    STATE = "state"  # parameters, slots, statistics: shared by all executables of a model


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a value lies: an offset in bytes within an arena, or a state variable by name."""

    memory: Memory
    spec: TensorSpec
    offset: int = 0
    state: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One node to run. An output that nothing reads may be None (``Op.optional_outputs``)."""

    op: Op
    inputs: tuple[Slot, ...]
    outputs: tuple[Slot | None, ...]
    algorithm: Algorithm
    workspace: Slot | None
    name: str
    locations: tuple[Location, ...] = ()


@dataclass(frozen=True, slots=True)
class Commit:
    """A new state that could not be computed in place: copied after the last step."""

    source: Slot
    state: str


@dataclass(frozen=True)
class Program:
    """All that a backend needs: ordered steps over slots. No step writes state before every step
    that may refuse its values has run."""

    steps: tuple[Step, ...]
    cached_steps: tuple[Step, ...]  # run once per version of the state
    commits: tuple[Commit, ...]
    inputs: Mapping[str, Slot]
    outputs: Mapping[str, Slot]
    state: Mapping[str, TensorSpec]
    constants: tuple[tuple[Slot, np.ndarray], ...]
    work_bytes: int
    cached_bytes: int
    cached_reads_state: bool
    writes_state: bool = field(default=False)


class Store(Protocol):
    """State variables on a backend's device. Reads give copies; writes bump the version."""

    version: int

    def allocate(self, name: str, spec: TensorSpec) -> None: ...
    def specs(self) -> Mapping[str, TensorSpec]: ...
    def read(self, name: str) -> np.ndarray: ...
    def write(self, name: str, array: np.ndarray) -> None: ...


class Runner(Protocol):
    """A program bound to its memory."""

    allocated_bytes: int

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> None:
        """One call: inputs (of the program's specs) in, outputs filled, state advanced."""

    def timed_run(
        self, inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]
    ) -> list[float]:
        """The same, with the seconds of each step."""


class Backend(Protocol):
    """What a backend package offers; its entry point is a class taking ``threads``."""

    name: str
    priority: int  # "auto" takes the highest that is available

    @classmethod
    def available(cls) -> Supported | Refused: ...

    @property
    def threads(self) -> int: ...

    def candidates(
        self, op: Op, inputs: tuple[TensorSpec, ...]
    ) -> tuple[Algorithm, ...] | Refused: ...

    def can_fuse(self, body: Body) -> bool: ...

    def new_store(self) -> Store: ...

    def build(self, program: Program, store: Store) -> Runner: ...


def installed_backends() -> dict[str, Any]:
    """The backend classes that can be imported, by name, found through their entry points."""
    from importlib.metadata import entry_points  # takes longer to import than all that is above

    found = {}
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        try:
            found[entry.name] = entry.load()
        except ImportError:
            continue
    return found


def load_backend(name: str = "auto", threads: int | None = None) -> Backend:
    """A backend by name; "auto" takes the available one of the highest priority.

    ``threads`` is the number of CPU threads (None: all that this process may use). Raises
    UnsupportedError that says what is installed and why a backend cannot be used.
    """
    backends = installed_backends()
    if name == "auto":
        usable = [cls for cls in backends.values() if isinstance(cls.available(), Supported)]
        if not usable:
            raise UnsupportedError("Expected an available backend, got none: reinstall minigraph")
        return max(usable, key=lambda cls: cls.priority)(threads)
    if name not in backends:
        raise UnsupportedError(
            f"Expected a backend of {', '.join(sorted(backends))}, got {name!r}: "
            f'pip install "minigraph[{name}]" if it is one of minigraph\'s'
        )
    answer = backends[name].available()
    if isinstance(answer, Refused):
        raise UnsupportedError(f"The backend {name!r} cannot be used: {answer.reason}")
    return backends[name](threads)
