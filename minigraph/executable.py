"""What a user calls: a compiled training step or inference function, with its state."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from minigraph.backend import Backend, Runner
from minigraph.compiler import Compiled
from minigraph.device_array import DeviceArray, check_device_array, device_array, is_on_device
from minigraph.display import executable_html, executable_title
from minigraph.explain import explain
from minigraph.inputs import as_array, as_input, follow
from minigraph.ir.errors import InputError, MemoryLimitError, SpecError, StateError
from minigraph.ir.graph import Graph
from minigraph.ir.spec import SpecLike, TensorSpec
from minigraph.memory import MemoryPlan
from minigraph.profile import Profile, make_profile
from minigraph.replay import Source
from minigraph.serialization import save_model
from minigraph.state import ModelState

_LOG = logging.getLogger("minigraph")
_KEPT_SPECIALISATIONS = 4


class CompileGraph(Protocol):
    """Graph and names of outputs to a program; ``preferred`` names algorithms by node."""

    def __call__(
        self,
        source: Graph,
        outputs: Sequence[str] | None,
        /,
        *,
        preferred: Mapping[str, str] | None = None,
    ) -> Compiled: ...


@dataclass(frozen=True)
class Specialisation:
    """One program for one set of input shapes and outputs, bound to its arena."""

    source: Graph
    compiled: Compiled
    runner: Runner
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]


class Executable:
    """A compiled model: ``exe(image=x, label=y)`` returns a dict of arrays.

    Inputs are copied in and cast losslessly or refused (float64 to float32 is the documented
    exception). Another shape compiles another specialisation; the last four are kept. One
    executable runs one call at a time; ``clone()`` shares the state and has its own arena.
    """

    def __init__(
        self,
        source: Source,
        specs: Mapping[str, TensorSpec],
        compile_graph: CompileGraph,
        backend: Backend,
        state: ModelState,
        outputs: Sequence[str] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self.metadata: Mapping[str, str] = MappingProxyType(dict(metadata or {}))
        self._source = source
        self._specs = dict(specs)
        self._compile = compile_graph
        self._default_outputs = None if outputs is None else tuple(outputs)
        self._known: OrderedDict[tuple, Specialisation] = OrderedDict()
        self._lock = threading.Lock()
        self.backend = backend
        self._state = state
        self._first = self._specialise(self._specs, self._default_outputs)

    # ---- running

    def __call__(
        self,
        batch: Mapping[str, Any] | None = None,
        /,
        *,
        out: Mapping[str, Any] | None = None,
        fetch: Sequence[str] = (),
        **inputs: Any,
    ) -> dict[str, np.ndarray]:
        """Run once on inputs by name, given as a mapping or as keywords; return outputs by name.

        Inputs are NumPy arrays, or whatever gives one without a copy (``__array__``,
        ``__dlpack__``: tensors of torch on the CPU, of JAX, ...). Outputs are NumPy arrays.
        ``out`` gives arrays to fill; an output that it lacks gets a fresh one. On the cupy backend
        inputs and ``out`` may be arrays on the GPU (``__cuda_array_interface__``), of the dtype
        asked for: they are not copied through the host's memory. ``fetch`` names
        further values of the graph to return: that compiles a variant with them as outputs, and
        logs so. Raises InputError for a wrong name, shape or dtype, and IllegalLabelError for a
        label that the loss refuses; a call that raises has changed no state.
        """
        if isinstance(fetch, str):
            raise InputError(f"Expected a list of names to fetch, got the string {fetch!r}")
        with self._lock:
            special, arrays = self._prepare(_by_name(batch, inputs), tuple(fetch))
            results = {**_new_arrays(special.outputs, out), **(out or {})}
            self._end_announcements(special)
            special.runner.run(arrays, self._targets(special.outputs, results))
            return {name: results[name] for name in special.outputs}

    def prefetch(self, batch: Mapping[str, Any] | None = None, /, **inputs: Any) -> None:
        """Announce a later call's inputs, so that a GPU fetches them while it computes.

        ``step.prefetch(next_batch)`` before ``step(batch)``: while that runs, the next batch
        travels. The arrays must not change until the call that they are for; results are the same
        as without. Backends on the CPU have nothing to fetch. Raises InputError as a call does.
        """
        with self._lock:
            special, arrays = self._prepare(_by_name(batch, inputs), ())
            special.runner.prefetch(arrays)

    def profile(
        self, batch: Mapping[str, Any] | None = None, /, *, runs: int = 10, **inputs: Any
    ) -> Profile:
        """Time each node over several runs (medians); a training step advances its state."""
        with self._lock:
            special, arrays = self._prepare(_by_name(batch, inputs), ())
            results = _new_arrays(special.outputs, None)
            self._end_announcements(special)
            special.runner.run(arrays, results)
            times, whole = [], []
            for _ in range(max(runs, 1)):
                start = time.perf_counter()
                times.append(special.runner.timed_run(arrays, results))
                whole.append(time.perf_counter() - start)
            return make_profile(special.compiled, times, whole)

    def _prepare(
        self, inputs: Mapping[str, Any], fetch: tuple[str, ...]
    ) -> tuple[Specialisation, dict[str, np.ndarray | DeviceArray]]:
        """The program for these inputs and fetches, and the inputs as it wants them."""
        self._check_names(inputs, self._first.inputs)
        arrays = {name: self._array(name, value) for name, value in inputs.items()}
        given = {
            name: _call_spec(name, arrays[name], spec)
            for name, spec in self._specs.items()
            if name in inputs
        }
        outputs = self._default_outputs
        if fetch:
            outputs = tuple(dict.fromkeys([*self._first.outputs, *fetch]))
        special = self._specialise(follow(self._specs, given), outputs)
        self._check_names(inputs, special.inputs)  # what is fetched may need more of them
        return special, {
            name: _as_input(name, arrays[name], spec) for name, spec in special.inputs.items()
        }

    def _end_announcements(self, called: Specialisation) -> None:
        """Arrays announced to another specialisation may change now: this may be the call meant."""
        for special in self._known.values():
            if special is not called:
                special.runner.forget_prefetched()

    def _array(self, name: str, value: Any) -> np.ndarray | DeviceArray:
        """An input as NumPy or as the device sees it."""
        if self.backend.takes_device_arrays and is_on_device(value):
            return device_array(repr(name), value)
        return as_array(name, value)

    def _targets(
        self, specs: Mapping[str, TensorSpec], results: Mapping[str, Any]
    ) -> dict[str, np.ndarray | DeviceArray]:
        """What results are written to."""
        return {name: _target(name, array, specs, self.backend) for name, array in results.items()}

    def _check_names(self, inputs: Mapping[str, Any], needed: Mapping[str, TensorSpec]) -> None:
        missing = [name for name in needed if name not in inputs]
        unknown = [name for name in inputs if name not in self._specs]
        if missing or unknown:
            raise InputError(
                f"Expected the inputs {', '.join(f'{n}: {s}' for n, s in needed.items())}, got "
                f"{', '.join(inputs) or 'none'}"
                f"{' (missing: ' + ', '.join(missing) + ')' if missing else ''}"
                f"{' (unknown: ' + ', '.join(unknown) + ')' if unknown else ''}"
            )

    def _specialise(
        self, specs: Mapping[str, TensorSpec], outputs: tuple[str, ...] | None
    ) -> Specialisation:
        key = (tuple(specs.values()), outputs)  # always in the order in which they were declared
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        if self._known:
            given = ", ".join(f"{name}: {spec}" for name, spec in specs.items())
            _LOG.info("compiling for %s, outputs %s", given, outputs or "as declared")
        special = self._make(specs, outputs)
        self._known[key] = special
        if len(self._known) > _KEPT_SPECIALISATIONS:  # the first one stays: it is what is shown
            del self._known[next(k for k, s in self._known.items() if s is not self._first)]
        return special

    def _make(
        self, specs: Mapping[str, TensorSpec], outputs: tuple[str, ...] | None
    ) -> Specialisation:
        source = self._build(specs)
        preferred = (
            self._algorithms() if self._known and _has_smaller_batch(specs, self._specs) else {}
        )
        compiled = self._compile(source, outputs, preferred=preferred)
        self.state.adopt(source)  # all of the model's variables, so that a saved file is whole
        self.state.adopt(compiled.graph)
        try:
            runner = self.backend.build(compiled.program, self.state.store)
        except MemoryLimitError as error:
            raise MemoryLimitError(f"{error}\n{compiled.plan}") from None
        return Specialisation(
            source=source,
            compiled=compiled,
            runner=runner,
            inputs={value.name: value.spec for value in compiled.graph.inputs},
            outputs={name: value.spec for name, value in compiled.graph.outputs.items()},
        )

    def _algorithms(self) -> Mapping[str, str]:
        """By node, as first compiled: a short last batch then finds its kernels compiled."""
        choices = self._first.compiled.choices
        return {node.name: choice.algorithm.name for node, choice in choices.items()}

    def _build(self, specs: Mapping[str, TensorSpec]) -> Graph:
        try:
            return self._source.graph_for(specs)
        except SpecError as error:
            if not self._known:
                raise
            given = ", ".join(f"{name}: {spec}" for name, spec in specs.items())
            raise InputError(f"The model does not take {given}\n{error}") from None

    # ---- looking

    @property
    def state(self) -> ModelState:
        """The model's state: assign its items (or ``state.update(...)``) to change it."""
        return self._state

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """The inputs that a call needs, as first compiled."""
        return self._first.inputs

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        """What a call returns, as first compiled."""
        return self._first.outputs

    @property
    def compiled(self) -> Compiled:
        """Graphs, pass reports, choices, plan and program, as first compiled."""
        return self._first.compiled

    @property
    def graph(self) -> Graph:
        """The graph after all passes."""
        return self._first.compiled.graph

    def graph_for(self, inputs: Mapping[str, SpecLike]) -> Graph:
        """The model's graph, before any pass, for inputs of other specs. Nothing is compiled.

        Inputs that are not given follow the others. Raises InputError where the model does not
        take them.
        """
        given = {name: TensorSpec.of(spec) for name, spec in inputs.items()}
        for name, spec in given.items():
            if name not in self._specs or spec.ndim != self._specs[name].ndim:
                raise InputError(
                    f"Expected specs like {', '.join(f'{n}: {s}' for n, s in self._specs.items())},"
                    f" got {name}: {spec}"
                )
        return self._build(follow(self._specs, given))

    @property
    def memory(self) -> MemoryPlan:
        """The memory plan."""
        return self._first.compiled.plan

    def explain(self) -> str:
        """What each pass changed, which algorithm each node got and why, and the memory plan."""
        return explain(self._first.compiled)

    def __repr__(self) -> str:
        inputs, outputs = (
            ", ".join(f"{name}: {spec}" for name, spec in specs.items())
            for specs in (self.inputs, self.outputs)
        )
        return f"<{executable_title(self)}; {inputs} -> {outputs}>"

    def _repr_html_(self) -> str:
        return executable_html(self)

    def clone(self) -> Executable:
        """Another executable on the same state, with its own arena: for another thread.

        Predictions of several clones run side by side; a training step runs alone.
        """
        other = copy(self)
        runner = self.backend.build(self._first.compiled.program, self.state.store)
        other._first = replace(self._first, runner=runner)
        other._known = OrderedDict(
            (key, other._first) for key, known in self._known.items() if known is self._first
        )
        other._lock = threading.Lock()
        return other

    def save(self, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
        """Write the model as one safetensors file: state, constants and the graph's text.

        ``mg.load`` needs no model code. The file is the model as it was built, so it can be
        loaded for inference and for training. ``metadata`` is kept beside that of the file it was
        loaded from, and is there again as ``mg.load(path).metadata``.
        """
        notes = {**self.metadata, **(metadata or {})}
        wrong = [name for name, text in notes.items() if not isinstance(text, str)]
        if wrong:
            raise StateError(f"Expected metadata as texts, got another type for {wrong}")
        save_model(path, self._first.source, self.state, notes)


def _has_smaller_batch(specs: Mapping[str, TensorSpec], whole: Mapping[str, TensorSpec]) -> bool:
    """Whether the inputs are those of ``whole`` but for fewer, or as many, along the first axis."""
    return all(
        spec.shape[1:] == whole[name].shape[1:] and spec.shape[:1] <= whole[name].shape[:1]
        for name, spec in specs.items()
    )


def _by_name(batch: object, inputs: Mapping[str, Any]) -> dict[str, Any]:
    if batch is None:
        return dict(inputs)
    if not isinstance(batch, Mapping):
        raise InputError(
            f"Expected inputs by name, such as step(image=x) or step({{'image': x}}), got "
            f"{type(batch).__name__}"
        )
    return {**batch, **inputs}


def _new_arrays(
    specs: Mapping[str, TensorSpec], out: Mapping[str, Any] | None
) -> dict[str, np.ndarray]:
    """Fresh arrays for the outputs that are not in ``out``."""
    return {
        name: np.empty(spec.shape, spec.dtype.numpy)
        for name, spec in specs.items()
        if out is None or name not in out
    }


def _target(
    name: str, array: Any, specs: Mapping[str, TensorSpec], backend: Backend
) -> np.ndarray | DeviceArray:
    """An array to fill, or where it lies on the device. Raises InputError."""
    spec, label = specs.get(name), f"out[{name!r}]"
    if spec is None:
        raise InputError(f"Expected an output of {', '.join(specs)} in out=, got {name!r}")
    if is_on_device(array):
        return _device_target(label, array, spec, backend)
    if not isinstance(array, np.ndarray):
        raise InputError(f"Expected an array for {label}, got {type(array).__name__}")
    if array.shape != spec.shape or array.dtype != spec.dtype.numpy:
        raise InputError(f"Expected {spec} for {label}, got {array.dtype}{list(array.shape)}")
    if not array.flags.writeable:
        raise InputError(f"Expected an array to write to for {label}, got a read-only one")
    return array


def _device_target(label: str, array: Any, spec: TensorSpec, backend: Backend) -> DeviceArray:
    if not backend.takes_device_arrays:
        raise InputError(
            f"Expected a NumPy array for {label}, got a {type(array).__name__} in a GPU's memory: "
            f"the {backend.name} backend computes on the CPU"
        )
    found = device_array(label, array)
    check_device_array(label, found, spec)
    if found.is_read_only:
        raise InputError(f"Expected an array to write to for {label}, got a read-only one")
    return found


def _as_input(
    name: str, array: np.ndarray | DeviceArray, spec: TensorSpec
) -> np.ndarray | DeviceArray:
    if isinstance(array, DeviceArray):
        check_device_array(repr(name), array, spec)
        return array
    return as_input(name, array, spec)


def _call_spec(name: str, array: np.ndarray | DeviceArray, declared: TensorSpec) -> TensorSpec:
    if array.ndim != declared.ndim:
        raise InputError(
            f"Expected {declared.ndim} axes for {name!r} ({declared}), got shape "
            f"{list(array.shape)}"
        )
    return declared if array.shape == declared.shape else declared.with_shape(array.shape)
