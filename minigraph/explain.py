"""A compilation in words: passes, algorithms, memory."""

from __future__ import annotations

from minigraph.compiler import Compiled


def explain(compiled: Compiled) -> str:
    """The work, what each pass changed, which algorithm each node got and why, the memory plan."""
    texts = (work_text, passes_text, algorithms_text, memory_text)
    return "\n\n".join(text(compiled) for text in texts)


def work_text(compiled: Compiled) -> str:
    """Nodes, arithmetic and memory traffic of one call, at least."""
    costs = [node.op.cost(*(v.spec for v in node.inputs)) for node in compiled.graph.nodes]
    flops, traffic = sum(cost.flops for cost in costs), sum(cost.bytes for cost in costs)
    return f"Work\n  {len(costs)} nodes, {flops / 1e9:.3f} GFLOP, {traffic / 1e6:.1f} MB moved"


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
