"""A training run on the terminal: a bar an epoch, a line of figures after it."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from minigraph.training.loop import Record


class TerminalProgress:
    """Shows loss, images a second and the time left; keeps one line for each finished epoch."""

    def __init__(self, console: Console, epochs: int) -> None:
        self._console = console
        self._epochs = epochs
        self._task: TaskID | None = None
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.4f}  {task.fields[rate]:.0f} images/s"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )

    def __enter__(self) -> TerminalProgress:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def start_epoch(self, epoch: int, steps: int) -> None:
        label = f"{epoch}/{self._epochs}"
        self._task = self._bar.add_task("", total=steps, epoch=label, loss=0.0, rate=0.0)

    def step(self, loss: float, images_per_second: float) -> None:
        assert self._task is not None
        self._bar.update(self._task, advance=1, loss=loss, rate=images_per_second)

    def end_epoch(self, record: Record) -> None:
        assert self._task is not None
        self._bar.remove_task(self._task)
        scores = "  ".join(
            f"{key.removeprefix('val_').replace('_', ' ')} {value:.4f}"
            for key, value in record.items()
            if key.startswith("val_") and key != "val_loss"
        )
        self._console.print(
            f"epoch {record['epoch']}/{self._epochs}  train loss {record['train_loss']:.4f}  "
            f"val loss {record['val_loss']:.4f}  {scores}  "
            f"({record['seconds']:.1f} s, {record['images_per_second']:.0f} images/s)",
            highlight=False,
        )
