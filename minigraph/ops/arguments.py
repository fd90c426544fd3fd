"""What users write as attributes, in the one plain form that ops keep, compare and print."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

from minigraph.ir.errors import SpecError


def integer(value: Any, what: str) -> int:
    """A Python int from any integer, NumPy's too. Raises SpecError."""
    try:
        return operator.index(value)
    except TypeError:
        raise SpecError(f"Expected an integer for {what}, got {value!r}") from None


def integers(values: Any, what: str) -> tuple[int, ...]:
    """A tuple of Python ints. Raises SpecError."""
    if not isinstance(values, Iterable) or isinstance(values, str):
        raise SpecError(f"Expected integers for {what}, got {values!r}")
    return tuple(integer(value, what) for value in values)


def is_integer(value: Any) -> bool:
    """True for anything that can serve as an index."""
    return hasattr(value, "__index__")
