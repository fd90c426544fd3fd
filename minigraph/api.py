"""compile and load: from a model function, or a saved file, to an executable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from minigraph.algorithms import DEFAULT_MAX_RELATIVE_ERROR
from minigraph.backend import load_backend
from minigraph.compiler import ModelFunction, Options, compile_inference, compile_training
from minigraph.executable import CompileGraph, Executable
from minigraph.ir.errors import BuilderError, InputError
from minigraph.ir.spec import SpecLike, TensorSpec
from minigraph.optimizers import Optimizer
from minigraph.passes import Pass
from minigraph.replay import FunctionSource, GraphSource, Source
from minigraph.serialization import load_model
from minigraph.state import ModelState

_CALL_ARGUMENTS = ("out", "fetch", "runs")  # exe(out=...), exe.profile(runs=...)


def compile(
    model: ModelFunction,
    inputs: Mapping[str, SpecLike],
    *,
    optimizer: Optimizer | None = None,
    loss: str = "loss",
    outputs: Sequence[str] | None = None,
    backend: str = "auto",
    threads: int | None = None,
    seed: int = 0,
    state: ModelState | None = None,
    max_relative_error: float = DEFAULT_MAX_RELATIVE_ERROR,
    memory_limit: int | None = None,
    passes: Sequence[Pass] | None = None,
) -> Executable:
    """Compile a model function: to a training step where an optimiser is given, else to inference.

    ``model`` takes symbolic tensors by the names of ``inputs`` (specs such as
    ``"float32[8,3,64,64]"``) and returns a dict of named tensors. A training step minimises the
    output called ``loss`` and updates the state; inference leaves the state alone.

    ``outputs`` limits what a call returns (inputs that they do not need are then not asked for).
    ``state`` shares another executable's parameters: ``mg.compile(..., state=step.state)``.
    ``seed`` starts new parameters. ``max_relative_error`` bounds each node's algorithm;
    ``memory_limit`` (bytes) bounds work, cached and state memory, or raises MemoryLimitError.
    """
    specs = {name: TensorSpec.of(spec) for name, spec in inputs.items()}
    options = Options(max_relative_error, memory_limit, passes)
    if not callable(model):
        raise BuilderError(f"Expected a model function, got {type(model).__name__}")
    return _executable(
        FunctionSource(model), specs, optimizer, loss, outputs, backend, threads, seed, state,
        options,
    )  # fmt: skip


def load(
    path: str | Path,
    *,
    optimizer: Optimizer | None = None,
    loss: str = "loss",
    outputs: Sequence[str] | None = None,
    inputs: Mapping[str, SpecLike] | None = None,
    backend: str = "auto",
    threads: int | None = None,
    max_relative_error: float = DEFAULT_MAX_RELATIVE_ERROR,
    memory_limit: int | None = None,
    passes: Sequence[Pass] | None = None,
) -> Executable:
    """Load a saved model for inference, or with an optimiser to train on.

    No model code is needed. ``inputs`` gives other shapes than those it was saved with; other
    shapes may also just be fed. Raises LoadError.
    """
    graph, arrays = load_model(path)
    specs = {value.name: value.spec for value in graph.inputs}
    unknown = [name for name in inputs or {} if name not in specs]
    if unknown:
        raise InputError(f"Expected inputs of {', '.join(specs)}, got {', '.join(unknown)}")
    specs |= {name: TensorSpec.of(spec) for name, spec in (inputs or {}).items()}
    options = Options(max_relative_error, memory_limit, passes)
    executable = _executable(
        GraphSource(graph), specs, optimizer, loss, outputs, backend, threads, 0, None, options
    )
    _restore(executable.state, arrays)
    return executable


def _executable(
    source: Source,
    specs: Mapping[str, TensorSpec],
    optimizer: Optimizer | None,
    loss: str,
    outputs: Sequence[str] | None,
    backend: str,
    threads: int | None,
    seed: int,
    state: ModelState | None,
    options: Options,
) -> Executable:
    taken = [name for name in specs if name in _CALL_ARGUMENTS]
    if taken:
        raise BuilderError(
            f"Expected names of inputs that are no arguments of a call, got {', '.join(taken)}"
        )
    engine = load_backend(backend, threads)
    state = ModelState(engine.new_store(), seed) if state is None else state
    compile_graph: CompileGraph
    if optimizer is None:
        compile_graph = partial(compile_inference, backend=engine, options=options)
    else:
        compile_graph = partial(
            compile_training, optimizer=optimizer, loss=loss, backend=engine, options=options
        )
    return Executable(source, specs, compile_graph, engine, state, outputs)


def _restore(state: ModelState, arrays: Mapping[str, np.ndarray]) -> None:
    """The saved values of all variables that this executable has, slots included."""
    for name in state:
        if name in arrays:
            state[name] = arrays[name]
