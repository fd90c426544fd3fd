"""Which plan of cuDNN runs a convolution: measured once, kept on disk."""

from __future__ import annotations

import hashlib
import logging
import statistics
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from math import prod

from minigraph.backend import Refused
from minigraph.backends.cupy.cudnn.graph import Graph, Maker, Restored
from minigraph.backends.cupy.cudnn.kept import KeptPlans, Plan
from minigraph.backends.cupy.cudnn.libraries import load_libraries
from minigraph.backends.cupy.cudnn.signature import Signature
from minigraph.backends.cupy.device import Device
from minigraph.backends.cupy.options import Options
from minigraph.cache_folder import cache_folder

Work = Callable[[], None]
Execute = Callable[[dict[int, int], int], None]
"""Of addresses by uid, and that of the workspace."""
Built = tuple[int, str, int]
"""A plan of a graph: its number, its name, its workspace in bytes."""

_LOG = logging.getLogger("minigraph")
_MEASURED = 8  # plans of a signature: cuDNN lists those first that it thinks fast
_BUILDING_SECONDS = 1.0  # of a signature: a plan whose kernels are compiled first takes more, alone
_RUNS = 3  # of a plan in one recording
_TURNS = 5
_HOPELESS = 4.0  # times as long as the fastest: one run shows it


