"""What may happen along a training run. They keep no memory of epochs: a resumed run has none."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import minigraph as mg
from minigraph.data import Dataset
from minigraph.training.evaluation import Evaluation
from minigraph.training.history import History, Record, sign_of
from minigraph.whole_file import write_whole


@dataclass
class Training:
    """What a run works with, as callbacks are told at its start.

    Attributes:
        step: the compiled training step.
        model: its inference twin; None without validation.
        train: the training set.
        validation: the held-out set; None if there is none.
        epochs: how many the run is to have.
        steps: those of an epoch.
        evaluation: of the epoch that ended last; None before the first.
    """

    step: mg.Executable
    model: mg.Executable | None
    train: Dataset
    validation: Dataset | None
    epochs: int
    steps: int
    evaluation: Evaluation | None = None

    @property
    def batch_size(self) -> int:
        return self.step.inputs["image"].shape[0]


class Callback:
    """Base of all callbacks: override what is of interest.

    On resuming, `on_start` gets the history so far. Nothing else may carry over from epoch to
    epoch, so that a resumed run is the run that was never interrupted.
    """

    def on_start(self, training: Training, history: History) -> None:
        """Before the first step."""

    def on_epoch_start(self, history: History) -> None:
        """Before an epoch's first step, or its next one in a resumed run."""

    def on_step_end(self, history: History, loss: float) -> None:
        """After each step."""

    def on_epoch_end(self, history: History) -> None:
        """After an epoch, its record being the last one."""

    def reason_to_stop(self, history: History) -> str | None:
        """Why no epoch is to follow those of the history; None if one may."""
        return None

    def on_end(self, history: History) -> None:
        """After the last epoch, or where the run was stopped or interrupted."""

    def close(self) -> None:
        """Before `on_end`, and where an error ends the run, even one of `on_start`."""


@dataclass(frozen=True)
class EarlyStopping(Callback):
    """Stop once a score has not improved for ``patience`` epochs.

    Attributes:
        score: the figure of the records to watch, such as ``val_mean_iou``; one that ends in
            ``loss`` improves by falling, any other by rising.
        patience: epochs without improvement.
        least_improvement: what does not exceed the best by more is none.
    """

    score: str
    patience: int = 5
    least_improvement: float = 0.0

    def __post_init__(self) -> None:
        if self.patience < 1:
            raise ValueError(f"Expected a patience of 1 epoch or more, got {self.patience}")
        if not self.least_improvement >= 0:
            raise ValueError(
                f"Expected a least improvement of 0 or more, got {self.least_improvement}"
            )

    def reason_to_stop(self, history: History) -> str | None:
        if not history.records:
            return None
        values = [self._value(record) for record in history.records]
        best, best_place = math.inf, 0
        for place, value in enumerate(values):
            if value * sign_of(self.score) < best - self.least_improvement:
                best, best_place = value * sign_of(self.score), place
        since = len(values) - 1 - best_place
        if since < self.patience:
            return None
        return f"{self.score} did not improve for {since} epochs"

    def _value(self, record: Record) -> float:
        if self.score not in record:
            raise ValueError(
                f"Expected a score among {', '.join(record)} for early stopping, got {self.score!r}"
            )
        return record[self.score]


@dataclass(frozen=True)
class JsonLog(Callback):
    """Keep the records in a file, one line of JSON an epoch; the file is always whole."""

    path: str | Path

    def on_epoch_end(self, history: History) -> None:
        lines = "".join(json.dumps(_finite(record)) + "\n" for record in history.records)
        write_whole(Path(self.path), lines.encode())


def _finite(record: Record) -> Record:
    """JSON has no NaN and no infinity: null stands for them."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in record.items()
    }


class TensorBoardLog(Callback):
    """Write the records for TensorBoard, by epoch. Needs ``pip install tensorboardX``."""

    def __init__(self, folder: str | Path) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise ImportError(
                "Expected tensorboardX for TensorBoard's files, got none: "
                'pip install "minigraph[tensorboard]"'
            ) from None
        self._writer = SummaryWriter(str(folder))

    def on_epoch_end(self, history: History) -> None:
        record = history.records[-1]
        for name, value in record.items():
            if name != "epoch" and isinstance(value, int | float):
                self._writer.add_scalar(name, value, record["epoch"])
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
