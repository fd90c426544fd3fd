"""The whole way from a model function to a program, on one screen."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from minigraph.algorithms import DEFAULT_MAX_RELATIVE_ERROR, Candidates, Choice, select_algorithms
from minigraph.autodiff import add_gradients
from minigraph.backend import Backend, Program, Refused
from minigraph.ir.errors import BuilderError, MemoryLimitError, MinigraphError
from minigraph.ir.graph import Graph, Node
from minigraph.ir.location import Location, describe, traceback_locations
from minigraph.ir.spec import TensorSpec
from minigraph.ir.tensor import Tensor
from minigraph.layouts import assign_layouts
from minigraph.lower import lower
from minigraph.memory import MemoryPlan, plan_memory
from minigraph.ops import new_builder
from minigraph.optimizers import LossScale, Optimizer, add_scaled_updates, add_updates
from minigraph.passes import (
    FuseElementwise,
    FuseEpilogue,
    FuseSum,
    MixedPrecision,
    Pass,
    PassReport,
    eliminate_dead_nodes,
    fold_batch_norm,
    fold_constants,
    keep_outputs,
    mask_pooled_gradient,
    merge_common_nodes,
    read_narrow,
    recompute_widening,
    run_passes,
    to_inference,
    to_training,
    with_outputs,
)
from minigraph.tuning import measured_candidates

ModelFunction = Callable[..., Any]


@dataclass(frozen=True)
class Options:
    """What a compilation is asked to keep to."""

    max_relative_error: float = DEFAULT_MAX_RELATIVE_ERROR
    memory_limit: int | None = None  # bytes: work, cached and state memory together
    passes: Sequence[Pass] | None = None  # None: the default pipeline
    tune: str = "estimate"  # or "measure": time the algorithms of each node
    precision: MixedPrecision | None = None  # None: as the model function says
    loss_scale: LossScale | None = None

    def __post_init__(self) -> None:
        if not self.max_relative_error > 0:
            raise BuilderError(
                f"Expected a positive max_relative_error, got {self.max_relative_error}"
            )
        if not isinstance(self.memory_limit, int | None):
            raise BuilderError(
                f"Expected memory_limit as a number of bytes, got {self.memory_limit!r}"
            )
        if self.tune not in ("estimate", "measure"):
            raise BuilderError(f"Expected tune as 'estimate' or 'measure', got {self.tune!r}")
        if self.passes is not None and (
            not isinstance(self.passes, Sequence) or not all(map(callable, self.passes))
        ):
            raise BuilderError(f"Expected passes as a list of functions, got {self.passes!r}")


@dataclass(frozen=True)
class Compiled:
    """A program, and everything that led to it."""

    built: Graph  # with gradients and updates, before any pass
    graph: Graph
    reports: tuple[PassReport, ...]
    choices: Mapping[Node, Choice]
    plan: MemoryPlan
    program: Program


FOLDING: tuple[Pass, ...] = (
    eliminate_dead_nodes,
    fold_constants,
    merge_common_nodes,
    fold_batch_norm,
)
"""What the pipeline begins with: nothing here depends on the backend."""


def default_passes(backend: Backend) -> tuple[Pass, ...]:
    """The pipeline for training and inference alike."""
    return (
        *FOLDING,
        mask_pooled_gradient,
        read_narrow,
        recompute_widening,
        FuseEpilogue(backend.can_fuse),
        FuseSum(lambda op, inputs: not isinstance(backend.candidates(op, inputs), Refused)),
        FuseElementwise(backend.can_fuse),
        eliminate_dead_nodes,
    )


def compile_training(
    source: Graph,
    outputs: Sequence[str] | None,
    *,
    optimizer: Optimizer,
    loss: str,
    backend: Backend,
    options: Options,
    preferred: Mapping[str, str] | None = None,
) -> Compiled:
    """A model's graph to a training step: (batch, state) -> (outputs, new state)."""
    names = tuple(source.outputs if outputs is None else outputs)
    scale = options.loss_scale
    graph = to_training(source)
    reports: tuple[PassReport, ...] = ()
    if options.precision is not None:
        options.precision.check(source)
        graph, reports = run_passes(with_outputs(graph, names), (options.precision,))
    graph = add_gradients(graph, loss, None if scale is None else scale.tensor)
    if scale is None:
        graph = add_updates(graph, optimizer)
    else:
        graph = add_scaled_updates(graph, optimizer, scale)
    return finish(keep_outputs(graph, names), backend, options, reports, preferred)


def compile_inference(
    source: Graph,
    outputs: Sequence[str] | None,
    *,
    backend: Backend,
    options: Options,
    preferred: Mapping[str, str] | None = None,
) -> Compiled:
    """A model's graph to a pure function of batch and state."""
    graph = to_inference(source)
    graph = keep_outputs(graph, graph.outputs if outputs is None else outputs)
    if options.precision is None:
        return finish(graph, backend, options, (), preferred)
    options.precision.check(source)
    # Batch norm is folded into the weights in float32, and both are rounded together.
    before = FOLDING if options.passes is None else ()
    graph, reports = run_passes(graph, (*before, options.precision))
    return finish(graph, backend, options, reports, preferred)