class Cudnn:
    """cuDNN on one device's stream. One that measures takes the device's lock."""

    def __init__(self, maker: Maker, device: Device, device_lock: threading.Lock) -> None:
        self.version = maker.libraries.version
        self._maker = maker
        self._device = device
        self._device_lock = device_lock
        settings = f"{self.version} {device.info} {maker.options}"
        digest = hashlib.sha256(settings.encode()).hexdigest()[:16]
        self._kept = KeptPlans(cache_folder("tuning") / f"cudnn-{digest}")
        self._plans: dict[Signature, Plan | None] = {}
        self._runnable: dict[Signature, Callable[[list[int], int], None]] = {}

    def plan(self, signature: Signature) -> Plan | None:
        """The fastest plan; None where cuDNN has none within the options."""
        if signature not in self._plans:
            kept = self._kept.fastest(signature)
            if kept is None or kept.workspace > self._maker.options.workspace_bytes:
                kept = self._measured(signature)
            self._plans[signature] = kept
        return self._plans[signature]

    def runnable(self, signature: Signature) -> Callable[[list[int], int], None]:
        """Queues the plan of a signature that has one: of addresses (operands, then the result)
        and that of the workspace. No allocation, no synchronisation.

        Raises RuntimeError where a plan that was measured before is there no more.
        """
        if signature not in self._runnable:
            plan = self._plans[signature]
            assert plan is not None
            with self._device.current():
                execute = self._restored(signature, plan) or self._built_again(signature, plan)
            self._runnable[signature] = partial(self._queue, execute)
        return self._runnable[signature]

    def _queue(self, execute: Execute, addresses: list[int], workspace: int) -> None:
        with self._device.current():
            execute(_by_uid(addresses), workspace)

    def _restored(self, signature: Signature, plan: Plan) -> Execute | None:
        data = self._kept.compiled(signature, plan)
        found: Restored | None = None if data is None else self._maker.restored(data)
        return found.execute if found is not None and found.workspace <= plan.workspace else None

    def _built_again(self, signature: Signature, plan: Plan) -> Execute:
        graph = self._maker.graph(signature)
        number = None if graph is None else graph.numbered(plan.name)
        if graph is None or number is None or graph.workspace(number) > plan.workspace:
            raise RuntimeError(
                f"Expected cuDNN to have the plan {plan.name} with {plan.workspace:,} bytes of "
                f"workspace again, got none: delete the folder {self._kept.folder}"
            )
        self._keep(graph, number, signature, plan)
        return partial(graph.execute, number)

    def _keep(self, graph: Graph, number: int, signature: Signature, plan: Plan) -> None:
        data = graph.serialized(number)
        if data is not None:
            self._kept.keep_compiled(signature, plan, data)

    # ---- measuring

    def _measured(self, signature: Signature) -> Plan | None:
        with self._device_lock, self._device.current():
            graph = self._maker.graph(signature)
            found = None if graph is None else self._fastest(graph, signature)
            if graph is None or found is None:
                return None
            number, plan = found
            self._keep(graph, number, signature, plan)
            self._kept.keep_fastest(signature, plan)
            return plan

    def _fastest(self, graph: Graph, signature: Signature) -> tuple[int, Plan] | None:
        """The number of the fastest plan, and it. They take turns on memory of their own, whose
        content does not matter, as recordings: that is how they will run."""
        built = self._built(graph)
        if not built:
            return None
        width = signature.dtype.numpy.itemsize
        shapes = (*signature.operands, signature.result)
        memory = [self._device.allocate(prod(shape) * width) for shape in shapes]
        workspace = self._device.allocate(max(size for _, _, size in built))
        addresses = _by_uid([part.address for part in memory])
        replays = self._replays(
            {plan: partial(graph.execute, plan[0], addresses, workspace.address) for plan in built}
        )
        if not replays:
            return None
        turns = [self._device.time(list(replays.values())) for _ in range(_TURNS)]
        times = map(statistics.median, zip(*turns, strict=True))
        seconds = dict(zip(replays, times, strict=True))
        best = min(replays, key=seconds.__getitem__)  # a tie: the one that cuDNN lists first
        number, name, size = best
        return number, Plan(name, size, seconds[best] / _RUNS)

    def _replays(self, works: Mapping[Built, Work]) -> dict[Built, Work]:
        """Recordings of those plans that run, and do not take hopelessly long."""
        once = {plan: self._seconds(work) for plan, work in works.items()}
        bound = _HOPELESS * min((s for s in once.values() if s is not None), default=0.0)
        recordings = {
            plan: self._recorded(works[plan])
            for plan, seconds in once.items()
            if seconds is not None and seconds <= bound
        }
        return {
            plan: partial(self._device.replay, recording)
            for plan, recording in recordings.items()
            if recording is not None
        }

    def _built(self, graph: Graph) -> list[Built]:
        """The first plans of a graph, as many as can be built in the time there is."""
        built, start = [], time.monotonic()
        for plan in graph.plans():
            built.append(plan)
            if len(built) == _MEASURED or time.monotonic() - start > _BUILDING_SECONDS:
                break
        return built

    def _seconds(self, work: Work) -> float | None:
        """Of the second run, since the first one loads kernels; None where one does not start."""
        try:
            work()
            self._device.synchronise()
            return self._device.time([work])[0]
        except self._maker.libraries.errors:  # of an engine that does not compile or load here
            return None

    def _recorded(self, work: Work) -> object | None:
        """The work, some times over; None where it does what a recording does not allow."""

        def several() -> None:
            for _ in range(_RUNS):
                work()

        try:
            return self._device.record(several)
        except self._maker.libraries.errors:
            return None


def open_cudnn(device: Device, device_lock: threading.Lock, options: Options) -> Cudnn | None:
    """cuDNN on a device's stream; None where it is missing or does not start: a warning says so."""
    if not device.runs_libraries:
        return None
    libraries = load_libraries()
    if isinstance(libraries, Refused):
        _LOG.warning("convolutions run without cuDNN, more slowly: %s", libraries.reason)
        return None
    cudnn = libraries.cudnn
    try:
        with device.current():
            handle = cudnn.create_handle()
            cudnn.set_stream(handle=handle, stream=device.stream)
    except libraries.errors as error:
        _LOG.warning(
            "convolutions run without cuDNN, more slowly: %s does not start on %s (%s)",
            libraries.version, device.info.name, " ".join(str(error).split())[:200],
        )  # fmt: skip
        return None
    return Cudnn(Maker(libraries, options, handle=handle), device, device_lock)


def _by_uid(addresses: list[int]) -> dict[int, int]:
    return dict(enumerate(addresses, 1))
