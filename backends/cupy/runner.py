"""Runs a program: a list of launches, recorded once and replayed as one graph.

Inputs are staged: they travel from a pinned buffer of the host to the device, row by row as users
have them, and the graph begins by bringing them into their slots. Outputs take the same way back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from minigraph.backend import (
    Memory,
    Program,
    Slot,
    Step,
    aligned,
    channels_last,
    dense_strides,
    row_major,
)
from minigraph.backends.cupy.call import AnyCall, Binding, Call, Lowering
from minigraph.backends.cupy.code import prelude
from minigraph.backends.cupy.device import Device, Dimensions, Launch
from minigraph.backends.cupy.kernels.copy import copy_calls
from minigraph.backends.cupy.store import DeviceStore
from minigraph.device_array import DeviceArray
from minigraph.interrupts import interrupts_delayed
from minigraph.ir.location import describe
from minigraph.ir.spec import TensorSpec
from minigraph.places import External, Place, Table

_NOWHERE = np.iinfo(np.int64).max  # the refused position while nothing is refused
_WORD = 8

Work = Callable[[], None]
AnyArray = np.ndarray | DeviceArray


class CupyRunner:
    """A program bound to its memory."""

    def __init__(
        self,
        program: Program,
        store: DeviceStore,
        lowerings: Mapping[type, Lowering],
        device: Device,
        device_lock: threading.Lock,
    ) -> None:
        self._program = program
        self._store = store
        self._device = device
        self._device_lock = device_lock
        self._lowerings = lowerings
        self._may_refuse = any(step.op.may_refuse for step in program.steps)
        with device_lock:
            self._bind()
        self._graph: Any = None
        self._cached_version = -1
        self._access = store.lock.writing if program.writes_state else store.lock.reading

    # ---- running

    def run(self, inputs: Mapping[str, AnyArray], outputs: Mapping[str, AnyArray]) -> None:
        """One call. The first one runs the launches one by one, later ones replay their graph."""
        with interrupts_delayed(), self._access(), self._device_lock:
            self._begin(inputs)
            if self._graph is None:
                self._queue(self._groups)
                self._end(outputs)
                self._graph = self._device.record(partial(self._queue, self._groups))
            else:
                self._device.replay(self._graph)
                self._end(outputs)

    def timed_run(
        self, inputs: Mapping[str, AnyArray], outputs: Mapping[str, AnyArray]
    ) -> list[float]:
        """One call, with the seconds of each step; without the graph, which has no steps."""
        with interrupts_delayed(), self._access(), self._device_lock:
            self._begin(inputs)
            parts = [partial(self._queue, [group]) for group in self._groups]
            seconds = self._device.time(parts)
            self._end(outputs)
        return seconds[self._first_step : self._first_step + len(self._program.steps)]

    def _begin(self, inputs: Mapping[str, AnyArray]) -> None:
        self._refresh_cached()
        self._staged_inputs.upload(inputs)
        if self._program.writes_state:  # before: whatever ends this call, nothing stale is used
            self._store.version += 1

    def _end(self, outputs: Mapping[str, AnyArray]) -> None:
        self._staged_outputs.download(outputs)
        if self._may_refuse:
            self._device.download(self._refused, self._words.address)
        self._device.synchronise()
        if self._may_refuse and self._refused[0]:
            raise self._refusal()
        self._staged_outputs.give(outputs)

    def _queue(self, groups: Iterable[Sequence[Work]]) -> None:
        for group in groups:
            for work in group:
                work()

    def _refresh_cached(self) -> None:
        version = self._store.version if self._program.cached_reads_state else 0
        if self._cached_version != version:
            self._queue(self._cached)
            self._cached_version = version

    def _refusal(self) -> Exception:
        """The error for the first step that refused a value.

        Later steps have run, and may have written over its operand: everything up to it is run
        again, from the same inputs and the same state.
        """
        index = int(np.argmax(self._refused[1:] != _NOWHERE))
        step, position = self._program.steps[index], int(self._refused[1 + index])
        lowering = self._lowerings[type(step.op)]
        assert lowering.refusal is not None
        operand = step.inputs[lowering.refused_input]
        self._queue(self._groups[: self._first_step + index])
        value = self._values(operand).reshape(-1)[position]
        error = lowering.refusal(step.op, step.inputs, position, int(value))
        where = describe(step.locations)
        text = f"{error}\n  in {step.op.name} '{step.name}'; no state was changed"
        return type(error)(f"{text}\n{where}" if where else text)

    def _values(self, slot: Slot) -> np.ndarray:
        """What a slot without gaps holds."""
        order = sorted(range(slot.spec.ndim), key=lambda axis: -slot.strides[axis])
        array = np.empty([slot.spec.shape[axis] for axis in order], slot.spec.dtype.numpy)
        self._device.download(array, self._address(slot))
        self._device.synchronise()
        return array.transpose(np.argsort(order))

    # ---- binding

    def _bind(self) -> None:
        program, device = self._program, self._device
        self._arenas = {
            Memory.WORK: device.allocate(program.work_bytes),
            Memory.CACHED: device.allocate(program.cached_bytes),
        }
        self._staged_inputs = Staging(device, program.inputs)
        self._staged_outputs = Staging(device, program.outputs)
        self._tables: list[Any] = []  # memory, alive as long as the addresses that kernels have
        self._make_words()
        for slot, array in program.constants:
            order = sorted(range(slot.spec.ndim), key=lambda axis: -slot.strides[axis])
            value = np.asarray(array, slot.spec.dtype.numpy).transpose(order)
            device.upload(self._address(slot), np.ascontiguousarray(value))
            device.synchronise()
        fetched = [copy_calls(_external(n, s, False), s) for n, s in program.inputs.items()]
        steps = [self._lower(step) for step in program.steps]
        given = [copy_calls(s, _external(n, s, True)) for n, s in program.outputs.items()]
        committed = [
            copy_calls(commit.source, _state_slot(commit.state, program.state[commit.state]))
            for commit in program.commits
        ]
        groups = [*fetched, *steps, *given, *committed]
        cached = [self._lower(step) for step in program.cached_steps]
        self._functions = device.compile(prelude(), self._sources([*groups, *cached]))
        first = len(fetched)
        numbers = range(-first, len(groups) - first)  # of steps; of no step beyond them
        self._groups = [
            [self._work(call, number if 0 <= number < len(steps) else None) for call in group]
            for number, group in zip(numbers, groups, strict=True)
        ]
        self._cached = [[self._work(call, None) for call in group] for group in cached]
        self._first_step = first
        if self._may_refuse:
            self._groups.insert(0, [self._reset_words])
            self._first_step += 1
        self.allocated_bytes = program.work_bytes + program.cached_bytes
        device.synchronise()

    def _make_words(self) -> None:
        """The refusal flag and each step's refused position; and what they are set to."""
        words = np.full(1 + len(self._program.steps), _NOWHERE, np.int64)
        words[0] = 0
        self._words = self._device.allocate(words.nbytes)
        self._no_refusal = self._device.allocate(words.nbytes)
        self._device.upload(self._no_refusal.address, words)
        self._refused = self._device.host_array(words.nbytes).view(np.int64)
        self._device.synchronise()
        self._reset_words()

    def _reset_words(self) -> None:
        self._device.copy(self._words.address, self._no_refusal.address, self._refused.nbytes)

    def _lower(self, step: Step) -> Sequence[AnyCall]:
        return self._lowerings[type(step.op)].calls(
            Binding(
                op=step.op,
                algorithm=step.algorithm.name,
                inputs=step.inputs,
                outputs=step.outputs,
                workspace=step.workspace,
                info=self._device.info,
            )
        )

    def _sources(self, groups: Iterable[Sequence[AnyCall]]) -> dict[str, str]:
        """The program's kernels by name, each once."""
        sources = {}
        for call in (call for group in groups for call in group if isinstance(call, Call)):
            guarded = self._is_guarded(call)
            sources[call.code.name(guarded)] = call.code.source(guarded)
        return sources

    def _is_guarded(self, call: Call) -> bool:
        """A graph cannot stop half-way, so kernels that write state look at the refusal flag."""
        return self._may_refuse and any(_is_state(place) for place in call.writes)

    def _work(self, call: AnyCall, step: int | None) -> Work:
        addresses = [self._address(place) for place in (*call.reads, *call.writes)]
        if not isinstance(call, Call):
            return partial(call.queue, self._device, addresses)
        guarded = self._is_guarded(call)
        if call.code.may_refuse:
            words = [self._words.address, self._words.address + _WORD * (1 + (step or 0))]
        else:
            words = [self._words.address] if guarded else []
        size_type: Callable[[int], np.generic]
        size_type = np.int32 if call.code.index == "int" else np.int64
        launch = Launch(
            function=self._functions[call.code.name(guarded)],
            grid=_three(call.grid),
            block=_three(call.block or call.code.threads),
            shared_bytes=call.shared_bytes,
            arguments=(
                *(np.uint64(address) for address in (*words, *addresses)),
                *(size_type(size) for size in call.sizes),
            ),
        )
        return partial(self._device.launch, launch)

    def _address(self, place: Place) -> int:
        if isinstance(place, External):
            staged = self._staged_outputs if place.is_output else self._staged_inputs
            return staged.addresses[place.name]
        if isinstance(place, Table):
            memory = self._device.allocate(place.array.nbytes)
            self._tables.append(memory)
            self._device.upload(memory.address, np.ascontiguousarray(place.array))
            self._device.synchronise()
            return memory.address
        if place.memory is Memory.STATE:
            return self._store.address(place.state) + place.offset
        return self._arenas[place.memory].address + place.offset


