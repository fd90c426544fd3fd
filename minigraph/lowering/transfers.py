"""The copies around a program's steps: inputs into slots, slots into outputs and state."""

from __future__ import annotations

from collections.abc import Sequence

from minigraph.backend import Memory, Program, Slot, channels_last, dense_strides, row_major
from minigraph.ir.spec import TensorSpec
from minigraph.lowering.call import CallT
from minigraph.lowering.moves import Copy
from minigraph.places import External


def fetch_inputs(program: Program, copy: Copy[CallT]) -> list[Sequence[CallT]]:
    """For each input, the calls that bring it into its slot."""
    return [copy(_external(name, slot, False), slot) for name, slot in program.inputs.items()]


def give_outputs(program: Program, copy: Copy[CallT]) -> list[Sequence[CallT]]:
    """For each output, the calls that bring it to the caller."""
    return [copy(slot, _external(name, slot, True)) for name, slot in program.outputs.items()]


def commit_state(program: Program, copy: Copy[CallT]) -> list[Sequence[CallT]]:
    """For each state variable that is not computed in place, the calls that write it."""
    return [
        copy(commit.source, _state_slot(commit.state, program.state[commit.state]))
        for commit in program.commits
    ]


def _external(name: str, slot: Slot, is_output: bool) -> External:
    return External(name, is_output, slot.spec, dense_strides(slot.spec, row_major(slot.spec)))


def _state_slot(name: str, spec: TensorSpec) -> Slot:
    """Compiling backends keep images and weights channels last."""
    return Slot(Memory.STATE, spec, 0, name, dense_strides(spec, channels_last(spec)))
