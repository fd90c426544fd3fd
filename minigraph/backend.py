"""The boundary between the compiler and what runs a program.

The compiler knows legality, a backend knows ability. A backend lists its candidates for each op,
says which bodies it can fuse, and turns a ``Program`` into a ``Runner``. Backends are found by name
through the entry-point group ``minigraph.backends``; nothing here imports one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from minigraph.ir.errors import UnsupportedError
from minigraph.ir.location import Location
from minigraph.ir.op import Op
from minigraph.ir.spec import TensorSpec
from minigraph.ops.fused import Body

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINT_GROUP = "minigraph.backends"
ALIGNMENT = 64  # bytes: a cache line, and the widest vector of today's CPUs


def aligned(size: int) -> int:
    """``size`` in bytes, rounded up to whole cache lines."""
    return -(-size // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True, slots=True)
class Supported:
    """The backend can."""

    def __bool__(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class Refused:
    """The backend cannot, and why."""

    reason: str

    def __bool__(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One way of a backend to run a node: data to choose by."""

    name: str
    workspace: int = 0  # bytes
    seconds: float = 0.0  # expected time of one run
    relative_error: float = 0.0  # max|error| / max|reference| beyond plain rounding
    overwrites: tuple[int, ...] = ()  # operands that outputs may be written over, elementwise
    prepared: int = 0  # bytes of operands brought into another form (packed weights)
    prepares: tuple[int, ...] = ()  # the operands that this form depends on


Strides = tuple[int, ...]
"""The distance between neighbours along each axis, in elements."""

AxisOrder = Callable[[TensorSpec], tuple[int, ...]]
"""A spec's axes from the outermost to the innermost in memory."""


def dense_strides(spec: TensorSpec, axis_order: tuple[int, ...]) -> Strides:
    """Strides without gaps, for axes from the outermost to the innermost."""
    strides, step = [0] * spec.ndim, 1
    for axis in reversed(axis_order):
        strides[axis] = step
        step *= spec.shape[axis]
    return tuple(strides)


def row_major(spec: TensorSpec) -> tuple[int, ...]:
    """The axis order of plain arrays: the last axis innermost."""
    return tuple(range(spec.ndim))


def channels_last(spec: TensorSpec) -> tuple[int, ...]:
    """The axis order with channels innermost for images and for weights; others row by row."""
    return (0, 2, 3, 1) if spec.ndim == 4 else row_major(spec)


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
    strides: Strides = ()  # in elements, one an axis


@dataclass(frozen=True, slots=True)
class Step:
    """One node to run. An output that nothing reads may be None (``Op.optional_outputs``)."""

    op: Op
    inputs: tuple[Slot, ...]
    outputs: tuple[Slot | None, ...]
    algorithm: Algorithm
    workspace: Slot | None
    prepared: Slot | None  # cached where it depends on state and constants alone
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
    """State variables on a backend's device. Reads give copies; writes bump the version.

    What one call reads or writes belongs together: no step and no other call comes in between.
    """

    version: int

    def create(self, name: str, spec: TensorSpec, start: np.ndarray) -> None: ...
    def specs(self) -> Mapping[str, TensorSpec]: ...
    def read(self, names: Iterable[str]) -> dict[str, np.ndarray]: ...
    def write(self, arrays: Mapping[str, np.ndarray]) -> None: ...


