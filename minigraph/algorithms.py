"""Which algorithm each node gets, and why: data, never a rewrite."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from minigraph.backend import Algorithm, Backend, Refused
from minigraph.ir.errors import UnsupportedError
from minigraph.ir.graph import Graph, Node
from minigraph.ir.op import Op
from minigraph.ir.spec import TensorSpec
from minigraph.layouts import Layouts

DEFAULT_MAX_RELATIVE_ERROR = 1e-4


@dataclass(frozen=True, slots=True)
class Choice:
    """A node's algorithm, what else there was, and why not."""

    algorithm: Algorithm
    rejected: tuple[tuple[Algorithm, str], ...] = ()


Candidates = Callable[[Op, tuple[TensorSpec, ...]], tuple[Algorithm, ...] | Refused]
"""What a backend offers for an op on inputs of these specs."""


def select_algorithms(
    graph: Graph,
    backend: Backend,
    layouts: Layouts,
    *,
    candidates: Candidates | None = None,
    max_relative_error: float = DEFAULT_MAX_RELATIVE_ERROR,
    max_workspace: int | None = None,
    preferred: Mapping[str, str] | None = None,
) -> Mapping[Node, Choice]:
    """The fastest expected algorithm of each node within the error and workspace budgets.

    ``max_relative_error`` bounds each node's max|error| / max|reference|; ``max_workspace`` (bytes)
    excludes hungrier algorithms, except where a node has none that fits: then it gets the one
    with the least. ``candidates`` replaces the backend's own answers (measured times).
    ``preferred`` names algorithms by node, which are taken where the budgets allow. Raises
    UnsupportedError naming every op that the backend lacks, at once.
    """
    answers: dict[tuple[Op, tuple[TensorSpec, ...], str | None], Choice | Refused] = {}
    choices: dict[Node, Choice] = {}
    missing: list[str] = []
    for node in graph.nodes:
        if node in layouts.done:
            continue
        name = (preferred or {}).get(node.name)
        key = (node.op, tuple(value.spec for value in node.inputs), name)
        if key not in answers:
            offers = (candidates or backend.candidates)(*key[:2])
            answers[key] = (
                offers
                if isinstance(offers, Refused)
                else _choose(offers, max_relative_error, max_workspace, name)
            )
        answer = answers[key]
        if isinstance(answer, Refused):
            missing.append(f"  {node.op.name} '{node.name}': {answer.reason}")
        else:
            choices[node] = answer
    if missing:
        lines = "\n".join(missing)
        raise UnsupportedError(
            f"Expected a backend that runs every node, got {backend.name!r}, which lacks "
            f"{len(missing)}:\n{lines}"
        )
    return choices


def _choose(
    candidates: tuple[Algorithm, ...],
    max_relative_error: float,
    max_workspace: int | None,
    preferred: str | None,
) -> Choice:
    exact_enough = [a for a in candidates if a.relative_error <= max_relative_error]
    # The most exact algorithm is always allowed: a budget cannot ask for better than there is.
    allowed = exact_enough or [min(candidates, key=lambda a: (a.relative_error, a.seconds))]
    if max_workspace is not None:
        fitting = [a for a in allowed if a.workspace <= max_workspace]
        allowed = fitting or [min(allowed, key=lambda a: (a.workspace, a.seconds))]
    # Ties: the first that the backend lists.
    best = min(allowed, key=lambda a: (a.name != preferred, a.seconds))
    rejected = []
    for other in candidates:
        if other is best:
            continue
        if other not in exact_enough:
            reason = f"error {other.relative_error:.1e} over the budget {max_relative_error:.1e}"
        elif other not in allowed:
            reason = f"workspace {other.workspace:,} B over the limit"
        elif best.name == preferred:
            reason = "preferred: what is compiled serves another batch size, too"
        else:
            reason = f"expected {other.seconds * 1e3:.3g} ms, not {best.seconds * 1e3:.3g} ms"
        rejected.append((other, reason))
    return Choice(best, tuple(rejected))
