"""The order of a graph's nodes: what runs once, what runs in every call, and when state may change.

A new state may share memory with the old one only after the last reader of the old, and after
every node that may refuse its values. The last nodes before an update are free to move: each chain
of them runs as soon as those conditions and its inputs allow, so that a gradient is consumed
where it is made, and as late as its end, so that nothing is computed and kept waiting.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from minigraph.ir.graph import Graph, Node, Value
from minigraph.layouts import Layouts


@dataclass(frozen=True)
class Schedule:
    """``cached`` runs once per state version; ``steps`` in every call, in this order."""

    cached: tuple[Node, ...]
    stable: frozenset[Value]  # known before a call: constants, what is cached, state that stays
    steps: tuple[Node, ...]
    roots: dict[Value, Value]  # the value in whose memory a value lies, where that is another
    cached_reads_state: bool

    def root(self, value: Value) -> Value:
        return self.roots.get(value, value)


def make_schedule(graph: Graph, layouts: Layouts) -> Schedule:
    """Split and order the nodes; those with nothing to do are left out."""
    roots = {value: alias.base for value, alias in layouts.aliases.items()}
    cached, stable, reads_state = _cached_nodes(graph, layouts.done)
    steps = [n for n in graph.nodes if n not in cached and n not in layouts.done]
    movable = _movable(graph, steps, roots)
    times = _times(graph, steps, roots, movable)
    order = sorted(range(len(steps)), key=lambda i: (times[steps[i]], steps[i] in movable, i))
    return Schedule(
        cached=tuple(n for n in graph.nodes if n in cached and n not in layouts.done),
        stable=frozenset(stable),
        steps=tuple(steps[index] for index in order),
        roots=roots,
        cached_reads_state=reads_state,
    )


def _cached_nodes(graph: Graph, done: Collection[Node]) -> tuple[set[Node], set[Value], bool]:
    """Nodes that depend on constants alone; without updates, on constants and state alone."""
    states = set() if graph.updates else {state.value for state in graph.state}
    stable = set(states)
    cached = set()
    for node in graph.nodes:
        if node.op.may_refuse or any(value not in stable for value in node.inputs):
            continue
        stable.update(node.outputs)
        if node not in done or node.inputs[0] not in states:
            cached.add(node)
    reads_state = any(value in states for node in cached for value in node.inputs)
    return cached, stable, reads_state or bool(states and cached)


def _movable(graph: Graph, steps: list[Node], roots: dict[Value, Value]) -> set[Node]:
    """The last nodes of each update, and what they need of state alone.

    These are nodes that feed updates alone, whose readers are movable, and that make a new state,
    or have one reader, or depend on no input (a learning rate that all updates share, say). The
    rest of the backward pass keeps its place: it is built in an order that suits it.
    """
    unneeded = _feeding_updates_alone(graph)
    from_inputs = set(graph.inputs)
    for node in graph.nodes:
        if any(value in from_inputs for value in node.inputs):
            from_inputs.update(node.outputs)
    written = {roots.get(value, value) for value in graph.updates.values()}
    readers: dict[Value, list[Node]] = {}
    for node in steps:
        for root in {roots.get(value, value) for value in node.inputs}:
            readers.setdefault(root, []).append(node)
    movable: set[Node] = set()
    for node in reversed(steps):
        if node not in unneeded:
            continue
        users = [u for value in node.outputs for u in readers.get(roots.get(value, value), ())]
        ends = any(value in written for value in node.outputs)
        free = not any(value in from_inputs for value in node.inputs)
        if (ends or free or len(users) == 1) and movable.issuperset(users):
            movable.add(node)
    return movable


def _feeding_updates_alone(graph: Graph) -> set[Node]:
    """Nodes that no output depends on: they may wait, or go first."""
    needed = set(graph.outputs.values())
    movable = set()
    for node in reversed(graph.nodes):
        if node.op.may_refuse or any(value in needed for value in node.outputs):
            needed.update(node.inputs)
        else:
            movable.add(node)
    return movable


def _times(
    graph: Graph, steps: list[Node], roots: dict[Value, Value], movable: set[Node]
) -> dict[Node, int]:
    """A time for each node: its own position, or for a movable node that of the last node it
    has to follow. Movable nodes of one time keep their order, after the node of that time."""
    inputs = {n: [roots.get(value, value) for value in n.inputs] for n in steps}
    readers: dict[Value, list[Node]] = {}
    users: dict[Node, list[Node]] = {}
    makers: dict[Value, list[Node]] = {}  # several where operands of a concatenation are placed
    for node in steps:
        for root in {roots.get(value, value) for value in node.outputs}:
            makers.setdefault(root, []).append(node)
    for node in steps:
        for value in inputs[node]:
            readers.setdefault(value, []).append(node)
            for maker in makers.get(value, ()):
                users.setdefault(maker, []).append(node)
    written: dict[Node, list[Value]] = {}
    for name, value in graph.updates.items():
        root = roots.get(value, value)
        for maker in makers.get(root, ()):
            written.setdefault(maker, []).append(graph.state_by_name[name].value)
    refusal = max((i for i, node in enumerate(steps) if node.op.may_refuse), default=-1)

    times = {node: i for i, node in enumerate(steps) if node not in movable}
    for node in steps:
        if node not in movable:
            continue
        follows = [maker for value in inputs[node] for maker in makers.get(value, ())]
        follows += [r for state in written.get(node, ()) for r in readers.get(state, ())]
        earliest = max((times[other] for other in follows if other in times), default=-1)
        times[node] = max(earliest, refusal) if node in written else earliest
    for node in reversed(steps):
        if node in movable and node not in written and node in users:
            times[node] = min(times[user] for user in users[node])
    return times
