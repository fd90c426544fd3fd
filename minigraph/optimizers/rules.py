"""The update rules, written exactly as in the literature that each names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from minigraph.ir.errors import SpecError
from minigraph.ir.tensor import Tensor
from minigraph.ops.elementwise import cast, maximum, sqrt
from minigraph.optimizers.base import Rule, Selector, Variables


@dataclass(frozen=True)
class SGD(Rule):
    """``theta <- theta - eps g``"""

    learning_rate: float

    def update(self, parameter: Tensor, gradient: Tensor, variables: Variables) -> Tensor:
        rate = cast(variables.learning_rate(), parameter.dtype)
        return parameter - rate * gradient


@dataclass(frozen=True)
class Momentum(Rule):
    """``v <- alpha v - eps g;  theta <- theta + v`` (Polyak 1964).

    torch keeps ``-v / eps``: the same path while the learning rate stays the same.
    """

    learning_rate: float
    momentum: float = 0.9

    def update(self, parameter: Tensor, gradient: Tensor, variables: Variables) -> Tensor:
        velocity = variables.slot("velocity")
        step = cast(variables.learning_rate(), parameter.dtype) * gradient
        return parameter + variables.assign(velocity, velocity * self.momentum - step)


@dataclass(frozen=True)
class Nesterov(Rule):
    """``v <- alpha v - eps g;  theta <- theta + alpha v - eps g`` (Nesterov 1983).

    In the form of Sutskever et al. 2013 and Bengio et al. 2012, where theta is the point that
    looks ahead. torch keeps ``-v / eps``: the same path while the learning rate stays the same.
    """

    learning_rate: float
    momentum: float = 0.9

    def update(self, parameter: Tensor, gradient: Tensor, variables: Variables) -> Tensor:
        velocity = variables.slot("velocity")
        step = cast(variables.learning_rate(), parameter.dtype) * gradient
        new = variables.assign(velocity, velocity * self.momentum - step)
        return parameter + (new * self.momentum - step)


@dataclass(frozen=True)
class AdaGrad(Rule):
    """``r <- r + g g;  theta <- theta - eps / (delta + sqrt(r)) g``, delta outside the root.

    Duchi, Hazan and Singer 2011.
    """

    learning_rate: float
    delta: float = 1e-7

    def update(self, parameter: Tensor, gradient: Tensor, variables: Variables) -> Tensor:
        squares = variables.slot("squares")
        total = variables.assign(squares, squares + gradient * gradient)
        rate = cast(variables.learning_rate(), parameter.dtype)
        return parameter - rate / (self.delta + sqrt(total)) * gradient


@dataclass(frozen=True)
class RMSProp(Rule):
    """``r <- rho r + (1 - rho) g g;  theta <- theta - eps g / (sqrt(r) + epsilon)``.

    Tieleman and Hinton 2012, in torch's form. ``centred`` takes the squared running mean of g
    from r (Graves 2013); with ``momentum``, ``b <- momentum b + g / (sqrt(r) + epsilon)`` is what
    theta moves by, times eps.
    """

    learning_rate: float = 1e-2
    rho: float = 0.99
    epsilon: float = 1e-8
    momentum: float = 0.0
    centred: bool = False

    def update(self, parameter: Tensor, gradient: Tensor, variables: Variables) -> Tensor:
        spread = self._running("mean_square", gradient * gradient, variables)
        if self.centred:
            mean = self._running("mean_gradient", gradient, variables)
            # A variance, but rounding may leave it a little below zero.
            spread = maximum(spread - mean * mean, 0.0)
        step = gradient / (sqrt(spread) + self.epsilon)
        if self.momentum:
            buffer = variables.slot("momentum_buffer")
            step = variables.assign(buffer, buffer * self.momentum + step)
        return parameter - cast(variables.learning_rate(), parameter.dtype) * step

    def _running(self, name: str, value: Tensor, variables: Variables) -> Tensor:
        mean = variables.slot(name)
        return variables.assign(mean, mean * self.rho + value * (1.0 - self.rho))


@dataclass(frozen=True)
class Adam(Rule):
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
        first = variables.slot("first_moment")
        second = variables.slot("second_moment")
        m = variables.assign(first, first * self.beta1 + gradient * (1.0 - self.beta1))
        squared = gradient * gradient
        v = variables.assign(second, second * self.beta2 + squared * (1.0 - self.beta2))
        correction1 = 1.0 - variables.power("beta1_power", self.beta1)
        correction2 = sqrt(1.0 - variables.power("beta2_power", self.beta2))
        rate = cast(variables.learning_rate() * correction2 / correction1, m.dtype)
        epsilon = cast(correction2 * self.epsilon, m.dtype)
        return parameter - rate * m / (sqrt(v) + epsilon)


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101).

    Adam's step from ``theta - eps decay theta``: as in torch, the decay takes the whole learning
    rate as its factor. ``only`` selects the parameters that decay (``weights_only``: no biases,
    no norms).
    """

    decay: float = 1e-2
    only: Selector = "*"

    def update(self, parameter: Tensor, gradient: Tensor, variables: Variables) -> Tensor:
        if variables.is_selected(self.only):
            keep = cast(1.0 - variables.learning_rate() * self.decay, parameter.dtype)
            parameter = parameter * keep
        return super().update(parameter, gradient, variables)


def optimizer_from_name(name: str, learning_rate: float) -> Rule:
    """An optimiser by its lower-case name, "sgd" to "adamw". Raises SpecError."""
    kinds: dict[str, Any] = {
        kind.__name__.lower(): kind
        for kind in (SGD, Momentum, Nesterov, AdaGrad, RMSProp, Adam, AdamW)
    }
    if name not in kinds:
        raise SpecError(f"Expected an optimiser of {', '.join(kinds)}, got {name!r}")
    return kinds[name](learning_rate)
