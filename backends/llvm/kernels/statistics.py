"""What a reduction accumulates, element by element, and how parts are put together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.types import Type, value_type
from minigraph.backends.llvm.language.value import Value
from minigraph.ir.spec import DType


@dataclass(frozen=True)
class Sum:
    """The sum; of floats in float64, which rounds less than any order of float32 sums."""

    accumulators = 1
    needs_first = False

    def accumulates(self, dtype: DType) -> DType:
        """The dtype of the accumulators for elements of a dtype."""
        return DType.FLOAT64 if dtype.is_floating else dtype

    def initial(self, k: Kernel, type_: Type) -> list[Value]:
        return [k.zero(type_)]

    def add(
        self, k: Kernel, totals: Sequence[Value], element: Value, first: Value | None
    ) -> list[Value]:
        """One element more."""
        return [totals[0] + element.to(totals[0].type)]

    def merge(self, k: Kernel, some: Sequence[Value], others: Sequence[Value]) -> list[Value]:
        """Two parts as one."""
        return [some[0] + others[0]]

    def result(self, k: Kernel, totals: Sequence[Value], depth: Value) -> list[Value]:
        """What is written, after ``depth`` elements."""
        return list(totals)


@dataclass(frozen=True)
class Mean(Sum):
    """The sum over the number of elements."""

    def result(self, k: Kernel, totals: Sequence[Value], depth: Value) -> list[Value]:
        return [totals[0] / depth.to(totals[0].type)]


@dataclass(frozen=True)
class Extreme:
    """The largest or the smallest element; not a number where one is not."""

    is_largest: bool

    accumulators = 1
    needs_first = False

    def accumulates(self, dtype: DType) -> DType:
        return dtype

    def initial(self, k: Kernel, type_: Type) -> list[Value]:
        return [k.constant(_lowest(type_) if self.is_largest else _highest(type_), type_)]

    def add(
        self, k: Kernel, totals: Sequence[Value], element: Value, first: Value | None
    ) -> list[Value]:
        return self.merge(k, totals, [element])

    def merge(self, k: Kernel, some: Sequence[Value], others: Sequence[Value]) -> list[Value]:
        pick = k.maximum if self.is_largest else k.minimum
        return [pick(some[0], others[0])]

    def result(self, k: Kernel, totals: Sequence[Value], depth: Value) -> list[Value]:
        return list(totals)


@dataclass(frozen=True)
class DifferenceSums:
    """Sums of ``x - K`` and of ``(x - K)^2``, K being the first element of each result's.

    From these the variance of m elements is ``(S2 - S1^2 / m) / m``. Its relative error is about
    that of the float64 sums times ``1 + (K - mean)^2 / variance``, and since K is one of the
    elements, ``(K - mean)^2 <= m variance``: nothing cancels that matters, in one pass.
    """

    accumulators = 2
    needs_first = True

    def accumulates(self, dtype: DType) -> DType:
        return DType.FLOAT64

    def initial(self, k: Kernel, type_: Type) -> list[Value]:
        return [k.zero(type_)] * 2

    def add(
        self, k: Kernel, totals: Sequence[Value], element: Value, first: Value | None
    ) -> list[Value]:
        assert first is not None
        difference = element.to(totals[0].type) - first
        return [totals[0] + difference, k.fma(difference, difference, totals[1])]

    def merge(self, k: Kernel, some: Sequence[Value], others: Sequence[Value]) -> list[Value]:
        return [a + b for a, b in zip(some, others, strict=True)]

    def result(self, k: Kernel, totals: Sequence[Value], depth: Value) -> list[Value]:
        return list(totals)


Statistic = Sum | Extreme | DifferenceSums


def reference_point(first: Value, type_: Type) -> Value:
    """K of DifferenceSums: the first element, or 0 where that is not finite."""
    finite = (first - first).equals(0)
    return finite.select(first, first.like(0)).to(type_)


def _lowest(type_: Type) -> float:
    if type_.is_float:
        return -math.inf
    return -(2 ** (type_.bits - 1)) if type_.kind == "signed" else 0


def _highest(type_: Type) -> float:
    if type_.is_float:
        return math.inf
    return 2 ** (type_.bits - 1) - 1 if type_.kind == "signed" else 2**type_.bits - 1


def accumulator_type(statistic: Statistic, dtype: DType, lanes: int = 1) -> Type:
    """The type of a statistic's accumulators for elements of a dtype."""
    return value_type(statistic.accumulates(dtype), lanes)