class Runner(Protocol):
    """A program bound to its memory."""

    allocated_bytes: int

    def run(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        """One call: inputs (of the program's specs) in, outputs filled, state advanced.

        They are NumPy arrays; where the backend takes these, ``DeviceArray`` as well.
        """

    def prefetch(self, inputs: Mapping[str, Any]) -> None:
        """A later call will be on these arrays, which stay as they are until then: a device may
        fetch them while it computes. Nothing need happen."""

    def forget_prefetched(self) -> None:
        """No call will be on what was announced: the arrays may change."""

    def timed_run(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> list[float]:
        """The same as ``run``, with the seconds of each step."""


class Backend(Protocol):
    """What a backend package offers; its entry point is a class taking ``threads``."""

    name: str
    priority: int  # "auto" takes the highest that is available
    takes_gaps: bool  # kernels take images with gaps between pixels: slices of wider ones
    takes_device_arrays: bool  # arrays in a GPU's memory may be inputs, and room for outputs

    @classmethod
    def available(cls) -> Supported | Refused: ...

    @property
    def threads(self) -> int: ...

    @property
    def fingerprint(self) -> str:
        """All that measured times depend on beside op and specs: versions, processor, threads."""

    def axis_order(self, spec: TensorSpec) -> tuple[int, ...]:
        """The memory order that the backend wants for values of this spec, outermost axis first."""

    def candidates(
        self, op: Op, inputs: tuple[TensorSpec, ...]
    ) -> tuple[Algorithm, ...] | Refused: ...

    def can_fuse(self, body: Body, inputs: tuple[TensorSpec, ...]) -> Supported | Refused: ...

    def new_store(self) -> Store: ...

    def build(self, program: Program, store: Store) -> Runner: ...


def _entry_points(name: str | None) -> list[EntryPoint]:
    return [entry for entry in _installed(_search_path()) if name in (None, entry.name)]


def _search_path() -> tuple[tuple[str, int], ...]:
    """Where packages are looked for, and when something was last installed there."""
    folders = [Path(folder) for folder in sys.path]
    return tuple((str(f), f.stat().st_mtime_ns) for f in folders if f.exists())


@lru_cache(maxsize=1)
def _installed(search_path: tuple[tuple[str, int], ...]) -> tuple[EntryPoint, ...]:
    """The backends on this search path. Every installed package is read: that takes a while."""
    from importlib.metadata import entry_points  # a tenth of the time that importing us may take

    return tuple(entry_points(group=ENTRY_POINT_GROUP))


def find_backend(name: str) -> Any:
    """The class of a backend by its entry point's name, or Refused with the reason.

    Only this one is imported. Whatever goes wrong while it is (a missing package, a broken CUDA
    installation) is a reason not to use it, and no reason to fail elsewhere.
    """
    found = _entry_points(name)
    if not found:
        return Refused("no such backend is installed")
    try:
        backend = found[0].load()
    except Exception as error:
        return Refused(
            f"it cannot be imported ({type(error).__name__}: {error}): "
            f'pip install "minigraph[{name}]"'
        )
    available = backend.available()
    return available if isinstance(available, Refused) else backend


def describe_backend(name: str) -> list[str]:
    """Lines on what a backend found beyond minigraph: devices, libraries, what to install.

    A backend that has something to say has the class method ``describe``. Never raises.
    """
    try:
        backend = _entry_points(name)[0].load()
        return list(backend.describe()) if hasattr(backend, "describe") else []
    except Exception as error:  # whatever is broken there: it is what the reader looks for
        return [f"cannot be looked at ({type(error).__name__}: {error})"]


def backend_names() -> list[str]:
    """Names of all installed backends, usable or not."""
    return sorted({entry.name for entry in _entry_points(None)})


def load_backend(name: str = "auto", threads: int | None = None, **options: Any) -> Backend:
    """A backend by name; "auto" takes the usable one of the highest priority.

    ``threads`` is the number of CPU threads (None: all that this process may use). ``options`` are
    the backend's own: ``load_backend("cupy", float32="strict")``. Raises UnsupportedError that says
    what is installed and why a backend cannot be used, or which options it has.
    """
    if threads is not None and threads < 1:
        raise UnsupportedError(f"Expected at least one thread, got {threads}")
    names = backend_names()
    if name == "auto":
        usable = [b for b in map(find_backend, names) if not isinstance(b, Refused)]
        if not usable:
            raise UnsupportedError("Expected an available backend, got none: reinstall minigraph")
        return _made(max(usable, key=lambda backend: backend.priority), threads, options)
    found = find_backend(name)
    if isinstance(found, Refused):
        raise UnsupportedError(
            f"Expected a backend that can be used (installed: {', '.join(names)}), "
            f"got {name!r}: {found.reason}"
        )
    return _made(found, threads, options)


def _made(backend: Any, threads: int | None, options: Mapping[str, Any]) -> Backend:
    known = [
        parameter.name
        for parameter in signature(backend).parameters.values()
        if parameter.kind is Parameter.KEYWORD_ONLY
    ]
    for option in options:
        if option not in known:
            raise UnsupportedError(
                f"Expected options of the backend {backend.name!r} ({', '.join(known) or 'none'}), "
                f"got {option!r}"
            )
    return backend(threads, **options)
