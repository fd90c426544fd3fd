"""A run's folder: settings, one line of metrics an epoch, the best model, pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import minigraph as mg
from minigraph.data import ArrayDataset, batches
from minigraph.report import (
    classification_picture,
    plot_curves,
    read_records,
    segmentation_picture,
)

METRICS, MODEL, SETTINGS = "metrics.jsonl", "model.safetensors", "settings.json"
CURVES, PREDICTIONS = "curves.png", "predictions.png"


class RunFolder:
    """Writes what a training run leaves behind."""

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=False)
        (path / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n")

    @classmethod
    def new(cls, parent: Path, name: str, settings: dict[str, Any]) -> RunFolder:
        """``parent/name``, or with a number behind it where that exists: nothing is overwritten."""
        path, number = parent / name, 1
        while path.exists():
            number += 1
            path = parent / f"{name}-{number}"
        return cls(path, settings)

    def add(self, record: dict[str, Any]) -> None:
        """Append one epoch's metrics."""
        with (self.path / METRICS).open("a") as file:
            file.write(json.dumps(record) + "\n")

    def save(self, executable: mg.Executable) -> None:
        """Write the model, in place of the one before."""
        executable.save(self.path / MODEL)

    def draw_curves(self) -> bool:
        """Draw loss and scores; False where matplotlib is missing."""
        records = read_records(self.path / METRICS)
        scores = [key for key in records[0] if "loss" in key or key.startswith("val_")]
        try:
            plot_curves(records, self.path / CURVES, keys=scores)
        except ImportError:
            return False
        return True

    def draw_predictions(self, model: mg.Executable, dataset: ArrayDataset, count: int) -> None:
        """Draw some predictions beside the truth: pictures spread evenly over the data set."""
        chosen = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int)
        shown = dataset.subset(chosen)
        (batch,) = batches(shown, len(shown))
        predicted = model(batch)["prediction"]
        if dataset.is_segmentation:
            picture = segmentation_picture(
                shown.images, shown.labels, predicted, dataset.class_names,
                void_label=dataset.void_label,
            )  # fmt: skip
        else:
            picture = classification_picture(
                shown.images, shown.labels, predicted, dataset.class_names
            )
        picture.save(self.path / PREDICTIONS)
