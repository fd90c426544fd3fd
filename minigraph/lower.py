"""Graph, choices and plan become the program that a backend builds."""

from __future__ import annotations

from collections.abc import Mapping

from minigraph.algorithms import Choice
from minigraph.backend import Algorithm, Commit, Program, Slot, Step
from minigraph.ir.constant import Constant
from minigraph.ir.graph import Graph, Node
from minigraph.memory import MemoryPlan
from minigraph.ops.control import StopGradient


def lower(graph: Graph, choices: Mapping[Node, Choice], plan: MemoryPlan) -> Program:
    """Every node becomes a step over slots; views and constants become slots alone."""

    def step(node: Node) -> Step:
        return Step(
            op=node.op,
            inputs=tuple(plan.slots[value] for value in node.inputs),
            outputs=tuple(plan.slots.get(value) for value in node.outputs),
            algorithm=choices[node].algorithm,
            workspace=plan.workspaces.get(node),
            prepared=plan.prepared.get(node),
            name=node.name,
            locations=graph.locations.get(node.outputs[0], ()),
        )

    constants = [n for n in plan.schedule.cached if isinstance(n.op, Constant)]
    return Program(
        steps=(*map(step, plan.schedule.steps), *(_copy(*pair) for pair in plan.copies)),
        cached_steps=tuple(step(n) for n in plan.schedule.cached if n not in set(constants)),
        commits=tuple(Commit(source, name) for name, source in plan.commits),
        inputs={value.name: plan.slots[value] for value in graph.inputs},
        outputs={name: plan.slots[value] for name, value in graph.outputs.items()},
        state={state.name: state.value.spec for state in graph.state},
        constants=tuple(
            (plan.slots[n.outputs[0]], graph.constants[n.op.digest])
            for n in constants
            if isinstance(n.op, Constant)
        ),
        work_bytes=plan.work_bytes,
        cached_bytes=plan.cached_bytes,
        cached_reads_state=plan.cached_reads_state,
        writes_state=bool(graph.updates),
    )


def _copy(source: Slot, target: Slot) -> Step:
    """An old state kept aside; StopGradient is the identity, run here as a copy."""
    return Step(StopGradient(), (source,), (target,), Algorithm("copy"), None, None, "copy")
