"""Optimisers: they add their update to the graph, with slots as state.

Written exactly as in the literature that each names. Scalars (the learning rate, powers of the
decay rates) are float64 state, so a schedule sets ``state["optimizer.learning_rate"]`` and never
recompiles, and bias corrections lose nothing; they are cast where they meet a parameter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from minigraph.autodiff import gradient_name
from minigraph.initializers import Constant
from minigraph.ir.builder import Builder
from minigraph.ir.errors import SpecError
from minigraph.ir.graph import Graph, Role
from minigraph.ir.spec import DType, TensorSpec
from minigraph.ir.tensor import Tensor
from minigraph.ops import new_builder
from minigraph.ops.elementwise import cast, sqrt

LEARNING_RATE = "optimizer.learning_rate"


class Optimizer(ABC):
    """Base of all optimisers: frozen dataclasses with a ``learning_rate``."""

    learning_rate: float

    def __post_init__(self) -> None:
        if not self.learning_rate >= 0:
            raise SpecError(f"Expected a learning rate of zero or more, got {self.learning_rate}")

    @abstractmethod
    def update(self, parameter: Tensor, gradient: Tensor, variables: Variables) -> Tensor:
        """The parameter's next value; slots are updated through ``variables``."""


class Variables:
    """The optimiser's state for one parameter: its slots, and scalars that all parameters share."""

    def __init__(self, builder: Builder, parameter: str, learning_rate: float) -> None:
        self._builder = builder
        self._parameter = parameter
        self._rate = learning_rate

    def learning_rate(self) -> Tensor:
        """The learning rate, a float64 scalar."""
        return self.scalar("learning_rate", self._rate)

    def scalar(self, name: str, start: float) -> Tensor:
        """A shared float64 scalar called ``optimizer.<name>``."""
        found = self._builder.existing_state(f"optimizer.{name}")
        if found is not None:
            return found
        with self._builder.absolute_scope("optimizer"):
            spec = TensorSpec((), DType.FLOAT64)
            return self._builder.state(name, spec, Role.SCALAR, Constant(start))

    def power(self, name: str, base: float) -> Tensor:
        """``base ** t`` in step t = 1, 2, ...: a scalar that is multiplied once a step."""
        known = self._builder.existing_state(f"optimizer.{name}")
        state = self.scalar(name, 1.0)
        if known is None:
            self._builder.update(state, state * base)
        return state * base

    def slot(self, name: str, like: Tensor) -> Tensor:
        """A zero-initialised variable of the parameter's, with the spec of ``like``."""
        with self._builder.absolute_scope("optimizer", name):
            return self._builder.state(self._parameter, like.spec, Role.SLOT, Constant(0.0))

    def assign(self, slot: Tensor, new: Tensor) -> Tensor:
        """Give a slot its next value, and return that."""
        self._builder.update(slot, new)
        return new


@dataclass(frozen=True)
class SGD(Optimizer):
    """``theta <- theta - eps g``"""

    learning_rate: float

    def update(self, parameter: Tensor, gradient: Tensor, variables: Variables) -> Tensor:
        rate = cast(variables.learning_rate(), parameter.dtype)
        return parameter - rate * gradient


@dataclass(frozen=True)
class Momentum(Optimizer):
    """``v <- alpha v - eps g;  theta <- theta + v`` (Polyak 1964).

    torch keeps ``-v / eps``: the same path while the learning rate stays the same.
    """

    learning_rate: float
    momentum: float = 0.9

    def update(self, parameter: Tensor, gradient: Tensor, variables: Variables) -> Tensor:
        velocity = variables.slot("velocity", parameter)
        step = cast(variables.learning_rate(), parameter.dtype) * gradient
        return parameter + variables.assign(velocity, velocity * self.momentum - step)


@dataclass(frozen=True)
class AdaGrad(Optimizer):
    """``r <- r + g g;  theta <- theta - eps / (delta + sqrt(r)) g``, delta outside the root.

    Duchi, Hazan and Singer 2011.
    """

    learning_rate: float
    delta: float = 1e-7

    def update(self, parameter: Tensor, gradient: Tensor, variables: Variables) -> Tensor:
        squares = variables.slot("squares", parameter)
        total = variables.assign(squares, squares + gradient * gradient)
        rate = cast(variables.learning_rate(), parameter.dtype)
        return parameter - rate / (self.delta + sqrt(total)) * gradient


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1), with bias correction.

    ``theta <- theta - eps m' / (sqrt(v') + epsilon)`` where ``m' = m / (1 - beta1^t)`` and
    ``v' = v / (1 - beta2^t)``. Both corrections are scalars: with c = sqrt(1 - beta2^t), the step
    is ``(eps c / (1 - beta1^t)) m / (sqrt(v) + epsilon c)``.
    """

    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0.0 <= self.beta1 < 1.0 and 0.0 <= self.beta2 < 1.0):
            raise SpecError(f"Expected betas in [0, 1), got {self.beta1} and {self.beta2}")

    def update(self, parameter: Tensor, gradient: Tensor, variables: Variables) -> Tensor:
        first = variables.slot("first_moment", parameter)
        second = variables.slot("second_moment", parameter)
        m = variables.assign(first, first * self.beta1 + gradient * (1.0 - self.beta1))
        squared = gradient * gradient
        v = variables.assign(second, second * self.beta2 + squared * (1.0 - self.beta2))
        correction1 = 1.0 - variables.power("beta1_power", self.beta1)
        correction2 = sqrt(1.0 - variables.power("beta2_power", self.beta2))
        rate = cast(variables.learning_rate() * correction2 / correction1, m.dtype)
        epsilon = cast(correction2 * self.epsilon, m.dtype)
        return parameter - rate * m / (sqrt(v) + epsilon)


def add_updates(graph: Graph, optimizer: Optimizer) -> Graph:
    """Give every parameter with a gradient its next value.

    The rule is computed, and slots are kept, in float32 at least: the epsilons of a 16-bit rule
    would vanish.
    """
    builder = new_builder(graph)
    for state in graph.state:
        name = gradient_name(state.name)
        if name not in graph.outputs:
            continue
        parameter, gradient = builder.wrap(state.value), builder.wrap(graph.outputs[name])
        wide = parameter.dtype.accumulator
        variables = Variables(builder, state.name, optimizer.learning_rate)
        with builder.absolute_scope("update", state.name):
            new = optimizer.update(cast(parameter, wide), cast(gradient, wide), variables)
            builder.update(parameter, cast(new, parameter.dtype))
    return builder.build()


def optimizer_from_name(name: str, learning_rate: float) -> Optimizer:
    """An optimiser by its lower-case name: sgd, momentum, adagrad or adam. Raises SpecError."""
    kinds: dict[str, Any] = {"sgd": SGD, "momentum": Momentum, "adagrad": AdaGrad, "adam": Adam}
    if name not in kinds:
        raise SpecError(f"Expected an optimiser of {', '.join(kinds)}, got {name!r}")
    return kinds[name](learning_rate)
