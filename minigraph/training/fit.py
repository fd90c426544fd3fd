"""Training: epochs of steps, an evaluation after each, checkpoints, callbacks."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import minigraph as mg
from minigraph.data import Dataset, batches, prefetch
from minigraph.data.batches import Augmentation, Batch
from minigraph.ir.spec import DType
from minigraph.optimizers import LEARNING_RATE
from minigraph.schedules import Schedule
from minigraph.training.callbacks import Callback, Training
from minigraph.training.checkpoint import CheckpointFile
from minigraph.training.evaluation import evaluate
from minigraph.training.history import INTERRUPTED, History, Position, Record
from minigraph.training.identity import describe, fingerprint
from minigraph.training.progress import ProgressBar
from minigraph.training.signals import Interrupted, StopRequest, stop_requests


class TrainingError(mg.MinigraphError):
    """Training cannot go on."""


def fit(
    step: mg.Executable,
    train: Dataset,
    validation: Dataset | None = None,
    *,
    epochs: int,
    model: mg.Executable | None = None,
    seed: int = 0,
    augment: Augmentation | None = None,
    schedule: Schedule | None = None,
    callbacks: Sequence[Callback] = (),
    checkpoint: str | Path | None = None,
    checkpoint_every: int | None = None,
    metadata: Mapping[str, str] | None = None,
    resume: bool = False,
    prefetched: int = 2,
    progress: bool = True,
) -> History:
    """Train a compiled step on a data set.

    Every epoch goes over ``train`` in a new order that ``(seed, epoch)`` decides, in batches of the
    size that ``step`` was compiled for; a last batch that is not full is left out. Then ``model``
    is evaluated on ``validation``.

    With ``checkpoint`` the run can be killed at any moment and resumed: it then ends with the same
    bits as one that was not (state of parameters, optimiser and random key, order of the data,
    augmentation, schedule, records apart from times). Ctrl-C or SIGTERM let the step finish, write
    a checkpoint, and end the run with ``history.interrupted``; without ``checkpoint`` they do what
    they do elsewhere.

    Args:
        step: a training step with the inputs ``image`` and ``label`` and the output ``loss``.
        train: what to train on.
        validation: what to evaluate on after each epoch; needs ``model``.
        epochs: how many to end with, those before a resumption included.
        model: the step's inference twin on the same state (``state=step.state``), with the outputs
            ``loss`` and ``prediction``.
        seed: chooses orders and augmentations.
        augment: changes images and labels together (see `minigraph.data`).
        schedule: the learning rate by the number of the step, from 0 over all epochs.
        callbacks: called in order (see `Callback`).
        checkpoint: the file that the last checkpoint is kept in, written after each epoch.
        checkpoint_every: and after so many steps within an epoch.
        metadata: kept in the checkpoint, such as a model card's.
        resume: go on from the checkpoint, if there is one.
        prefetched: batches made ahead in the background; 0 makes each when it is needed.
        progress: show a bar, and a line for each epoch.

    Returns:
        The records of all epochs, and why the run ended early, if it did.

    Raises:
        ValueError: arguments that do not go together.
        CheckpointError: the checkpoint is of another model or run.
        WriteError: a checkpoint cannot be written; the last one is still there.
        TrainingError: the loss, or a parameter where a checkpoint is due, is no longer finite.
    """
    _check(step, train, validation, model, epochs, checkpoint, checkpoint_every, resume, prefetched)
    batch_size = step.inputs["image"].shape[0]
    training = Training(step, model, train, validation, epochs, len(train) // batch_size)
    loop = _Loop(
        training=training,
        history=History(),
        callbacks=(*callbacks, *([ProgressBar()] if progress else [])),
        checkpoint=CheckpointFile(Path(checkpoint), metadata or {}) if checkpoint else None,
        checkpoint_every=checkpoint_every,
        seed=seed,
        augment=augment,
        schedule=schedule,
        prefetched=prefetched,
    )
    if resume and loop.checkpoint is not None and loop.checkpoint.path.exists():
        loop.history = loop.checkpoint.restore(step, loop.identity())
    with nullcontext(StopRequest()) if checkpoint is None else stop_requests() as stop:
        loop.train(stop)
    if stop.was_made:  # be it in the last moment: whoever called is to end as well
        loop.history.stopped = INTERRUPTED
    for callback in loop.callbacks:
        callback.on_end(loop.history)
    return loop.history


@dataclass
class _Loop:
    """A run: what it is made of, and how far it has come."""

    training: Training
    history: History
    callbacks: tuple[Callback, ...]
    checkpoint: CheckpointFile | None
    checkpoint_every: int | None
    seed: int
    augment: Augmentation | None
    schedule: Schedule | None
    prefetched: int

    def identity(self) -> dict[str, Any]:
        """What a run must have in common with the one that it goes on with."""
        return {
            "images": len(self.training.train),
            "classes": list(self.training.train.class_names),
            "batch size": self.training.batch_size,
            "seed": self.seed,
            "augmentation": describe(self.augment),
            "schedule": describe(self.schedule),
            "model and optimiser": fingerprint(self.training.step),
        }

    def train(self, stop: StopRequest) -> None:
        with ExitStack() as started:
            for callback in self.callbacks:
                started.callback(callback.close)
                callback.on_start(self.training, self.history)
            try:
                self._epochs(stop)
            except Interrupted:
                self.history.stopped = INTERRUPTED
                self._save()

    def _epochs(self, stop: StopRequest) -> None:
        while self.history.position.epoch <= self.training.epochs:
            reasons = [callback.reason_to_stop(self.history) for callback in self.callbacks]
            self.history.stopped = next(filter(None, reasons), None)
            if self.history.stopped is not None:
                return
            for callback in self.callbacks:
                callback.on_epoch_start(self.history)
            self._steps(stop)
            self.history.records.append(self._record(stop))
            for callback in self.callbacks:
                callback.on_epoch_end(self.history)
            self.history.position = Position(epoch=self.history.position.epoch + 1)
            self._save()

    def _steps(self, stop: StopRequest) -> None:
        """The rest of the epoch's steps."""
        position, step = self.history.position, self.training.step
        out = {"loss": np.empty((), np.float32)}
        before = time.perf_counter()
        with closing(self._batches()) as made:
            for batch in made:
                stop.check()
                arrived = time.perf_counter()
                self._set_learning_rate()
                step(batch, out=out)
                loss = self._checked(float(out["loss"]))
                after = time.perf_counter()
                position.add(loss, seconds=after - before, waiting=arrived - before)
                for callback in self.callbacks:
                    callback.on_step_end(self.history, loss)
                if self.checkpoint_every and position.step % self.checkpoint_every == 0:
                    self._save()
                before = time.perf_counter()
        stop.check()

    def _checked(self, loss: float) -> float:
        if math.isfinite(loss):
            return loss
        position = self.history.position
        raise TrainingError(
            f"Expected a finite loss, got {loss} in epoch {position.epoch}, step "
            f"{position.step + 1}: try a lower learning rate, a warm-up or clipping"
        )

    def _batches(self) -> Generator[Batch, None, None]:
        position = self.history.position
        made = batches(
            self.training.train, self.training.batch_size, seed=self.seed, epoch=position.epoch,
            shuffle=True, drop_last=True, augment=self.augment, start=position.step,
        )  # fmt: skip
        return prefetch(made, self.prefetched) if self.prefetched else made

    def _set_learning_rate(self) -> None:
        if self.schedule is not None:
            position = self.history.position
            number = (position.epoch - 1) * self.training.steps + position.step
            self.training.step.state[LEARNING_RATE] = self.schedule(number)

    def _record(self, stop: StopRequest) -> Record:
        position, training = self.history.position, self.training
        record: Record = {
            "epoch": position.epoch,
            "learning_rate": float(training.step.state[LEARNING_RATE]),
            "train_loss": position.loss_sum / position.step,
        }
        if training.model is not None and training.validation is not None:
            training.evaluation = evaluate(training.model, training.validation, on_batch=stop.check)
            record |= training.evaluation.record()
        images = position.step * training.batch_size
        return record | {
            "seconds": round(position.seconds, 3),
            "waiting_for_data": round(position.waiting / position.seconds, 4),
            "images_per_second": round(images / position.seconds, 1),
        }

    def _save(self) -> None:
        if self.checkpoint is None:
            return
        # A finite loss is that of the weights before the step.
        for name, array in self.training.step.state.parameters().items():
            if DType.of(array.dtype).is_floating and not np.isfinite(array).all():
                raise TrainingError(
                    f"Expected finite parameters, got others in {name!r} at "
                    f"{self.history.position}; the checkpoint before is kept: try a lower learning "
                    f"rate, a warm-up or clipping"
                )
        self.checkpoint.write(self.training.step, self.history, self.identity())


