"""Algorithms timed instead of estimated: each on a graph of one node, taking turns, kept on disk.

The file holds what was measured, for one backend on one machine: seconds by node and algorithm. It
is text, sorted, and the same measurements give the same bytes. Deleting it is always safe.
"""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from minigraph.algorithms import Candidates, Choice
from minigraph.backend import Algorithm, Backend, Refused
from minigraph.cache_folder import cache_folder
from minigraph.initializers import Constant
from minigraph.ir.errors import WriteError
from minigraph.ir.graph import Graph, Node, Role
from minigraph.ir.op import Op
from minigraph.ir.spec import DType, TensorSpec
from minigraph.layouts import Layouts, assign_layouts
from minigraph.lower import lower
from minigraph.memory import plan_memory
from minigraph.ops import new_builder
from minigraph.schedule import make_schedule
from minigraph.whole_file import write_whole

_TURNS = 5
_LARGEST_FILE = 16 << 20

Times = dict[str, dict[str, float]]  # seconds by node and algorithm


def measured_candidates(
    graph: Graph, backend: Backend, layouts: Layouts, max_relative_error: float
) -> Candidates:
    """What the backend offers for an op, with measured times in place of estimates.

    Where one algorithm alone is exact enough, nothing is timed.
    """
    path = _file_of(backend)
    known = _read(path)
    stable = make_schedule(graph, layouts).stable
    weights = {
        (node.op, _specs(node)): tuple(value in stable for value in node.inputs)
        for node in graph.nodes
    }
    before = json.dumps(known)

    def candidates(op: Op, inputs: tuple[TensorSpec, ...]) -> tuple[Algorithm, ...] | Refused:
        offers = backend.candidates(op, inputs)
        if isinstance(offers, Refused):
            return offers
        timed = [a for a in offers if a.relative_error <= max_relative_error]
        if len(timed) < 2 or op.may_refuse:
            return offers
        bench = _Bench(backend, op, inputs, weights.get((op, inputs), (False,) * len(inputs)))
        times = known.setdefault(bench.key, {})
        if not times.keys() >= {a.name for a in timed}:
            times.update(bench.seconds(timed))
        return tuple(_with_seconds(a, times.get(a.name, a.seconds)) for a in offers)

    answers = {key: candidates(*key) for key in weights}
    if json.dumps(known) != before:
        _write(path, known)
    return lambda op, inputs: answers[op, inputs]


@dataclass(frozen=True)
class _Bench:
    """One op on operands of these specs; those that stay as they are between calls are state."""

    backend: Backend
    op: Op
    inputs: tuple[TensorSpec, ...]
    stable: tuple[bool, ...]

    @property
    def key(self) -> str:
        operands = ", ".join(
            f"{spec}{' (stays)' if stays else ''}"
            for spec, stays in zip(self.inputs, self.stable, strict=True)
        )
        return f"{self.op} on {operands}"

    def seconds(self, algorithms: Sequence[Algorithm]) -> dict[str, float]:
        """Medians over turns in which each algorithm runs once.

        Steps alone count: bringing operands to a GPU would take longer than many an op.
        """
        calls = {algorithm.name: self._call(algorithm) for algorithm in algorithms}
        times: dict[str, list[float]] = {name: [] for name in calls}
        for call in calls.values():
            call()
        for _ in range(_TURNS):
            for name, call in calls.items():
                times[name].append(call())
        return {name: round(statistics.median(taken), 9) for name, taken in times.items()}

    def _call(self, algorithm: Algorithm) -> Callable[[], float]:
        graph = self._graph()
        layouts = assign_layouts(graph, self.backend)
        choices = {
            node: Choice(algorithm) if node.op == self.op else Choice(self._only(node))
            for node in graph.nodes
            if node not in layouts.done
        }
        plan = plan_memory(graph, choices, layouts)
        program = lower(graph, choices, plan)
        store = self.backend.new_store()
        rng = np.random.default_rng(0)
        for name, spec in program.state.items():
            store.create(name, spec, _random(spec, rng))
        runner = self.backend.build(program, store)
        arrays = {name: _random(slot.spec, rng) for name, slot in program.inputs.items()}
        return lambda: sum(runner.timed_run(arrays, {}))

    def _only(self, node: Node) -> Algorithm:
        offers = self.backend.candidates(node.op, _specs(node))
        assert not isinstance(offers, Refused)
        return offers[0]

    def _graph(self) -> Graph:
        builder = new_builder()
        operands = [
            builder.state(f"x{i}", spec, Role.FROZEN, Constant(0.0))
            if stays
            else builder.input(f"x{i}", spec)
            for i, (spec, stays) in enumerate(zip(self.inputs, self.stable, strict=True))
        ]
        builder.emit(self.op, *operands)
        return builder.build()


def _specs(node: Node) -> tuple[TensorSpec, ...]:
    return tuple(value.spec for value in node.inputs)


def _with_seconds(algorithm: Algorithm, seconds: float) -> Algorithm:
    return replace(algorithm, seconds=seconds)


def _random(spec: TensorSpec, rng: np.random.Generator) -> np.ndarray:
    if spec.dtype.is_floating:
        return rng.standard_normal(spec.shape, np.float32).astype(spec.dtype.numpy)
    return np.zeros(spec.shape, spec.dtype.numpy if spec.dtype is not DType.BOOL else np.bool_)


# ---- the file


def _file_of(backend: Backend) -> Path:
    digest = hashlib.sha256(backend.fingerprint.encode()).hexdigest()[:16]
    return cache_folder("tuning") / f"{backend.name}-{digest}.json"


def _read(path: Path) -> Times:
    """What was measured before; nothing where the file cannot be used."""
    try:
        if path.stat().st_size > _LARGEST_FILE:
            return {}
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if _is_times(found) else {}


def _is_times(found: object) -> bool:
    return isinstance(found, dict) and all(
        isinstance(times, dict) and all(isinstance(s, float) for s in times.values())
        for times in found.values()
    )


def _write(path: Path, times: Mapping[str, Mapping[str, float]]) -> None:
    """Keep the measurements; a folder that cannot be written to costs the next run its time."""
    try:
        write_whole(path, f"{json.dumps(times, indent=1, sort_keys=True)}\n".encode())
    except WriteError:
        return
