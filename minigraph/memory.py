"""The memory plan: where every value lies, known before anything runs.

Work memory is one arena. Buffers are placed in the order of the schedule by best fit into the
holes that dead ones left; a node may write its output over an operand that dies with it, and a new
state goes straight into the old one's place where the schedule makes that safe.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from dataclasses import dataclass, field

from minigraph.algorithms import Choice
from minigraph.backend import ALIGNMENT, Memory, Slot, aligned
from minigraph.ir.graph import Graph, Node, Value
from minigraph.ir.spec import DType, TensorSpec
from minigraph.layouts import Layouts
from minigraph.schedule import Schedule, make_schedule

_BEFORE = -1  # the time at which inputs are copied in


@dataclass(frozen=True)
class MemoryPlan:
    """Slots of all values and workspaces, and the bytes of each kind of memory."""

    schedule: Schedule
    slots: Mapping[Value, Slot]
    workspaces: Mapping[Node, Slot]
    prepared: Mapping[Node, Slot]
    commits: tuple[tuple[str, Slot], ...]  # new states that are copied after the last step
    copies: tuple[tuple[Slot, Slot], ...]  # old states kept for such a commit: (from, to)
    work_bytes: int
    cached_bytes: int
    state_bytes: int
    peak_step: str  # the node at which the arena is fullest
    peak_values: tuple[tuple[str, int], ...]  # what lies in it then, largest first

    @property
    def cached_reads_state(self) -> bool:
        """Whether what is cached must be made anew when the state has changed."""
        kept = any(slot.memory is Memory.CACHED for slot in self.prepared.values())
        return self.schedule.cached_reads_state or kept

    @property
    def total_bytes(self) -> int:
        """All that an executable takes: work, cached and state memory, alignment included."""
        return self.work_bytes + self.cached_bytes + self.state_bytes

    def __str__(self) -> str:
        lines = [
            f"work    {self.work_bytes:>14,} B",
            f"cached  {self.cached_bytes:>14,} B",
            f"state   {self.state_bytes:>14,} B",
            f"total   {self.total_bytes:>14,} B",
            f"fullest at {self.peak_step}:",
        ]
        lines += [f"  {size:>14,} B  {name}" for name, size in self.peak_values[:10]]
        return "\n".join(lines)


def plan_memory(graph: Graph, choices: Mapping[Node, Choice], layouts: Layouts) -> MemoryPlan:
    """Place every value and workspace of the graph."""
    schedule = make_schedule(graph, layouts)
    planner = _Planner(graph, schedule, choices, layouts)
    planner.place_state_and_cached()
    planner.place_work()
    return planner.finish()


class _Arena:
    """A best-fit allocator over offsets: what is free, and how far it ever reached."""

    def __init__(self) -> None:
        self.size = 0
        self._starts: list[int] = []  # free holes, by offset
        self._sizes: dict[int, int] = {}
        self._by_size: list[tuple[int, int]] = []  # (size, offset), sorted

    def allocate(self, size: int) -> int:
        position = bisect.bisect_left(self._by_size, (size, -1))
        if position < len(self._by_size):
            hole, offset = self._by_size[position]
            self._remove(offset)
            if hole > size:
                self._insert(offset + size, hole - size)
            return offset
        if self._starts and self._starts[-1] + self._sizes[self._starts[-1]] == self.size:
            offset = self._starts[-1]  # grow the hole at the end
            self._remove(offset)
        else:
            offset = self.size
        self.size = offset + size
        return offset

    def free(self, offset: int, size: int) -> None:
        position = bisect.bisect_left(self._starts, offset)
        if position < len(self._starts) and self._starts[position] == offset + size:
            size += self._remove(offset + size)
        if (
            position
            and self._starts[position - 1] + self._sizes[self._starts[position - 1]] == offset
        ):
            offset = self._starts[position - 1]
            size += self._remove(offset)
        self._insert(offset, size)

    def _insert(self, offset: int, size: int) -> None:
        bisect.insort(self._starts, offset)
        bisect.insort(self._by_size, (size, offset))
        self._sizes[offset] = size

    def _remove(self, offset: int) -> int:
        size = self._sizes.pop(offset)
        self._starts.pop(bisect.bisect_left(self._starts, offset))
        self._by_size.pop(bisect.bisect_left(self._by_size, (size, offset)))
        return size


@dataclass(slots=True)
class _Buffer:
    """A place in the work arena and when its last reader runs."""

    name: str
    offset: int
    size: int
    birth: int
    death: int


@dataclass
class _Planner:
    graph: Graph
    schedule: Schedule
    choices: Mapping[Node, Choice]
    layouts: Layouts
    slots: dict[Value, Slot] = field(default_factory=dict)  # by root
    workspaces: dict[Node, Slot] = field(default_factory=dict)
    prepared: dict[Node, Slot] = field(default_factory=dict)
    commits: list[tuple[str, Slot]] = field(default_factory=list)
    copies: list[tuple[Slot, Slot]] = field(default_factory=list)
    cached_size: int = 0

    def __post_init__(self) -> None:
        self.arena = _Arena()
        self.end = len(self.schedule.steps)
        self.position = {node: i for i, node in enumerate(self.schedule.steps)}
        self.maker = {v: n for n in self.schedule.steps for v in n.outputs}
        self.states = {state.value: state.name for state in self.graph.state}
        self.readers: dict[Value, list[Node]] = {}
        for node in self.schedule.steps:
            for value in node.inputs:
                self.readers.setdefault(self.schedule.root(value), []).append(node)
        self.kept = {self.schedule.root(value) for value in self.graph.outputs.values()}
        self.direct: dict[Value, str] = {}  # new states that are computed in place
        self.buffers: dict[Value, _Buffer] = {}
        self.all_buffers: list[_Buffer] = []
        self.dying: dict[int, list[_Buffer]] = {}  # by the position of their last reader
        self.used = 0
        self.peak = (0, 0)  # bytes, position

    # ---- state and cached memory

    def place_state_and_cached(self) -> None:
        for value, name in self.states.items():
            self.slots[value] = self.slot(value, Memory.STATE, state=name)
        for node in self.schedule.cached:
            for value in node.outputs:
                offset = self.cached_offset(value.spec.nbytes)
                self.slots[value] = self.slot(value, Memory.CACHED, offset)
            choice = self.choices.get(node)
            if choice is not None and choice.algorithm.workspace:
                size = choice.algorithm.workspace
                offset = self.cached_offset(size)
                self.workspaces[node] = _scratch(size, Memory.CACHED, offset)
        for node in (*self.schedule.cached, *self.schedule.steps):
            self.place_prepared(node)
        self.decide_updates()

    def place_prepared(self, node: Node) -> None:
        """Packed weights are kept where the weights stay as they are."""
        choice = self.choices.get(node)
        if choice is None or not choice.algorithm.prepared:
            return
        algorithm = choice.algorithm
        if all(node.inputs[operand] in self.schedule.stable for operand in algorithm.prepares):
            offset = self.cached_offset(algorithm.prepared)
            self.prepared[node] = _scratch(algorithm.prepared, Memory.CACHED, offset)

    def slot(self, value: Value, memory: Memory, offset: int = 0, state: str = "") -> Slot:
        return Slot(memory, value.spec, offset, state, self.layouts.strides[value])

    def cached_offset(self, nbytes: int) -> int:
        offset = self.cached_size
        self.cached_size += aligned(nbytes)
        return offset

    def decide_updates(self) -> None:
        """Which new states may be computed in the old one's place; the others wait for a commit."""
        last_refusal = max(
            (i for i, node in enumerate(self.schedule.steps) if node.op.may_refuse), default=-1
        )
        read_at_end = set(self.kept)
        for name, value in self.graph.updates.items():
            root = self.schedule.root(value)
            if root in self.states and self.states[root] != name:
                read_at_end.add(root)  # one state becomes the other's old value
        for name, value in self.graph.updates.items():
            if self.may_write_directly(name, value, last_refusal, read_at_end):
                self.direct[value] = name
                self.slots[value] = self.slot(value, Memory.STATE, state=name)

    def may_write_directly(
        self, name: str, value: Value, last_refusal: int, read_at_end: set[Value]
    ) -> bool:
        state = self.graph.state_by_name[name].value
        node = self.maker.get(value)
        if node is None or value in self.direct or state in read_at_end:
            return False
        position = self.position[node]
        if position <= last_refusal:  # a node that refuses may have written a part
            return False
        for reader in self.readers.get(state, ()):
            if reader is node:
                if not self.overwrites(node, state, value):
                    return False
            elif self.position[reader] > position:
                return False
        return True

    def overwrites(self, node: Node, operand: Value, output: Value) -> bool:
        """Whether the algorithm may write ``output`` over ``operand``, wherever it reads it."""
        if operand.spec.nbytes != output.spec.nbytes:
            return False
        allowed = self.choices[node].algorithm.overwrites
        return all(
            position in allowed
            and value.spec == output.spec
            and self.layouts.strides[value] == self.layouts.strides[output]
            for position, value in enumerate(node.inputs)
            if self.schedule.root(value) is operand
        )

    # ---- the work arena

    def place_work(self) -> None:
        deaths = self.deaths()
        for value in self.graph.inputs:
            self.allocate(value, _BEFORE, deaths)
        for position, node in enumerate(self.schedule.steps):
            for index, value in enumerate(node.outputs):
                root = self.schedule.root(value)
                if root is not value and root not in self.slots:  # a part of what is to come
                    self.allocate(root, position, deaths)
                if root in self.slots:
                    continue
                unread = value not in deaths
                if unread and index in node.op.optional_outputs:
                    continue
                if not self.take_over(node, value, position, deaths):
                    self.allocate(value, position, deaths)
            self.place_workspace(node, position)
            if self.used > self.peak[0]:
                self.peak = (self.used, position)
            self.release(position)
        self.place_commits()

    def deaths(self) -> dict[Value, int]:
        """The position of each root's last reader; results live to the end."""
        deaths = {
            value: max(self.position[node] for node in nodes)
            for value, nodes in self.readers.items()
        }
        committed = {
            self.schedule.root(v) for v in self.graph.updates.values() if v not in self.direct
        }
        deaths.update(dict.fromkeys(self.kept | committed, self.end))
        return deaths

    def take_over(
        self, node: Node, value: Value, position: int, deaths: Mapping[Value, int]
    ) -> bool:
        """Write the output over an operand that dies here."""
        for operand in dict.fromkeys(self.schedule.root(v) for v in node.inputs):
            buffer = self.buffers.get(operand)
            if buffer is None or buffer.death != position:
                continue
            if self.overwrites(node, operand, value):
                buffer.death = deaths.get(value, position)
                if buffer.death != position:  # else nothing reads the output: it dies here too
                    self.dying.setdefault(buffer.death, []).append(buffer)
                self.buffers[value] = buffer
                self.slots[value] = self.slot(value, Memory.WORK, buffer.offset)
                return True
        return False

    def allocate(self, value: Value, position: int, deaths: Mapping[Value, int]) -> None:
        death = deaths.get(value, position)
        self.buffers[value] = self.new_buffer(value.name, value.spec.nbytes, position, death)
        self.slots[value] = self.slot(value, Memory.WORK, self.buffers[value].offset)

    def place_workspace(self, node: Node, position: int) -> None:
        algorithm = self.choices[node].algorithm
        if algorithm.workspace:
            self.workspaces[node] = self.scratch("workspace", node, algorithm.workspace, position)
        if algorithm.prepared and node not in self.prepared:
            self.prepared[node] = self.scratch("prepared", node, algorithm.prepared, position)

    def scratch(self, what: str, node: Node, nbytes: int, position: int) -> Slot:
        buffer = self.new_buffer(f"{what} of {node.name}", nbytes, position, position)
        return _scratch(nbytes, Memory.WORK, buffer.offset)

    def new_buffer(self, name: str, nbytes: int, birth: int, death: int) -> _Buffer:
        size = aligned(nbytes)
        buffer = _Buffer(name, self.arena.allocate(size) if size else 0, size, birth, death)
        self.used += size
        self.all_buffers.append(buffer)
        self.dying.setdefault(death, []).append(buffer)
        return buffer

    def release(self, position: int) -> None:
        for buffer in self.dying.pop(position, ()):
            if buffer.death == position and buffer.size:  # not taken over meanwhile
                self.arena.free(buffer.offset, buffer.size)
                self.used -= buffer.size

    def peak_values(self) -> tuple[str, tuple[tuple[str, int], ...]]:
        _, position = self.peak
        live = [b for b in self.all_buffers if b.birth <= position <= b.death and b.size]
        largest = sorted(live, key=lambda buffer: -buffer.size)
        name = self.schedule.steps[position].name if self.schedule.steps else "the start"
        return name, tuple((buffer.name, buffer.size) for buffer in largest)

    def place_commits(self) -> None:
        """New states to copy at the end; one that is another state's old value is kept aside."""
        for name, value in self.graph.updates.items():
            if value in self.direct and self.direct[value] == name:
                continue
            root = self.schedule.root(value)
            source = self.slots[root]
            if root in self.states:
                if self.states[root] == name:
                    continue
                buffer = self.new_buffer(f"old {root.name}", value.spec.nbytes, self.end, self.end)
                kept = self.slot(value, Memory.WORK, buffer.offset)
                self.copies.append((self.layouts.slot(source, value), kept))
                source = kept
            self.commits.append((name, self.layouts.slot(source, value)))

    def finish(self) -> MemoryPlan:
        slots = dict(self.slots)
        for view, root in self.schedule.roots.items():
            slots[view] = self.layouts.slot(self.slots[root], view)
        peak_step, peak_values = self.peak_values()
        state_bytes = sum(aligned(s.value.spec.nbytes) + ALIGNMENT for s in self.graph.state)
        return MemoryPlan(
            schedule=self.schedule,
            slots=slots,
            workspaces=self.workspaces,
            prepared=self.prepared,
            commits=tuple(self.commits),
            copies=tuple(self.copies),
            work_bytes=self.arena.size + ALIGNMENT,
            cached_bytes=self.cached_size + ALIGNMENT,
            state_bytes=state_bytes,
            peak_step=peak_step,
            peak_values=peak_values,
        )


def _scratch(nbytes: int, memory: Memory, offset: int) -> Slot:
    spec = TensorSpec((nbytes,), DType.UINT8)
    return Slot(memory, spec, offset, strides=(1,))
