"""What each contender gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

LEARNING_RATE = 1e-4
"""Small: a batch that is seen again and again is not learned by heart within a run."""
MOMENTUM = 0.9


@dataclass(frozen=True)
class Steps:
    """A contender that is built: ``step()`` runs once to the end.

    It returns the loss of a training step or the logits of inference. ``parameters`` counts the
    numbers that training changes. Where a framework can begin a step before the last one is done,
    ``queue()`` begins one, and ``step()`` waits for all.
    """

    step: Callable[[], float | np.ndarray]
    parameters: int
    queue: Callable[[], object] | None = None
