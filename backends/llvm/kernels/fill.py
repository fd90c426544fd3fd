"""Tensors with one number everywhere."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from minigraph.backend import Slot
from minigraph.backends.llvm.call import Binding, Call, Lowering, simple
from minigraph.backends.llvm.kernels.copy import copy_calls
from minigraph.ir.constant import Full
from minigraph.places import Table


def fill_calls(target: Slot, number: float) -> list[Call]:
    """Fill a tensor. The number is read from memory: one kernel writes all numbers."""
    return copy_calls(Table(np.full((), number, target.spec.dtype.numpy)), target)


def _full(binding: Binding) -> list[Call]:
    return fill_calls(binding.output, binding.op.value)


LOWERINGS: Mapping[type, Lowering] = {Full: simple(_full)}