def _check(
    step: mg.Executable,
    train: Dataset,
    validation: Dataset | None,
    model: mg.Executable | None,
    epochs: int,
    checkpoint: str | Path | None,
    checkpoint_every: int | None,
    resume: bool,
    prefetched: int,
) -> None:
    if LEARNING_RATE not in step.state:
        raise ValueError("Expected a training step, compiled with an optimizer, got inference")
    missing = {"image", "label"} - set(step.inputs)
    if missing:
        raise ValueError(f"Expected a step with inputs image and label, got no {min(missing)}")
    if (model is None) != (validation is None):
        given, other = ("model", "validation") if validation is None else ("validation", "model")
        raise ValueError(f"Expected validation and model together, got {given} without {other}")
    if model is not None and model.state is not step.state:
        raise ValueError(
            "Expected a model on the step's state, got one on another: state=step.state"
        )
    if epochs < 1 or prefetched < 0 or (checkpoint_every is not None and checkpoint_every < 1):
        raise ValueError(
            f"Expected at least 1 epoch, 0 prefetched batches and 1 step between checkpoints, got "
            f"{epochs}, {prefetched} and {checkpoint_every}"
        )
    if checkpoint is None and (resume or checkpoint_every):
        raise ValueError("Expected the file of a checkpoint, to resume from or to write, got none")
    if validation is not None and len(validation) == 0:
        raise ValueError(f"Expected images to validate on, got none in '{validation.name}'")
    if len(train) < step.inputs["image"].shape[0]:
        raise ValueError(
            f"Expected at least one batch of {step.inputs['image'].shape[0]} images, got "
            f"{len(train)} in data set '{train.name}': make the batches smaller"
        )
