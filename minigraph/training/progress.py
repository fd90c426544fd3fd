"""A training run on the terminal: a bar an epoch, a line of figures after it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from minigraph.training.callbacks import Callback, Training
from minigraph.training.history import History

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID


class ProgressBar(Callback):
    """Shows loss, score, images a second and the time left; keeps a line for each epoch."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console as NewConsole
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._console = console or NewConsole()
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.4f}{task.fields[score]}"),
            TextColumn("{task.fields[rate]:.3g} images/s"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._task: TaskID | None = None

    def on_start(self, training: Training, history: History) -> None:
        self._training = training
        self._bar.start()

    def on_epoch_start(self, history: History) -> None:
        self._first, self._start = history.position.step, time.perf_counter()
        self._task = self._bar.add_task(
            "", total=self._training.steps, completed=self._first, loss=0.0, rate=0.0,
            epoch=f"{history.position.epoch}/{self._training.epochs}", score=_last_score(history),
        )  # fmt: skip

    def on_step_end(self, history: History, loss: float) -> None:
        assert self._task is not None
        done = history.position.step - self._first
        rate = done * self._training.batch_size / (time.perf_counter() - self._start)
        self._bar.update(self._task, advance=1, loss=loss, rate=rate)

    def on_epoch_end(self, history: History) -> None:
        assert self._task is not None
        self._bar.remove_task(self._task)
        record = history.records[-1]
        scores = "".join(
            f"  {_in_words(name)} {value:.4f}"
            for name, value in record.items()
            if name.startswith("val_")
        )
        self._print(
            f"epoch {record['epoch']}/{self._training.epochs}  train loss "
            f"{record['train_loss']:.4f}{scores}  ({record['seconds']:.1f} s, "
            f"{record['images_per_second']:.3g} images/s, "
            f"{100 * record['waiting_for_data']:.1f}% waiting for data)"
        )

    def close(self) -> None:
        self._bar.stop()

    def on_end(self, history: History) -> None:
        if history.stopped:
            self._print(f"stopped: {history.stopped}")

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


def _last_score(history: History) -> str:
    """The score of the epoch before, to go by until the next."""
    if not history.records:
        return ""
    record = history.records[-1]
    scores = [name for name in record if name.startswith("val_")]
    return f"  {_in_words(scores[-1])} {record[scores[-1]]:.4f}" if scores else ""


def _in_words(name: str) -> str:
    """``val_mean_iou`` as ``mean IoU``, ``val_loss`` as ``val loss``."""
    words = name if name == "val_loss" else name.removeprefix("val_")
    return words.replace("_", " ").replace("iou", "IoU")
