"""What an optimiser is, the state that it may keep, and how its updates get into the graph.

Scalars (the learning rate, powers of the decay rates) are float64 state, so a schedule sets
``state["optimizer.learning_rate"]`` and never recompiles, and bias corrections lose nothing; they
are cast where they meet a parameter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from minigraph.autodiff import gradient_name
from minigraph.initializers import Constant
from minigraph.ir.builder import Builder
from minigraph.ir.errors import SpecError
from minigraph.ir.graph import Graph, Role
from minigraph.ir.spec import DType, TensorSpec
from minigraph.ir.tensor import Tensor
from minigraph.ops import new_builder
from minigraph.ops.elementwise import cast, logical_and, where

_SCOPE = "optimizer"
LEARNING_RATE = f"{_SCOPE}.learning_rate"

Selector = str | Callable[[str, TensorSpec], bool]
"""Which parameters: a pattern of names such as "encoder.*", or a function of name and spec."""


def selects(selector: Selector, name: str, spec: TensorSpec) -> bool:
    """Whether a selector takes the parameter."""
    if isinstance(selector, str):
        return fnmatchcase(name, selector)
    return bool(selector(name, spec))


def weights_only(name: str, spec: TensorSpec) -> bool:
    """A selector of all but biases and the parameters of norms, which have at most one axis."""
    return spec.ndim > 1


@dataclass(frozen=True, eq=False)
class Trained:
    """One parameter on its way to its next value: in float32 at least, with its gradient."""

    name: str
    parameter: Tensor
    gradient: Tensor
    rate_scale: float = 1.0  # its rate over ``optimizer.learning_rate``

    def with_gradient(self, gradient: Tensor) -> Trained:
        return replace(self, gradient=gradient)

    def with_rate(self, scale: float) -> Trained:
        return replace(self, rate_scale=self.rate_scale * scale)


class Optimizer(ABC):
    """Base of all optimisers: frozen dataclasses with a ``learning_rate``."""

    learning_rate: float

    def __post_init__(self) -> None:
        if not self.learning_rate >= 0:
            raise SpecError(f"Expected a learning rate of zero or more, got {self.learning_rate}")

    @abstractmethod
    def next_values(self, trained: Sequence[Trained], memory: Memory) -> dict[str, Tensor]:
        """The next value of every parameter, by name; ``memory`` makes and updates its state."""

    def kept(self, trained: Sequence[Trained]) -> Sequence[Trained]:
        """Those that it trains: all, unless groups freeze some."""
        return trained


class Rule(Optimizer):
    """An optimiser that treats each parameter by itself."""

    @abstractmethod
    def update(self, parameter: Tensor, gradient: Tensor, variables: Variables) -> Tensor:
        """The parameter's next value; slots are updated through ``variables``."""

    def next_values(self, trained: Sequence[Trained], memory: Memory) -> dict[str, Tensor]:
        values = {}
        for item in trained:
            with memory.updating(item):
                variables = Variables(memory, item)
                values[item.name] = self.update(item.parameter, item.gradient, variables)
        return values


