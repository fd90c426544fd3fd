"""A compilation in words: passes, algorithms, memory."""

from __future__ import annotations

from minigraph.compiler import Compiled


def explain(compiled: Compiled) -> str:
    """What each pass changed, which algorithm each node got and why, and the memory plan."""
    return "\n\n".join([passes_text(compiled), algorithms_text(compiled), memory_text(compiled)])


def passes_text(compiled: Compiled) -> str:
    """One line a pass."""
    lines = [f"  {report}" for report in compiled.reports]
    return "\n".join(["Passes (each verified)", *lines])


def algorithms_text(compiled: Compiled) -> str:
    """One line a node that had a choice: what it got, and why not the others."""
    lines = []
    for node in compiled.graph.nodes:
        choice = compiled.choices.get(node)
        if choice is None or not choice.rejected:
            continue
        why = "; ".join(f"{other.name}: {reason}" for other, reason in choice.rejected)
        lines.append(f"  {node.name} ({node.op.name}): {choice.algorithm.name}; not {why}")
    return "\n".join(["Algorithms (nodes with a choice)", *lines])


def memory_text(compiled: Compiled) -> str:
    """The plan's bytes, and what fills the arena at its fullest."""
    lines = [f"  {line}" for line in str(compiled.plan).splitlines()]
    return "\n".join(["Memory", *lines])
