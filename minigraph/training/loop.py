"""The training loop: epochs of steps, an evaluation after each, records of both."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

import minigraph as mg
from minigraph.data import ArrayDataset, batches
from minigraph.metrics import ConfusionMatrix

Augmentation = Callable[
    [np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]
]
Record = dict[str, Any]


class Progress(Protocol):
    """What a training run tells while it goes on."""

    def start_epoch(self, epoch: int, steps: int) -> None: ...
    def step(self, loss: float, images_per_second: float) -> None: ...
    def end_epoch(self, record: Record) -> None: ...


@dataclass(frozen=True)
class Evaluation:
    """Scores over a whole data set, void left out."""

    loss: float
    matrix: ConfusionMatrix

    def record(self, segmentation: bool) -> Record:
        """The figures under the names that records use."""
        if segmentation:
            scores = {
                "val_pixel_accuracy": self.matrix.pixel_accuracy,
                "val_mean_iou": self.matrix.mean_iou,
            }
        else:
            scores = {"val_accuracy": self.matrix.accuracy}
        return {"val_loss": self.loss, **scores}


def evaluate(model: mg.Executable, dataset: ArrayDataset, batch_size: int) -> Evaluation:
    """Loss and confusion matrix of a compiled model with outputs ``loss`` and ``prediction``.

    The loss is the mean over all positions of the data set that are not void.
    """
    matrix = ConfusionMatrix(dataset.classes, dataset.void_label, dataset.class_names)
    total, weight = 0.0, 0
    for batch in batches(dataset, batch_size):
        out = model(batch)
        valid = batch["label"].size
        if dataset.void_label is not None:
            valid = int((batch["label"] != dataset.void_label).sum())
        total, weight = total + float(out["loss"]) * valid, weight + valid
        matrix.update(out["prediction"], batch["label"])
    return Evaluation(total / max(weight, 1), matrix)


def train_epochs(
    step: mg.Executable,
    model: mg.Executable,
    train: ArrayDataset,
    validation: ArrayDataset,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    augment: Augmentation | None,
    progress: Progress,
) -> Iterator[Record]:
    """Train and yield a record after each epoch, numbered from 1.

    ``step`` is a training step and ``model`` its inference twin on the same state. A last batch
    that is not full is left out of an epoch; the order changes from epoch to epoch.
    """
    steps = len(train) // batch_size
    out = {"loss": np.empty((), np.float32)}
    for epoch in range(1, epochs + 1):
        progress.start_epoch(epoch, steps)
        start, losses = time.perf_counter(), []
        for batch in batches(
            train, batch_size, seed=seed, epoch=epoch, shuffle=True, drop_last=True, augment=augment
        ):
            step(batch, out=out)
            losses.append(float(out["loss"]))
            progress.step(losses[-1], len(losses) * batch_size / (time.perf_counter() - start))
        seconds = time.perf_counter() - start
        record = {
            "epoch": epoch,
            "train_loss": float(np.mean(losses)),
            **evaluate(model, validation, batch_size).record(train.is_segmentation),
            "seconds": round(seconds, 3),
            "images_per_second": round(steps * batch_size / seconds, 1),
        }
        progress.end_epoch(record)
        yield record
