"""Loss scaling: what lets gradients through float16 (Micikevicius et al. 2018, arXiv:1710.03740).

Float16 has no numbers below 6e-8, and many gradients are smaller. So the loss is multiplied by a
scale before it is differentiated, and the parameters' gradients, float32 by then, are divided by
it. Where the scale was too much for float16, a gradient is infinite or no number: the call then
changes nothing, and a dynamic scale is halved. All of that is part of the graph.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minigraph.ir.builder import Builder
from minigraph.ir.errors import SpecError
from minigraph.ir.graph import Graph
from minigraph.ir.spec import DType
from minigraph.ir.tensor import Tensor
from minigraph.ops import new_builder
from minigraph.ops.arguments import is_integer
from minigraph.ops.elementwise import absolute, cast, logical_not, maximum, where
from minigraph.ops.reduce import reduce_sum
from minigraph.optimizers.base import Memory, Optimizer, Trained, add_updates
from minigraph.optimizers.wrappers import Wrapper

FINITE = "optimizer.finite"


class LossScale(ABC):
    """How the scale is found. The state ``optimizer.skipped_steps`` counts the overflows."""

    @abstractmethod
    def tensor(self, builder: Builder) -> Tensor:
        """The scale of this call, a float64 scalar."""

    @abstractmethod
    def adjust(self, finite: Tensor, memory: Memory) -> None:
        """Move the scale on, after a call whose gradients were finite or not."""


@dataclass(frozen=True)
class FixedLossScale(LossScale):
    """One scale for all of the training."""

    scale: float

    def __post_init__(self) -> None:
        _check_positive("scale", self.scale)

    def tensor(self, builder: Builder) -> Tensor:
        return builder.full((), float(self.scale), DType.FLOAT64)

    def adjust(self, finite: Tensor, memory: Memory) -> None:
        pass


@dataclass(frozen=True)
class DynamicLossScale(LossScale):
    """Halved (times ``backoff_factor``) by each overflow, but not below 1; doubled
    (``growth_factor``) after ``growth_interval`` calls without one.

    Names and numbers are those of ``torch.amp.GradScaler``. The scale is the state
    ``optimizer.loss_scale``, and is saved with the rest.
    """

    init_scale: float = 65536.0
    growth_factor: float = 2.0
    backoff_factor: float = 0.5
    growth_interval: int = 2000

    def __post_init__(self) -> None:
        _check_positive("init_scale", self.init_scale)
        if not self.growth_factor > 1:
            raise SpecError(f"Expected a growth factor above 1, got {self.growth_factor}")
        if not 0 < self.backoff_factor < 1:
            raise SpecError(f"Expected a backoff factor between 0 and 1, got {self.backoff_factor}")
        if not is_integer(self.growth_interval) or self.growth_interval < 1:
            raise SpecError(f"Expected a growth interval of 1 or more, got {self.growth_interval}")

    def tensor(self, builder: Builder) -> Tensor:
        return Memory(builder, 0.0).scalar("loss_scale", self.init_scale)

    def adjust(self, finite: Tensor, memory: Memory) -> None:
        scale = self.tensor(memory.builder)
        good = memory.scalar("good_steps", 0.0)
        count = good + 1.0
        grows = count >= float(self.growth_interval)
        larger = where(grows, scale * self.growth_factor, scale)
        # At 1 nothing is scaled: a smaller one would only make more gradients vanish.
        smaller = maximum(scale * self.backoff_factor, 1.0)
        memory.assign(scale, where(finite, larger, smaller))
        memory.assign(good, where(logical_not(finite) | grows, 0.0, count))


def loss_scale_of(loss_scale: LossScale | str | float) -> LossScale:
    """What ``loss_scale=`` says: "dynamic", a number, or one of the classes. Raises SpecError."""
    if isinstance(loss_scale, LossScale):
        return loss_scale
    if loss_scale == "dynamic":
        return DynamicLossScale()
    if isinstance(loss_scale, str | bool) or not isinstance(loss_scale, int | float):
        raise SpecError(
            "Expected a loss scale of 'dynamic', a number or mg.DynamicLossScale(...), got "
            f"{loss_scale!r}"
        )
    return FixedLossScale(loss_scale)


@dataclass(frozen=True)
class SkipOverflows(Wrapper):
    """Leaves parameters, slots and scalars as they are where a gradient is not finite.

    Whether all are can be had by ``fetch=["optimizer.finite"]``.
    """

    loss_scale: LossScale

    def next_values(self, trained: Sequence[Trained], memory: Memory) -> dict[str, Tensor]:
        overflows = [_overflows(item, memory) for item in trained]
        with memory.builder.absolute_scope("update"):
            finite = sum(overflows[1:], start=overflows[0]) <= 0.0
            self.loss_scale.adjust(finite, memory)
            skipped = memory.scalar("skipped_steps", 0.0)
            memory.assign(skipped, where(finite, skipped, skipped + 1.0))
        memory.builder.output(FINITE, finite)
        new = self.optimizer.next_values(trained, memory.only_if(finite))
        values = {}
        for item in trained:
            with memory.updating(item):
                values[item.name] = where(finite, new[item.name], item.parameter)
        return values


def _overflows(item: Trained, memory: Memory) -> Tensor:
    """How many elements of the gradient are infinite or no number (whose comparisons are false)."""
    with memory.updating(item):
        largest = float(np.finfo(item.gradient.dtype.numpy).max)
        finite = absolute(item.gradient) <= largest
        return reduce_sum(cast(logical_not(finite), DType.FLOAT32))


def add_scaled_updates(graph: Graph, optimizer: Optimizer, loss_scale: LossScale) -> Graph:
    """``add_updates``, in force only in calls in which no gradient overflows.

    Running statistics, which may have overflowed too, then stay as well; the random key moves on.
    """
    updated = add_updates(graph, SkipOverflows(optimizer, loss_scale))
    builder = new_builder(updated.replace(updates={}))
    finite = builder.wrap(updated.outputs[FINITE])
    for name, value in updated.updates.items():
        old, new = builder.wrap(updated.state_by_name[name].value), builder.wrap(value)
        if name in graph.updates and old.dtype.is_floating:
            with builder.absolute_scope("update", name):
                new = where(finite, new, old)
        builder.update(old, new)
    return builder.build()


def _check_positive(what: str, value: float) -> None:
    if not 0 < value < float("inf"):
        raise SpecError(f"Expected a positive {what}, got {value}")
