"""Learning-rate schedules: functions from a step's number, 0 on, to its rate.

``step.state["optimizer.learning_rate"] = schedule(number)`` before each step; nothing is
recompiled. Any function will do: these are frozen dataclasses, so that they show and compare.
A step may be an epoch as well. After its last step a schedule stays at its last rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from minigraph.ir.errors import SpecError

Schedule = Callable[[int], float]


@dataclass(frozen=True)
class StepDecay:
    """``rate * factor ** floor(step / every)``: a tenth of it every so many steps."""

    rate: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        _check_rates(rate=self.rate, factor=self.factor)
        _check_steps(every=self.every)

    def __call__(self, step: int) -> float:
        return self.rate * self.factor ** (step // self.every)


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from ``rate`` at step 0 to ``final`` at step ``steps``.

    Loshchilov and Hutter 2017 (arXiv:1608.03983), without restarts.
    """

    rate: float
    steps: int
    final: float = 0.0

    def __post_init__(self) -> None:
        _check_rates(rate=self.rate, final=self.final)
        _check_steps(steps=self.steps)

    def __call__(self, step: int) -> float:
        return _cosine(self.rate, self.final, step / self.steps)


@dataclass(frozen=True)
class Polynomial:
    """``rate * (1 - step / steps) ** power``: 0.9 is DeepLab's "poly", 1 is linear, 0 constant."""

    rate: float
    steps: int
    power: float = 0.9

    def __post_init__(self) -> None:
        _check_rates(rate=self.rate, power=self.power)
        _check_steps(steps=self.steps)

    def __call__(self, step: int) -> float:
        return self.rate * (1.0 - min(step / self.steps, 1.0)) ** self.power


@dataclass(frozen=True)
class OneCycle:
    """Up to ``rate`` and far down again, in two half cosines (Smith and Topin 2018).

    As torch's: from ``rate / start_divisor`` at step 0 up to ``rate`` at step
    ``rise * steps - 1``, then down to ``rate / start_divisor / final_divisor`` at the last step,
    ``steps - 1``.
    """

    rate: float
    steps: int
    rise: float = 0.3
    start_divisor: float = 25.0
    final_divisor: float = 1e4

    def __post_init__(self) -> None:
        _check_rates(rate=self.rate)
        _check_steps(steps=self.steps)
        if not 1.0 < self.rise * self.steps < self.steps:
            raise SpecError(
                "Expected a rise in (0, 1) that takes more than one step, got "
                f"{self.rise} of {self.steps} steps"
            )
        if not (self.start_divisor >= 1.0 and self.final_divisor >= 1.0):
            raise SpecError(
                f"Expected divisors of one or more, got {self.start_divisor} and "
                f"{self.final_divisor}"
            )

    def __call__(self, step: int) -> float:
        start = self.rate / self.start_divisor
        top, last = self.rise * self.steps - 1.0, self.steps - 1.0
        if step <= top:
            return _cosine(start, self.rate, step / top)
        return _cosine(self.rate, start / self.final_divisor, (step - top) / (last - top))


@dataclass(frozen=True)
class WarmUp:
    """``steps`` steps that rise linearly to the first rate of another schedule, which follows.

    Step 0 has the fraction ``start`` of that rate; step ``steps`` is the other's step 0 (Goyal et
    al. 2017, arXiv:1706.02677, section 2.2).
    """

    schedule: Schedule
    steps: int
    start: float = 0.1

    def __post_init__(self) -> None:
        if not callable(self.schedule):
            raise SpecError(
                f"Expected a schedule to warm up to, got {type(self.schedule).__name__}: "
                "lambda step: 0.1 is a constant one"
            )
        _check_steps(steps=self.steps)
        if not 0.0 <= self.start <= 1.0:
            raise SpecError(f"Expected a start in [0, 1], got {self.start}")

    def __call__(self, step: int) -> float:
        if step >= self.steps:
            return self.schedule(step - self.steps)
        return self.schedule(0) * (self.start + (1.0 - self.start) * step / self.steps)


def _cosine(first: float, last: float, progress: float) -> float:
    """From first to last as progress goes from 0 to 1."""
    return last + (first - last) * (1.0 + math.cos(math.pi * min(progress, 1.0))) / 2.0


def _check_rates(**rates: float) -> None:
    for name, rate in rates.items():
        if not 0.0 <= rate < math.inf:
            raise SpecError(f"Expected a finite {name} of zero or more, got {rate}")


def _check_steps(**counts: int) -> None:
    for name, count in counts.items():
        if not count >= 1:
            raise SpecError(f"Expected {name} of one or more, got {count}")
