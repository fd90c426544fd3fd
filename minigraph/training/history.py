"""What a training run has done so far: its place, and a record of each epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from minigraph.report import best_record

Record = dict[str, Any]
"""One epoch's figures, ready for JSON: ``epoch``, ``train_loss``, ``val_loss``, scores, times."""


@dataclass
class Position:
    """Where in which epoch a run is, with what the epoch's record needs of its steps so far.

    Attributes:
        epoch: numbered from 1.
        step: steps done in it.
        loss_sum: sum of their losses, in float64.
        seconds: time spent on them, and of that ``waiting`` for data.
    """

    epoch: int = 1
    step: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    waiting: float = 0.0

    def add(self, loss: float, *, seconds: float, waiting: float) -> None:
        """Count one more step."""
        self.step += 1
        self.loss_sum += loss
        self.seconds += seconds
        self.waiting += waiting

    def __str__(self) -> str:
        return f"epoch {self.epoch}, step {self.step}"


@dataclass
class History:
    """The records of finished epochs, and the place that the run has come to.

    Attributes:
        records: one for each finished epoch.
        position: the epoch that is going on, or the one that would come next.
        stopped: why the run ended before its last epoch; None if it did not.
    """

    records: list[Record] = field(default_factory=list)
    position: Position = field(default_factory=Position)
    stopped: str | None = None

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C (or SIGTERM) ended the run."""
        return self.stopped == INTERRUPTED

    def best(self, score: str) -> Mapping[str, Any] | None:
        """The record of the highest score (lowest, where it is a loss), the first of equals."""
        found = best_record(self.records, score)
        return None if found is None else found[1]

    def to_json(self) -> dict[str, Any]:
        """For `from_json`: everything but the reason of an end."""
        return {"records": self.records, "position": asdict(self.position)}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> History:
        """Raises KeyError, TypeError or ValueError where the fields are not a history's."""
        position, kinds = fields["position"], (int, int, float, float, float)
        names = ("epoch", "step", "loss_sum", "seconds", "waiting")
        values = [kind(position[name]) for name, kind in zip(names, kinds, strict=True)]
        return cls([dict(record) for record in fields["records"]], Position(*values))


INTERRUPTED = "interrupted"


def sign_of(score: str) -> int:
    """1 where less is better (a loss), else -1."""
    return 1 if score.endswith("loss") else -1
