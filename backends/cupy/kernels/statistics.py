"""What a reduction accumulates, element by element, and how parts are put together, in CUDA C."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from minigraph.backends.cupy.kernels.expressions import literal
from minigraph.ir.spec import DType


class Statistic(Protocol):
    """Expressions of the totals' names, all of the accumulators' dtype. A frozen dataclass."""

    @property
    def accumulators(self) -> int: ...

    def accumulates(self, dtype: DType) -> DType:
        """The dtype of the accumulators for elements of a dtype."""

    def initial(self, dtype: DType) -> list[str]:
        """The totals of nothing."""

    def add(self, totals: Sequence[str], element: str) -> list[str]:
        """The totals with one element more."""

    def merge(self, totals: Sequence[str], others: Sequence[str]) -> list[str]:
        """The totals of two parts as one."""

    def results(self, totals: Sequence[str], count: str) -> list[str]:
        """What is written after ``count`` elements."""


@dataclass(frozen=True)
class Sum:
    """The sum; 16-bit floats are summed in float32."""

    accumulators = 1

    def accumulates(self, dtype: DType) -> DType:
        return dtype.accumulator

    def initial(self, dtype: DType) -> list[str]:
        return [literal(0, dtype)]

    def add(self, totals: Sequence[str], element: str) -> list[str]:
        return [f"{totals[0]} + {element}"]

    def merge(self, totals: Sequence[str], others: Sequence[str]) -> list[str]:
        return self.add(totals, others[0])

    def results(self, totals: Sequence[str], count: str) -> list[str]:
        return list(totals)


@dataclass(frozen=True)
class Mean(Sum):
    """The sum over the number of elements."""

    def results(self, totals: Sequence[str], count: str) -> list[str]:
        return [f"{totals[0]} / {count}"]


@dataclass(frozen=True)
class Extreme:
    """The largest or the smallest element; not a number where one is not."""

    is_largest: bool

    accumulators = 1

    def accumulates(self, dtype: DType) -> DType:
        return dtype.accumulator

    def initial(self, dtype: DType) -> list[str]:
        return [literal(_lowest(dtype) if self.is_largest else _highest(dtype), dtype)]

    def add(self, totals: Sequence[str], element: str) -> list[str]:
        return [f"{'maximum' if self.is_largest else 'minimum'}({totals[0]}, {element})"]

    def merge(self, totals: Sequence[str], others: Sequence[str]) -> list[str]:
        return self.add(totals, others[0])

    def results(self, totals: Sequence[str], count: str) -> list[str]:
        return list(totals)


def _lowest(dtype: DType) -> float:
    if dtype.is_floating:
        return -math.inf
    return 0 if dtype is DType.UINT8 else -(2 ** (8 * dtype.itemsize - 1))


def _highest(dtype: DType) -> float:
    if dtype.is_floating:
        return math.inf
    return 255 if dtype is DType.UINT8 else 2 ** (8 * dtype.itemsize - 1) - 1
