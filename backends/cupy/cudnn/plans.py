"""Which plan of cuDNN runs a convolution: measured once, kept on disk.

The file holds the fastest plan of each signature, for one device, one cuDNN and one set of options:
its name (engine and settings), the workspace that it wants, and its time. Deleting it is safe.
"""

from __future__ import annotations

import hashlib
import json
import logging
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

from minigraph.backend import Refused
from minigraph.backends.cupy.cudnn.graph import Graph, Maker
from minigraph.backends.cupy.cudnn.libraries import load_libraries
from minigraph.backends.cupy.cudnn.signature import Signature
from minigraph.backends.cupy.device import Device
from minigraph.backends.cupy.options import Options
from minigraph.cache_folder import cache_folder
from minigraph.ir.errors import WriteError
from minigraph.whole_file import write_whole

_LOG = logging.getLogger("minigraph")
_MEASURED = 8  # plans of a signature: cuDNN lists those first that it thinks fast
_BUILDING_SECONDS = 1.0  # of a signature: plans whose kernels are compiled first take that each
_TURNS = 5
_LARGEST_FILE = 16 << 20


@dataclass(frozen=True, slots=True)
class Plan:
    """One way of cuDNN to run a signature."""

    name: str
    workspace: int  # bytes
    seconds: float


class Cudnn:
    """cuDNN on one device's stream. One that measures takes the device's lock."""

    def __init__(self, maker: Maker, device: Device, device_lock: threading.Lock) -> None:
        self.version = maker.libraries.version
        self._maker = maker
        self._device = device
        self._device_lock = device_lock
        settings = f"{self.version} {device.info} {maker.options}"
        digest = hashlib.sha256(settings.encode()).hexdigest()[:16]
        self._file = cache_folder("tuning") / f"cudnn-{digest}.json"
        self._plans: dict[Signature, Plan | None] = {}
        self._runnable: dict[Signature, Callable[[list[int], int], None]] = {}
        self._stored = _read(self._file)

    def plan(self, signature: Signature) -> Plan | None:
        """The fastest plan; None where cuDNN has none within the options."""
        if signature not in self._plans:
            self._plans[signature] = self._stored.get(repr(signature)) or self._measured(signature)
        return self._plans[signature]

    def runnable(self, signature: Signature) -> Callable[[list[int], int], None]:
        """Queues the plan of a signature that has one: of addresses (operands, then the result)
        and that of the workspace. No allocation, no synchronisation."""
        if signature not in self._runnable:
            graph, plan = self._maker.graph(signature), self._plans[signature]
            assert graph is not None and plan is not None
            number = graph.numbered(plan.name)
            if number is None:
                raise RuntimeError(
                    f"Expected cuDNN to have the plan {plan.name} again, got none: delete "
                    f"{self._file}"
                )
            self._runnable[signature] = partial(_execute, graph, number)
        return self._runnable[signature]

    # ---- measuring

    def _measured(self, signature: Signature) -> Plan | None:
        graph = self._maker.graph(signature)
        if graph is None:
            return None
        with self._device_lock:
            plan = self._fastest(graph, signature)
        if plan is not None:
            self._stored[repr(signature)] = plan
            _write(self._file, self._stored)
        return plan

    def _fastest(self, graph: Graph, signature: Signature) -> Plan | None:
        """Plans take turns on memory of their own, whose content does not matter."""
        built = self._built(graph)
        if not built:
            return None
        width = signature.dtype.numpy.itemsize
        shapes = (*signature.operands, signature.result)
        memory = [self._device.allocate(prod(shape) * width) for shape in shapes]
        workspace = self._device.allocate(max(size for _, _, size in built))
        addresses = [part.address for part in memory]
        works = {
            name: partial(_execute, graph, number, addresses, workspace.address)
            for number, name, _ in built
            if self._runs(partial(_execute, graph, number, addresses, workspace.address))
        }
        if not works:
            return None
        turns = [self._device.time(list(works.values())) for _ in range(_TURNS)]
        seconds = dict(zip(works, map(statistics.median, zip(*turns, strict=True)), strict=True))
        best = min(works, key=seconds.__getitem__)  # a tie: the one that cuDNN lists first
        size = next(size for _, name, size in built if name == best)
        return Plan(best, size, seconds[best])

    def _built(self, graph: Graph) -> list[tuple[int, str, int]]:
        """The first plans of a graph, as many as can be built in the time there is."""
        built, start = [], time.monotonic()
        for plan in graph.plans():
            built.append(plan)
            if len(built) == _MEASURED or time.monotonic() - start > _BUILDING_SECONDS:
                break
        return built

    def _runs(self, work: Callable[[], None]) -> bool:
        """Whether a plan starts at all; that also warms it up."""
        try:
            work()
        except RuntimeError:  # of an engine whose kernel does not compile or load here
            return False
        self._device.synchronise()
        return True


def open_cudnn(device: Device, device_lock: threading.Lock, options: Options) -> Cudnn | None:
    """cuDNN on a device's stream; None where it is not installed, which a warning says."""
    if not device.runs_libraries:
        return None
    libraries = load_libraries()
    if isinstance(libraries, Refused):
        _LOG.warning("convolutions run without cuDNN, more slowly: %s", libraries.reason)
        return None
    cudnn = libraries.cudnn
    handle = cudnn.create_handle()
    cudnn.set_stream(handle=handle, stream=device.stream)
    return Cudnn(Maker(libraries, options, handle=handle), device, device_lock)


def _execute(graph: Graph, number: int, addresses: list[int], workspace: int) -> None:
    graph.execute(number, dict(enumerate(addresses)), workspace)


# ---- the file


def _read(path: Path) -> dict[str, Plan]:
    """What was measured before; nothing where the file cannot be used."""
    try:
        if path.stat().st_size > _LARGEST_FILE:
            return {}
        found = json.loads(path.read_text())
        return {key: _plan(**value) for key, value in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _plan(name: Any, workspace: Any, seconds: Any) -> Plan:
    if not (isinstance(name, str) and isinstance(workspace, int) and isinstance(seconds, float)):
        raise ValueError
    return Plan(name, workspace, seconds)


def _write(path: Path, plans: dict[str, Plan]) -> None:
    """Keep the measurements; a folder that cannot be written to costs the next run its time."""
    text = json.dumps({key: asdict(plan) for key, plan in plans.items()}, indent=1, sort_keys=True)
    try:
        write_whole(path, f"{text}\n".encode())
    except WriteError:
        return