@dataclass(frozen=True, eq=False)
class Memory:
    """Where an optimiser's state is made: shared scalars by name, slots by name and parameter.

    With a ``condition`` the state changes only in those calls in which it holds.
    """

    builder: Builder
    learning_rate: float  # the start of ``optimizer.learning_rate``
    scope: str = _SCOPE
    condition: Tensor | None = None

    def rate(self, scale: float = 1.0) -> Tensor:
        """The learning rate, a float64 scalar, times ``scale``."""
        rate = replace(self, scope=_SCOPE).scalar("learning_rate", self.learning_rate)
        return rate if scale == 1.0 else rate * scale

    def scalar(self, name: str, start: float) -> Tensor:
        """A shared float64 scalar called ``optimizer.<name>``."""
        found = self.builder.existing_state(f"{self.scope}.{name}")
        if found is not None:
            return found
        with self.builder.absolute_scope(self.scope):
            spec = TensorSpec((), DType.FLOAT64)
            return self.builder.state(name, spec, Role.SCALAR, Constant(start))

    def power(self, name: str, base: float) -> Tensor:
        """``base ** t`` in step t = 1, 2, ...: a scalar that is multiplied once a step."""
        known = self.builder.existing_state(f"{self.scope}.{name}")
        state = self.scalar(name, 1.0)
        return state * base if known is not None else self.assign(state, state * base)

    def slot(self, name: str, item: Trained) -> Tensor:
        """A zero-initialised variable of one parameter's, with its shape."""
        with self.builder.absolute_scope(_SCOPE, name):
            return self.builder.state(item.name, item.parameter.spec, Role.SLOT, Constant(0.0))

    def assign(self, state: Tensor, new: Tensor) -> Tensor:
        """Give a state its next value (where the condition holds), and return that value."""
        kept = new if self.condition is None else where(self.condition, new, state)
        self.builder.update(state, kept)
        return new

    def only_if(self, condition: Tensor) -> Memory:
        """The same, changed only in calls in which this condition holds too."""
        both = condition if self.condition is None else logical_and(self.condition, condition)
        return replace(self, condition=both)

    def for_group(self, number: int) -> Memory:
        """The same with scalars of its own, ``optimizer.group1.<name>``, but for the rate."""
        return replace(self, scope=f"{self.scope}.group{number}")

    @contextmanager
    def updating(self, item: Trained) -> Iterator[None]:
        """Name all that is built inside after the parameter: ``update.<parameter>.``"""
        with self.builder.absolute_scope("update", item.name):
            yield


@dataclass(frozen=True, eq=False)
class Variables:
    """What a rule keeps of one parameter: its slots, and scalars that parameters share."""

    memory: Memory
    item: Trained

    def learning_rate(self) -> Tensor:
        """The learning rate of this parameter, a float64 scalar."""
        return self.memory.rate(self.item.rate_scale)

    def power(self, name: str, base: float) -> Tensor:
        """``base ** t`` in step t = 1, 2, ..., a float64 scalar."""
        return self.memory.power(name, base)

    def slot(self, name: str) -> Tensor:
        """A zero-initialised variable of the parameter's shape."""
        return self.memory.slot(name, self.item)

    def assign(self, slot: Tensor, new: Tensor) -> Tensor:
        """Give a slot its next value, and return that."""
        return self.memory.assign(slot, new)

    def is_selected(self, selector: Selector) -> bool:
        """Whether the selector takes this parameter."""
        return selects(selector, self.item.name, self.item.parameter.spec)


def add_updates(graph: Graph, optimizer: Optimizer) -> Graph:
    """Give every parameter with a gradient its next value.

    The rule is computed, and slots are kept, in float32 at least: the epsilons of a 16-bit rule
    would vanish. Raises SpecError where the optimiser freezes all of them.
    """
    builder = new_builder(graph)
    trained, parameters = [], {}
    for state in graph.state:
        name = gradient_name(state.name)
        if name not in graph.outputs:
            continue
        parameter, gradient = builder.wrap(state.value), builder.wrap(graph.outputs[name])
        parameters[state.name] = parameter
        wide = parameter.dtype.accumulator
        with builder.absolute_scope("update", state.name):
            trained.append(Trained(state.name, cast(parameter, wide), cast(gradient, wide)))
    kept = optimizer.kept(trained)
    if not kept:
        raise SpecError(f"Expected a parameter to train, got all frozen: {', '.join(parameters)}")
    memory = Memory(builder, optimizer.learning_rate)
    for name, new in optimizer.next_values(kept, memory).items():
        parameter = parameters[name]
        with builder.absolute_scope("update", name):
            builder.update(parameter, cast(new, parameter.dtype))
    return builder.build()
