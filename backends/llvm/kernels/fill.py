"""Tensors with one number everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from minigraph.backend import Slot
from minigraph.backends.llvm.call import Binding, Call, Lowering, simple
from minigraph.backends.llvm.kernels.copy import copy_calls
from minigraph.backends.llvm.language.code import KernelCode
from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.language.types import value_type
from minigraph.backends.llvm.language.value import Value
from minigraph.ir.constant import Full
from minigraph.ir.spec import DType
from minigraph.places import Table, byte_range


@dataclass(frozen=True)
class Fill(KernelCode):
    """Write one number to every element. Arguments: target; number of elements."""

    dtype: DType
    number: float

    pointers = 1
    sizes = 1

    def emit(self, k: Kernel) -> None:
        lanes = k.lanes(self.dtype)
        target = k.view(k.pointers[0], self.dtype, 1)
        value = k.constant(self.number, value_type(self.dtype, lanes))
        start, stop = k.share(k.sizes[0])

        def body(i: Value, mask: Value | None) -> None:
            target.store(value, start + i, mask=mask)

        k.vectors(stop - start, lanes, body)


def fill_calls(target: Slot, number: float) -> list[Call]:
    """Fill a tensor."""
    if target.spec.size == 0:
        return []
    first, end = byte_range(target)
    if end - first != target.spec.nbytes:  # it has gaps
        return copy_calls(Table(np.full((), number, target.spec.dtype.numpy)), target)
    return [Call(Fill(target.spec.dtype, number), (), (target,), (target.spec.size,))]


def _full(binding: Binding) -> list[Call]:
    return fill_calls(binding.output, binding.op.value)


LOWERINGS: Mapping[type, Lowering] = {Full: simple(_full)}
