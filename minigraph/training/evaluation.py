"""Scores of a model over a whole data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import minigraph as mg
from minigraph.data import Dataset, batches
from minigraph.data.labels import VOID_LABEL
from minigraph.metrics import ConfusionMatrix
from minigraph.prediction.padding import (
    pad_labels_to_multiple,
    pad_to_multiple,
    size_multiple,
)
from minigraph.training.history import Record


@dataclass(frozen=True)
class Evaluation:
    """Loss and counts over a whole data set, void left out."""

    loss: float
    matrix: ConfusionMatrix
    segmentation: bool

    @property
    def score(self) -> str:
        """The name, in `record`, of the figure by which models are compared."""
        return score_name(self.segmentation)

    def record(self) -> Record:
        """The figures under the names that records use."""
        if self.segmentation:
            scores = {
                "val_pixel_accuracy": self.matrix.pixel_accuracy,
                "val_mean_iou": self.matrix.mean_iou,
            }
        else:
            scores = {"val_accuracy": self.matrix.accuracy}
        return {"val_loss": self.loss, **scores}


def score_name(segmentation: bool) -> str:
    """The score by which models are compared: mean IoU for masks, else accuracy."""
    return "val_mean_iou" if segmentation else "val_accuracy"


def void_of(dataset: Dataset) -> int:
    """The label that a task leaves out of its loss: the data set's void, 255 where it has none."""
    return VOID_LABEL if dataset.void_label is None else dataset.void_label


def evaluate(
    model: mg.Executable,
    dataset: Dataset,
    batch_size: int | None = None,
    *,
    on_batch: Callable[[], None] | None = None,
) -> Evaluation:
    """Loss and confusion matrix of a compiled model with outputs ``loss`` and ``prediction``.

    Args:
        model: takes ``image`` (float32 (N,C,H,W) in [0,1]) and ``label``.
        dataset: gone over in its own order. Where the network does not take the size of its
            images, they are mirrored at the bottom and the right up to the next size that it does
            (see `minigraph.prediction.padding`); what is added counts nowhere.
        batch_size: by default the one that the model was compiled for.
        on_batch: called after each batch.

    Returns:
        The loss is the mean over all positions of the data set that are not void.
    """
    matrix = ConfusionMatrix(dataset.classes, dataset.void_label, dataset.class_names)
    multiple = size_multiple(model) if dataset.is_segmentation else (1, 1)
    void = void_of(dataset)
    total, weight = 0.0, 0
    for batch in batches(dataset, batch_size or model.inputs["image"].shape[0]):
        image, label = batch["image"], batch["label"]
        if dataset.is_segmentation:
            image = pad_to_multiple(image, multiple)
            label = pad_labels_to_multiple(label, multiple, void)
        out = model(image=image, label=label)
        valid = int((label != void).sum())
        total, weight = total + float(out["loss"]) * valid, weight + valid
        within = tuple(slice(length) for length in batch["label"].shape)
        matrix.update(out["prediction"][within], batch["label"])
        if on_batch is not None:
            on_batch()
    return Evaluation(total / max(weight, 1), matrix, dataset.is_segmentation)
