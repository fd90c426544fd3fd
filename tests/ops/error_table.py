"""One call that must be refused: what the tables of errors are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Bad:
    """A call that must be refused, with what its message's first line has to contain."""

    op: type
    specs: str  # of the inputs, separated by spaces
    call: Callable[..., Any]
    says: str  # a regular expression


def emit(make: Callable[[], Any]) -> Callable[..., Any]:
    """Emits the op that ``make`` makes on all inputs."""
    return lambda first, *rest: first.builder.emit(make(), first, *rest)
