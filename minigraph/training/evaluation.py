"""Scores of a model over a whole data set."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import minigraph as mg
from minigraph.data import Dataset, batches
from minigraph.data.batches import Array, Batch
from minigraph.data.labels import VOID_LABEL
from minigraph.metrics import ConfusionMatrix
from minigraph.prediction.padding import (
    Size,
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


def void_of(dataset: Dataset) -> int | None:
    """The label that a task leaves out of its loss: the set's void, else 255 if no class has it."""
    if dataset.void_label is not None:
        return dataset.void_label
    return VOID_LABEL if dataset.classes <= VOID_LABEL else None


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
        batch_size: by default so many images as have together no more pixels than a batch that
            the model was compiled for, and one at least.
        on_batch: called after each batch.

    Returns:
        The loss is the mean over all positions of the data set that are not void, NaN where all
        are. Class weights are of training: it is not weighted.

    Raises:
        ValueError: there are no images, or images have to be padded and every label is a class.
    """
    if not len(dataset):
        raise ValueError(f"Expected images to evaluate, got none in data set '{dataset.name}'")
    matrix = ConfusionMatrix(dataset.classes, dataset.void_label, dataset.class_names)
    multiple = size_multiple(model) if dataset.is_segmentation else (1, 1)
    void = void_of(dataset)
    total, weight = 0.0, 0
    for batch in batches(dataset, batch_size or _batch_size(model, dataset)):
        image, label = _padded(batch, multiple, void)
        out = model(image=image, label=label)
        valid = int((label != void).sum()) if void is not None else label.size
        total, weight = total + float(out["loss"]) * valid, weight + valid
        within = tuple(slice(length) for length in batch["label"].shape)
        matrix.update(out["prediction"][within], batch["label"])
        if on_batch is not None:
            on_batch()
    loss = total / weight if weight else math.nan
    return Evaluation(loss, matrix, dataset.is_segmentation)


def _batch_size(model: mg.Executable, dataset: Dataset) -> int:
    images, _, height, width = model.inputs["image"].shape
    _, own_height, own_width = dataset.image_shape
    return max(1, images * height * width // (own_height * own_width))


def _padded(batch: Batch, multiple: Size, void: int | None) -> tuple[Array, Array]:
    """Images and labels of a size that the network takes; what is added is void."""
    image, label = batch["image"], batch["label"]
    padded = pad_to_multiple(image, multiple)
    if padded is image:
        return image, label
    if void is None:
        raise ValueError("Expected a label to spare for padding, got 256 classes: use --crop")
    return padded, pad_labels_to_multiple(label, multiple, void)
