"""One step of a program, for the functions that turn it into calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from minigraph.backend import Slot


@dataclass(frozen=True, slots=True)
class BoundStep:
    """One step of a program, for the function that turns it into calls.

    A backend derives its own, with what else its kernels are chosen by.
    """

    op: Any
    algorithm: str
    inputs: tuple[Slot, ...]
    outputs: tuple[Slot | None, ...]  # None: nothing reads it, and the op allows leaving it out
    workspace: Slot | None

    @property
    def output(self) -> Slot:
        """The first output."""
        first = self.outputs[0]
        assert first is not None
        return first
