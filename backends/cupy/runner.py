"""Runs a program: a list of launches, recorded once and replayed as one graph.

Inputs are staged: they travel from a pinned buffer of the host to the device, row by row as users
have them, and the graph begins by bringing them into their slots. Outputs take the same way back.
While the device computes, the inputs of the next call may travel (``staging``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from minigraph.backend import (
    Memory,
    Program,
    Slot,
    Step,
    aligned,
)
from minigraph.backends.cupy.call import AnyCall, Binding, Call, LibraryCall, Lowering
from minigraph.backends.cupy.code import prelude
from minigraph.backends.cupy.cudnn.plans import Cudnn
from minigraph.backends.cupy.device import Device, Dimensions, Launch
from minigraph.backends.cupy.kernels.copy import copy_calls
from minigraph.backends.cupy.staging import InputStaging, Staging, staged_bytes
from minigraph.backends.cupy.store import DeviceStore
from minigraph.device_array import DeviceArray
from minigraph.interrupts import interrupts_delayed
from minigraph.ir.errors import MemoryLimitError
from minigraph.lowering.transfers import commit_state, fetch_inputs, give_outputs
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
        cudnn: Cudnn | None = None,
    ) -> None:
        self._program = program
        self._store = store
        self._device = device
        self._device_lock = device_lock
        self._lowerings = lowerings
        self._cudnn = cudnn
        self._may_refuse = any(step.op.may_refuse for step in program.steps)
        with interrupts_delayed(), device_lock:
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
                _queue(self._groups)
                self._staged_inputs.send_expected()
                self._end(outputs)
                self._graph = self._device.record(partial(_queue, self._groups))
            else:
                self._device.replay(self._graph)
                self._staged_inputs.send_expected()
                self._end(outputs)

    def prefetch(self, inputs: Mapping[str, np.ndarray]) -> None:
        """The next call but one will be on these arrays: they travel while the next one runs."""
        with interrupts_delayed(), self._device_lock:
            self._staged_inputs.expect(inputs)

    def forget_prefetched(self) -> None:
        """What was announced may change: it will be fetched when a call is on it."""
        with interrupts_delayed(), self._device_lock:
            self._staged_inputs.forget()

    def timed_run(
        self, inputs: Mapping[str, AnyArray], outputs: Mapping[str, AnyArray]
    ) -> list[float]:
        """One call, with the seconds of each step; without the graph, which has no steps."""
        with interrupts_delayed(), self._access(), self._device_lock:
            self._begin(inputs)
            parts = [partial(_queue, [group]) for group in self._groups]
            seconds = self._device.time(parts)
            self._end(outputs)
        return seconds[self._first_step : self._first_step + len(self._program.steps)]

    def _begin(self, inputs: Mapping[str, AnyArray]) -> None:
        self._refresh_cached()
        self._staged_inputs.bring(inputs)
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

    def _refresh_cached(self) -> None:
        version = self._store.version if self._program.cached_reads_state else 0
        if self._cached_version != version:
            _queue(self._cached)
            self._cached_version = version

    def _refusal(self) -> Exception:
        """The error for the first step that refused a value.

        Later steps have run, and may have written over its operand: everything up to it is run
        again, from the same inputs and the same state.
        """
        index = int(np.argmax(self._refused[1:] != _NOWHERE))
        step, position = self._program.steps[index], int(self._refused[1 + index])
        lowering = self._lowerings[type(step.op)]
        operand = step.inputs[lowering.refused_input]
        _queue(self._groups[: self._first_step + index])
        value = self._values(operand).reshape(-1)[position]
        return lowering.error(step, position, int(value))

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
        self._work_bytes = program.work_bytes
        fetched = fetch_inputs(program, copy_calls)
        steps = [self._shielded(self._lower(step)) for step in program.steps]
        given = give_outputs(program, copy_calls)
        committed = commit_state(program, copy_calls)
        groups: list[Sequence[AnyCall]] = [*fetched, *steps, *given, *committed]
        cached = [self._lower(step) for step in program.cached_steps]
        self._check_memory()
        self._arenas = {
            Memory.WORK: device.allocate(self._work_bytes),
            Memory.CACHED: device.allocate(program.cached_bytes),
        }
        self._staged_inputs = InputStaging(device, program.inputs)
        self._staged_outputs = Staging(device, program.outputs)
        self._tables: list[Any] = []  # memory, alive as long as the addresses that kernels have
        self._make_words()
        for slot, array in program.constants:
            order = sorted(range(slot.spec.ndim), key=lambda axis: -slot.strides[axis])
            value = np.asarray(array, slot.spec.dtype.numpy).transpose(order)
            value = np.ascontiguousarray(value)  # there until ``synchronise``
            device.upload(self._address(slot), value)
            device.synchronise()
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
            self._groups.insert(0, [self._reset])
            self._first_step += 1
        self.allocated_bytes = self._work_bytes + program.cached_bytes
        device.synchronise()

    def _check_memory(self) -> None:
        """Raises MemoryLimitError where the device has not room for all that this runner takes."""
        program, device = self._program, self._device
        staged = staged_bytes(program.inputs) + staged_bytes(program.outputs)
        needed = self._work_bytes + program.cached_bytes + staged
        free = device.free_bytes()
        if needed > free:
            raise MemoryLimitError(
                f"Expected room for {needed:,} bytes on {device.info.name} (intermediates "
                f"{self._work_bytes:,}, cached {program.cached_bytes:,}, inputs and outputs "
                f"{staged:,}), got {free:,} free of {device.info.total_bytes:,}: take a smaller "
                f"batch, or memory_limit= for smaller workspaces"
            )

    def _make_words(self) -> None:
        """The refusal flag and each step's refused position; and what they are set to."""
        words = np.full(1 + len(self._program.steps), _NOWHERE, np.int64)
        words[0] = 0
        self._words = self._device.allocate(words.nbytes)
        self._no_refusal = self._device.allocate(words.nbytes)
        self._device.upload(self._no_refusal.address, words)
        self._refused = self._device.host_array(words.nbytes).view(np.int64)
        self._device.synchronise()
        # No method of the runner: its memory is to go with the last reference to it.
        places = self._words.address, self._no_refusal.address
        self._reset = partial(self._device.copy, *places, words.nbytes)
        self._reset()

    def _lower(self, step: Step) -> Sequence[AnyCall]:
        return self._lowerings[type(step.op)].calls(
            Binding(
                op=step.op,
                algorithm=step.algorithm.name,
                inputs=step.inputs,
                outputs=step.outputs,
                workspace=step.workspace,
                info=self._device.info,
                cudnn=self._cudnn,
            )
        )

    def _shielded(self, calls: Sequence[AnyCall]) -> list[AnyCall]:
        """Calls of which none writes state after a refusal.

        A library's work cannot look at the flag: what it makes of state variables goes to memory
        of its own, behind the arena, and a guarded copy brings it to the state.
        """
        if not self._may_refuse:
            return list(calls)
        result: list[AnyCall] = []
        for call in calls:
            if not isinstance(call, LibraryCall):
                result.append(call)
                continue
            own = {place: self._behind(place) for place in call.writes if _is_state(place)}
            writes = tuple(own.get(place, place) for place in call.writes)
            result.append(replace(call, writes=writes))
            for state, slot in own.items():
                result += copy_calls(slot, state)
        return result

    def _behind(self, place: Place) -> Slot:
        """As much memory, behind what the program plans."""
        assert isinstance(place, Slot)
        slot = replace(place, memory=Memory.WORK, state="", offset=aligned(self._work_bytes))
        self._work_bytes = slot.offset + aligned(place.spec.nbytes)
        return slot

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
            value = np.ascontiguousarray(place.array)
            self._device.upload(memory.address, value)
            self._device.synchronise()
            return memory.address
        if place.memory is Memory.STATE:
            return self._store.address(place.state) + place.offset
        return self._arenas[place.memory].address + place.offset


def _queue(groups: Iterable[Sequence[Work]]) -> None:
    for group in groups:
        for work in group:
            work()


def _is_state(place: Place) -> bool:
    return isinstance(place, Slot) and place.memory is Memory.STATE


def _three(dimensions: int | Dimensions) -> Dimensions:
    return (dimensions, 1, 1) if isinstance(dimensions, int) else dimensions
