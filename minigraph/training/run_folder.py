"""A run's folder: settings, metrics, checkpoint, the best model, scores, pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import minigraph as mg
from minigraph.model_card import ModelCard
from minigraph.report import plot_curves, write_summary
from minigraph.training.callbacks import Callback, JsonLog, Training
from minigraph.training.evaluation import score_name
from minigraph.training.history import History
from minigraph.training.pictures import model_pictures
from minigraph.whole_file import remove_unfinished, write_whole

SETTINGS, METRICS, CHECKPOINT = "settings.json", "metrics.jsonl", "checkpoint.safetensors"
MODEL = "model.safetensors"
CURVES, SUMMARY = "curves.png", "report.html"


class RunFolder(Callback):
    """Writes what a training run leaves behind.

    ``metrics.jsonl`` has a line for each epoch; ``model.safetensors`` is the model of the best
    epoch (by mean IoU, or accuracy), with its card; ``checkpoint.safetensors`` is for the run to go
    on from.
    """

    def __init__(
        self, path: Path, card: ModelCard, settings: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        """Of a run that goes on in this folder; `new` makes another."""
        self.path = path
        self.card = card
        self.settings = settings
        self.left_out: list[str] = []  # pictures that could not be drawn, and why
        self.score = score_name(card.segmentation)
        remove_unfinished(path, (SETTINGS, METRICS, CHECKPOINT, MODEL))

    @classmethod
    def new(
        cls,
        parent: str | Path,
        name: str,
        card: ModelCard,
        settings: Mapping[str, Any] = MappingProxyType({}),
    ) -> RunFolder:
        """``parent/name``, or with a number behind it where that exists: nothing is overwritten."""
        path, number = Path(parent) / name, 1
        while path.exists():
            number += 1
            path = Path(parent) / f"{name}-{number}"
        try:
            path.mkdir(parents=True)
        except OSError as error:
            raise mg.WriteError(
                f"Expected to make a folder for the run, got '{error.strerror}': {path}"
            ) from error
        return cls(path, card, settings)

    @property
    def checkpoint(self) -> Path:
        """The file to give to ``fit(checkpoint=...)``."""
        return self.path / CHECKPOINT

    @property
    def model(self) -> Path:
        """The best model's file."""
        return self.path / MODEL

    def on_start(self, training: Training, history: History) -> None:
        self._training = training
        if self.settings:  # a checkpoint of another run has been refused by now
            text = json.dumps(dict(self.settings), indent=2) + "\n"
            write_whole(self.path / SETTINGS, text.encode())

    def on_epoch_end(self, history: History) -> None:
        """Keep the records, and the model if it is the best so far (the last, if unevaluated)."""
        JsonLog(self.path / METRICS).on_epoch_end(history)
        unevaluated = self._training.validation is None
        if unevaluated or history.best(self.score) is history.records[-1]:
            self._training.step.save(self.model, self.card.to_metadata())

    def on_end(self, history: History) -> None:
        """Draw the curves and, unless interrupted, what the best model makes of held-out images.

        No picture that cannot be drawn ends a run: `left_out` has the reasons.
        """
        if not history.records:
            return
        drawn: dict[str, Callable[[], object]] = {
            CURVES: partial(plot_curves, self.path / METRICS, self.path / CURVES)
        }
        if self._training.validation is not None and not history.interrupted:
            drawn |= model_pictures(self.model, self._training.validation, self.path)
        drawn[SUMMARY] = partial(write_summary, self.path)
        for name, draw in drawn.items():
            try:
                draw()
            except (ImportError, ValueError, OSError, mg.MinigraphError) as error:
                self.left_out.append(f"{name}: {error}")
