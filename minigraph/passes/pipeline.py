"""Run passes in order, verify each, and keep what each changed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from minigraph.ir.errors import VerifyError
from minigraph.ir.graph import Graph, interface
from minigraph.ir.verify import verify

Pass = Callable[[Graph], Graph]


@dataclass(frozen=True, slots=True)
class PassReport:
    """What one pass did: counts of ops that it removed and added, and how long it took."""

    name: str
    nodes_before: int
    nodes_after: int
    removed: dict[str, int]
    added: dict[str, int]
    seconds: float

    @property
    def changes(self) -> str:
        """What went and what came: "-2 Relu, +2 Fused"."""
        changes = [f"-{n} {op}" for op, n in self.removed.items()]
        changes += [f"+{n} {op}" for op, n in self.added.items()]
        return ", ".join(changes) or "no change"

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.nodes_before} -> {self.nodes_after} nodes "
            f"in {self.seconds * 1e3:.1f} ms ({self.changes})"
        )


def pass_name(pass_: Pass) -> str:
    """A pass goes by its function's or its class's name."""
    return getattr(pass_, "__name__", type(pass_).__name__)


def run_passes(graph: Graph, passes: Sequence[Pass]) -> tuple[Graph, tuple[PassReport, ...]]:
    """Apply the passes; verify structure and interface after each.

    Raises VerifyError that names the pass.
    """
    verify(graph)
    reports = []
    for pass_ in passes:
        start = time.perf_counter()
        new = pass_(graph)
        seconds = time.perf_counter() - start
        _check(pass_, graph, new)
        reports.append(_report(pass_, graph, new, seconds))
        graph = new
    return graph, tuple(reports)


def _check(pass_: Pass, before: Graph, after: Graph) -> None:
    if not isinstance(after, Graph):
        raise VerifyError(
            f"after pass {pass_name(pass_)}: Expected a graph, got {type(after).__name__}"
        )
    if after is before:
        return
    try:
        verify(after, inferred=frozenset(before.nodes))
    except VerifyError as error:
        raise VerifyError(f"after pass {pass_name(pass_)}: {error}") from None
    if interface(before) != interface(after):
        raise VerifyError(
            f"after pass {pass_name(pass_)}: inputs, state, outputs or updates changed; a pass "
            "must keep the interface"
        )


def _report(pass_: Pass, before: Graph, after: Graph, seconds: float) -> PassReport:
    old = Counter(node.op.name for node in before.nodes)
    new = Counter(node.op.name for node in after.nodes)
    return PassReport(
        name=pass_name(pass_),
        nodes_before=len(before.nodes),
        nodes_after=len(after.nodes),
        removed=dict(sorted((old - new).items())),
        added=dict(sorted((new - old).items())),
        seconds=seconds,
    )