class Staging:
    """Where a program's inputs, or its outputs, lie between the caller and the arena.

    One range of bytes on the device, and one of the same size in pinned memory of the host.
    """

    def __init__(self, device: Device, slots: Mapping[str, Slot]) -> None:
        self._device = device
        offsets, size = {}, 0
        for name, slot in slots.items():
            offsets[name] = size
            size += aligned(slot.spec.nbytes)
        self._memory = device.allocate(size)
        self._host = device.host_array(size)
        self.addresses = {name: self._memory.address + at for name, at in offsets.items()}
        self._arrays = {
            name: self._host[at : at + slots[name].spec.nbytes]
            .view(slots[name].spec.dtype.numpy)
            .reshape(slots[name].spec.shape)
            for name, at in offsets.items()
        }

    def upload(self, arrays: Mapping[str, AnyArray]) -> None:
        """Queue the copies of the caller's arrays; the host's are read before this returns."""
        for name, staged in self._arrays.items():
            array = arrays[name]
            if isinstance(array, DeviceArray):
                self._wait_for(array)
                self._device.copy(self.addresses[name], array.address, staged.nbytes)
            else:
                np.copyto(staged, array)
                self._device.upload(self.addresses[name], staged)

    def download(self, arrays: Mapping[str, AnyArray]) -> None:
        """Queue the copies to the host's buffer."""
        for name, staged in self._arrays.items():
            if not isinstance(arrays[name], DeviceArray):
                self._device.download(staged, self.addresses[name])

    def give(self, arrays: Mapping[str, AnyArray]) -> None:
        """Copy what has arrived to the caller's arrays."""
        for name, staged in self._arrays.items():
            array = arrays[name]
            if isinstance(array, DeviceArray):
                self._wait_for(array)
                self._device.copy(array.address, self.addresses[name], staged.nbytes)
            else:
                np.copyto(array, staged)
        if any(isinstance(arrays[name], DeviceArray) for name in self._arrays):
            self._device.synchronise()

    def _wait_for(self, array: DeviceArray) -> None:
        if array.stream is not None:
            self._device.wait_for(array.stream)


def _is_state(place: Place) -> bool:
    return isinstance(place, Slot) and place.memory is Memory.STATE


def _three(dimensions: int | Dimensions) -> Dimensions:
    return (dimensions, 1, 1) if isinstance(dimensions, int) else dimensions


def _external(name: str, slot: Slot, is_output: bool) -> External:
    return External(name, is_output, slot.spec, dense_strides(slot.spec, row_major(slot.spec)))


def _state_slot(name: str, spec: TensorSpec) -> Slot:
    return Slot(Memory.STATE, spec, 0, name, dense_strides(spec, channels_last(spec)))
