"""A run's folder: settings, metrics, checkpoint, the best model, scores, pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import minigraph as mg
from minigraph.model_card import ModelCard
from minigraph.report import plot_curves, write_summary
from minigraph.training.callbacks import Callback, JsonLog, Training
from minigraph.training.evaluation import score_name
from minigraph.training.history import History
from minigraph.training.pictures import draw_model
from minigraph.whole_file import remove_unfinished, write_whole

SETTINGS, METRICS, CHECKPOINT = "settings.json", "metrics.jsonl", "checkpoint.safetensors"
MODEL = "model.safetensors"
CURVES = "curves.png"


class RunFolder(Callback):
    """Writes what a training run leaves behind.

    ``metrics.jsonl`` has a line for each epoch; ``model.safetensors`` is the model of the best
    epoch (by mean IoU, or accuracy), with its card; ``checkpoint.safetensors`` is for the run to go
    on from.
    """

    def __init__(self, path: Path, card: ModelCard) -> None:
        self.path = path
        self.card = card
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
        folder = cls(path, card)
        folder.write_settings(settings)
        return folder

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        """Keep what the run can be repeated with."""
        text = json.dumps(dict(settings), indent=2) + "\n"
        write_whole(self.path / SETTINGS, text.encode())

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

    def on_epoch_end(self, history: History) -> None:
        JsonLog(self.path / METRICS).on_epoch_end(history)
        evaluation = self._training.evaluation
        if evaluation is None or history.best(self.score) is not history.records[-1]:
            return
        self._training.step.save(self.model, self.card.to_metadata())

    def on_end(self, history: History) -> None:
        """Draw the curves and, unless interrupted, what the best model makes of held-out images.

        Without matplotlib what needs it is left out.
        """
        if not self.model.exists() or self._training.validation is None:
            return
        if not history.interrupted:
            with suppress(ImportError):
                draw_model(self.model, self._training.validation, self.path)
        with suppress(ImportError):
            plot_curves(self.path / METRICS, self.path / CURVES)
        write_summary(self.path)
