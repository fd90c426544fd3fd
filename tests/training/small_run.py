"""Runs of three epochs on a model that has state of every kind, and ways to stop them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import minigraph as mg
from minigraph.data import ArrayDataset, Compose, RandomCrop, random_horizontal_flip
from minigraph.training import (
    Callback,
    History,
    LabelTask,
    fit,
)

TIMES = ("seconds", "waiting_for_data", "images_per_second")
AUGMENT = Compose([RandomCrop(8, 8), random_horizontal_flip])


def network(x: mg.Tensor) -> mg.Tensor:
    """Everything that has state: parameters, running statistics, a random key."""
    x = mg.relu(mg.batch_norm(mg.conv2d(x, 4, 3, padding="same", name="conv"), name="norm"))
    return mg.conv2d(mg.dropout(x, 0.3, name="drop"), 3, 1, name="head")


def compiled(dataset: ArrayDataset, optimizer: Any = None) -> tuple[mg.Executable, mg.Executable]:
    task = LabelTask.for_dataset(network, dataset)
    return task.compile(dataset, batch_size=4, optimizer=optimizer or mg.Adam(0.01), size=(8, 8))


def state_bits(step: mg.Executable) -> dict[str, bytes]:
    return {name: step.state[name].tobytes() for name in step.state}


def without_times(history: History) -> list[dict]:
    return [{k: v for k, v in record.items() if k not in TIMES} for record in history.records]


class At(Callback):
    """Does something after the given step of the given epoch."""

    def __init__(self, epoch: int, step: int, action: Callable[[], None]) -> None:
        self.place, self.action = (epoch, step), action

    def on_step_end(self, history: History, loss: float) -> None:
        if (history.position.epoch, history.position.step) == self.place:
            self.action()


class Crash(Exception):
    pass


def crash() -> None:
    raise Crash


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def run(dataset: ArrayDataset, **options: Any) -> tuple[mg.Executable, History]:
    """A whole run of three epochs on a newly compiled model."""
    step, model = compiled(dataset)
    options = {"epochs": 3, "seed": 7, "augment": AUGMENT, "progress": False,
               "schedule": mg.Cosine(0.02, 15), **options}  # fmt: skip
    return step, fit(step, dataset, dataset, model=model, **options)
