"""compile and load: from a model function, or a saved file, to an executable."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from minigraph.algorithms import DEFAULT_MAX_RELATIVE_ERROR
from minigraph.backend import Backend, load_backend
from minigraph.compiler import ModelFunction, Options, compile_inference, compile_training
from minigraph.executable import Executable
from minigraph.inputs import follow
from minigraph.ir.errors import BuilderError, InputError, UnsupportedError
from minigraph.ir.spec import DType, DTypeLike, SpecLike, TensorSpec
from minigraph.optimizers import LEARNING_RATE, LossScale, Optimizer, loss_scale_of
from minigraph.passes import MixedPrecision, Pass, precision_of
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
    backend: str | Backend = "auto",
    threads: int | None = None,
    seed: int = 0,
    state: ModelState | None = None,
    max_relative_error: float = DEFAULT_MAX_RELATIVE_ERROR,
    memory_limit: int | None = None,
    passes: Sequence[Pass] | None = None,
    tune: str = "estimate",
    precision: DTypeLike | MixedPrecision = "float32",
    loss_scale: LossScale | str | float | None = None,
) -> Executable:
    """Compile a model function: to a training step where an optimiser is given, else to inference.

    ``model`` takes symbolic tensors by the names of ``inputs`` (specs such as
    ``"float32[8,3,64,64]"``) and returns a dict of named tensors. A training step minimises the
    output called ``loss`` and updates the state; inference leaves the state alone.

    ``outputs`` limits what a call returns (inputs that they do not need are then not asked for).
    ``state`` shares another executable's parameters: ``mg.compile(..., state=step.state)``; a
    warning names parameters that it did not have. ``seed`` starts new parameters. ``backend`` is a
    name, "auto" or a backend of ``mg.load_backend``. ``max_relative_error`` bounds each node's
    algorithm (where none is within it, the most exact one is taken); ``memory_limit`` (bytes)
    bounds work, cached and state memory, or raises MemoryLimitError. ``passes`` replaces the
    pipeline (see ``compiler.default_passes``). ``tune="measure"`` times the algorithms of each node
    where there are several, and keeps the times on disk; the default takes the backend's estimates.

    ``precision`` is that of convolutions, products and what follows them: "bfloat16" or "float16"
    (mixed precision), or an ``mg.MixedPrecision`` that keeps some nodes out. Parameters, state,
    inputs and outputs keep their dtype. ``loss_scale`` is "dynamic" (what float16 has by default),
    a number, or an ``mg.DynamicLossScale``: see docs/precision.md.
    """
    if not callable(model):
        raise BuilderError(f"Expected a model function, got {type(model).__name__}")
    if not isinstance(inputs, Mapping):
        raise BuilderError(
            f"Expected inputs as a mapping of names to specs, got {type(inputs).__name__}"
        )
    specs = {name: TensorSpec.of(spec) for name, spec in inputs.items()}
    options = Options(
        max_relative_error, memory_limit, passes, tune,
        *_precision_and_scale(precision, loss_scale, optimizer),
    )  # fmt: skip
    if not isinstance(seed, int):
        raise BuilderError(f"Expected a whole number as the seed, got {seed!r}")
    _check_arguments(specs, optimizer, outputs, state)
    engine = _engine(backend, threads, state)
    shared = ModelState(engine, seed) if state is None else state
    before = set(shared)
    rate = shared[LEARNING_RATE] if LEARNING_RATE in before else None
    executable = _executable(
        FunctionSource(model), specs, optimizer, loss, outputs, engine, shared, options
    )
    if state is not None:
        _warn_of_new_parameters(shared, before)
    if optimizer is not None and rate not in (None, optimizer.learning_rate):
        warnings.warn(
            f"the state's learning rate was {rate} and is now the optimiser's, "
            f"{optimizer.learning_rate}: training steps on one state share it",
            stacklevel=2,
        )
    return executable


def load(
    path: str | Path,
    *,
    optimizer: Optimizer | None = None,
    loss: str = "loss",
    outputs: Sequence[str] | None = None,
    inputs: Mapping[str, SpecLike] | None = None,
    backend: str | Backend = "auto",
    threads: int | None = None,
    state: ModelState | None = None,
    max_relative_error: float = DEFAULT_MAX_RELATIVE_ERROR,
    memory_limit: int | None = None,
    passes: Sequence[Pass] | None = None,
    tune: str = "estimate",
    precision: DTypeLike | MixedPrecision = "float32",
    loss_scale: LossScale | str | float | None = None,
) -> Executable:
    """Load a saved model for inference, or with an optimiser to train on.

    No model code is needed. ``inputs`` gives other shapes than those it was saved with; other
    shapes may also just be fed: the graph is then replayed, and a node that holds sizes of the old
    shape is refused by name. (A Python number that the model took from a shape, such as
    ``1 / x.shape[0]``, is frozen in the file.) With ``state`` of another executable of this model
    the file's values are left aside: ``mg.load(path, outputs=[...], state=step.state)``. Slots of
    an optimiser go on where they were saved; its learning rate is the one given here. A saved model
    has no precision of its own: ``precision`` and ``loss_scale`` are as for ``compile``. Raises
    LoadError.
    """
    saved = load_model(path)
    specs = {value.name: value.spec for value in saved.graph.inputs}
    unknown = [name for name in inputs or {} if name not in specs]
    if unknown:
        raise InputError(f"Expected inputs of {', '.join(specs)}, got {', '.join(unknown)}")
    given = {name: TensorSpec.of(spec) for name, spec in (inputs or {}).items()}
    for name, spec in given.items():
        if spec.ndim != specs[name].ndim:
            raise InputError(f"Expected {specs[name].ndim} axes for {name!r}, got {spec}")
    specs = follow(specs, given)
    options = Options(
        max_relative_error, memory_limit, passes, tune,
        *_precision_and_scale(precision, loss_scale, optimizer),
    )  # fmt: skip
    _check_arguments(specs, optimizer, outputs, state)
    engine = _engine(backend, threads, state)
    shared = ModelState(engine, seed=0) if state is None else state
    if state is None:
        for name, array in saved.arrays.items():
            shared.restore(name, saved.roles.get(name), array)
    return _executable(
        GraphSource(saved.graph), specs, optimizer, loss, outputs, engine, shared, options,
        saved.metadata,
    )  # fmt: skip


def _precision_and_scale(
    precision: DTypeLike | MixedPrecision,
    loss_scale: LossScale | str | float | None,
    optimizer: Optimizer | None,
) -> tuple[MixedPrecision | None, LossScale | None]:
    lowered = precision_of(precision)
    if optimizer is None:
        if loss_scale is not None:
            raise BuilderError(
                f"Expected a loss scale beside an optimiser only, got {loss_scale!r} for inference"
            )
        return lowered, None
    if loss_scale is None and lowered is not None and lowered.dtype is DType.FLOAT16:
        loss_scale = "dynamic"
    return lowered, None if loss_scale is None else loss_scale_of(loss_scale)


def _engine(backend: str | Backend, threads: int | None, state: ModelState | None) -> Backend:
    """The backend that was asked for; a shared state brings its own, with its threads."""
    name = backend if isinstance(backend, str) else backend.name
    if state is not None and name not in ("auto", state.backend.name):
        raise UnsupportedError(
            f"Expected the backend {state.backend.name!r}, which holds the given state, "
            f"got {name!r}"
        )
    if not isinstance(backend, str):
        return backend
    if state is None:
        return load_backend(name, threads)
    if threads in (None, state.backend.threads):
        return state.backend
    return load_backend(state.backend.name, threads)


def _executable(
    source: Source,
    specs: Mapping[str, TensorSpec],
    optimizer: Optimizer | None,
    loss: str,
    outputs: Sequence[str] | None,
    backend: Backend,
    state: ModelState,
    options: Options,
    metadata: Mapping[str, str] | None = None,
) -> Executable:
    if optimizer is None:
        inference = partial(compile_inference, backend=backend, options=options)
        return Executable(source, specs, inference, backend, state, outputs, metadata)
    training = partial(
        compile_training, optimizer=optimizer, loss=loss, backend=backend, options=options
    )
    executable = Executable(source, specs, training, backend, state, outputs, metadata)
    state[LEARNING_RATE] = optimizer.learning_rate  # whatever a shared or saved state had
    return executable


def _check_arguments(
    specs: Mapping[str, TensorSpec], optimizer: object, outputs: object, state: object
) -> None:
    taken = [name for name in specs if name in _CALL_ARGUMENTS]
    if taken:
        raise BuilderError(
            f"Expected names of inputs that are no arguments of a call, got {', '.join(taken)}"
        )
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise BuilderError(f"Expected an optimiser such as mg.Adam(1e-3), got {optimizer!r}")
    if state is not None and not isinstance(state, ModelState):
        raise BuilderError(
            f"Expected the state of an executable (step.state), got {type(state).__name__}"
        )
    if isinstance(outputs, str):
        raise BuilderError(f"Expected a list of output names, got the string {outputs!r}")


def _warn_of_new_parameters(state: ModelState, before: set[str]) -> None:
    new = [name for name in state.parameters() if name not in before]
    if new:
        warnings.warn(
            f"the given state had no {', '.join(new)}: new parameters were made. Layers share "
            "parameters by their names",
            stacklevel=3,
        )