def finish(
    built: Graph,
    backend: Backend,
    options: Options,
    earlier: tuple[PassReport, ...] = (),
    preferred: Mapping[str, str] | None = None,
) -> Compiled:
    """Passes, algorithms, memory plan, program. ``earlier`` are reports of passes before these.

    ``preferred`` names algorithms by node that are taken where the budgets allow.
    """
    _check_sizes(built, options.memory_limit)
    passes = default_passes(backend) if options.passes is None else tuple(options.passes)
    graph, reports = run_passes(built, passes)
    choices, plan = _fit_memory(graph, backend, options, preferred)
    return Compiled(built, graph, (*earlier, *reports), choices, plan, lower(graph, choices, plan))


def _check_sizes(graph: Graph, limit: int | None) -> None:
    """Refuse values that cannot be held, before anything of their size is made."""
    what = "the memory limit"
    if limit is None:
        limit, what = physical_memory(), "this machine's memory"
    if limit is None:
        return
    for value in graph.values():
        if value.spec.nbytes > limit:
            raise MemoryLimitError(
                f"Expected values within {limit:,} bytes ({what}), got {value.spec.nbytes:,} for "
                f"{value}"
            )


def physical_memory() -> int | None:
    """Bytes of this machine's memory, where the system says."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _fit_memory(
    graph: Graph, backend: Backend, options: Options, preferred: Mapping[str, str] | None
) -> tuple[Mapping[Node, Choice], MemoryPlan]:
    """Choose and plan; where the plan exceeds the limit, choose again with half the workspace."""
    budget = options.max_relative_error
    layouts = assign_layouts(graph, backend)
    candidates: Candidates = backend.candidates
    if options.tune == "measure" and not preferred:
        candidates = measured_candidates(graph, backend, layouts, budget)
    select = partial(
        select_algorithms, graph, backend, layouts,
        max_relative_error=budget, candidates=candidates, preferred=preferred,
    )  # fmt: skip
    choices = select()
    plan = plan_memory(graph, choices, layouts)
    limit = options.memory_limit
    workspace = max((c.algorithm.workspace for c in choices.values()), default=0)
    while limit is not None and plan.total_bytes > limit:
        if workspace == 0:
            raise MemoryLimitError(
                f"Expected a plan within {limit:,} bytes, got {plan.total_bytes:,} with the "
                f"smallest workspaces:\n{plan}"
            )
        workspace = workspace // 2 if workspace > 4096 else 0
        choices = select(max_workspace=workspace)
        plan = plan_memory(graph, choices, layouts)
    return choices, plan


def build_graph(fn: ModelFunction, inputs: Mapping[str, TensorSpec]) -> Graph:
    """Run a model function on symbolic tensors.

    ``fn`` takes the inputs by name and returns a dict of named outputs (or one tensor, called
    "output"). Raises SpecError or BuilderError with the user's lines.
    """
    builder = new_builder()
    tensors = {name: builder.input(name, spec) for name, spec in inputs.items()}
    try:
        _check_parameters(fn, tensors)
        result = fn(**tensors)
        named = {"output": result} if isinstance(result, Tensor) else result
        if not isinstance(named, Mapping) or not named:
            raise BuilderError(
                f"Expected the model function to return a dict of named tensors (or one tensor), "
                f"got {type(result).__name__}{_defined(fn)}"
            )
        for name, tensor in named.items():
            if not isinstance(name, str):
                raise BuilderError(f"Expected names of outputs as strings, got {name!r}")
            builder.output(name, tensor)
    except MinigraphError as error:
        raise _located(error) from None
    except AttributeError as error:
        if error.name != "builder":  # an operation was given something else than a tensor
            raise
        wrong = BuilderError(f"Expected a tensor, got {type(error.obj).__name__}: {error.obj!r}")
        raise _located(wrong.with_traceback(error.__traceback__)) from None
    return builder.build()


def _check_parameters(fn: ModelFunction, tensors: Mapping[str, Tensor]) -> None:
    signature = inspect.signature(fn)
    try:
        signature.bind(**tensors)
    except TypeError:
        name = getattr(fn, "__name__", type(fn).__name__)
        raise BuilderError(
            f"Expected a model function that takes {', '.join(tensors)}, got {name}{signature}"
            f"{_defined(fn)}"
        ) from None


def _defined(fn: ModelFunction) -> str:
    """Where a model function is defined, as a line for an error; "" where it has no code."""
    code = getattr(inspect.unwrap(fn), "__code__", None)
    if code is None:
        return ""
    location = Location(code.co_filename, code.co_firstlineno, code.co_name)
    return f"\n{describe((location,))}"


def _located(error: MinigraphError) -> MinigraphError:
    """The error with the user's lines, unless the builder has put them there."""
    text = str(error)
    where = describe(traceback_locations(error))
    return error if "\n  at " in text or not where else type(error)(f"{text}\n{where}")
