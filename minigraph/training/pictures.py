"""What a saved model makes of a data set: scores and pictures, in a folder."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

import minigraph as mg
from minigraph.data import Dataset
from minigraph.prediction import Classification, Predictor, pad_to_multiple, size_multiple
from minigraph.report import (
    classification_picture,
    feature_map_picture,
    feature_maps,
    first_convolution,
    plot_confusion,
    plot_filters,
    segmentation_picture,
    write_picture,
    write_scores,
)
from minigraph.training.evaluation import Evaluation, evaluate

SCORES, CONFUSION = "scores.csv", "confusion.png"
PREDICTIONS, FILTERS, FEATURE_MAPS = "predictions.png", "filters.png", "feature-maps.png"
SHOWN_PICTURES = {True: 4, False: 32}  # segmentation or not


def model_pictures(path: Path, dataset: Dataset, folder: Path) -> dict[str, Callable[[], object]]:
    """Everything that can be drawn of a saved model with a card, by the name of its file."""

    @cache
    def model() -> mg.Executable:
        return mg.load(path, outputs=["loss", "prediction"])

    def scores() -> None:
        draw_scores(evaluate(model(), dataset), folder)

    def predictions() -> None:
        draw_predictions(Predictor.load(path), dataset, folder / PREDICTIONS)

    return {
        CONFUSION: scores,
        PREDICTIONS: predictions,
        FILTERS: lambda: _draw_filters(model(), folder / FILTERS),
        FEATURE_MAPS: lambda: _draw_feature_maps(model(), dataset, folder / FEATURE_MAPS),
    }


def draw_scores(evaluation: Evaluation, folder: Path) -> None:
    """The table of classes, and which class was called what."""
    write_scores(evaluation.matrix, folder / SCORES)
    plot_confusion(evaluation.matrix, folder / CONFUSION)


def draw_predictions(predictor: Predictor, dataset: Dataset, output: Path) -> None:
    """Some predictions beside the truth: pictures spread evenly over the data set."""
    count = min(SHOWN_PICTURES[dataset.is_segmentation], len(dataset))
    images, labels = dataset.fetch(np.linspace(0, len(dataset) - 1, count).round().astype(int))
    predicted = []
    for image in images:
        found = predictor(image)
        predicted.append(found.label if isinstance(found, Classification) else found.labels)
    if dataset.is_segmentation:
        picture = segmentation_picture(
            images, labels, np.stack(predicted), dataset.class_names, void_label=dataset.void_label
        )
    else:
        picture = classification_picture(images, labels, np.array(predicted), dataset.class_names)
    write_picture(picture, output)


def _draw_feature_maps(model: mg.Executable, dataset: Dataset, output: Path) -> None:
    images, _ = dataset.fetch([0])
    scaled = images.astype(np.float32) / 255
    if dataset.is_segmentation:
        scaled = pad_to_multiple(scaled, size_multiple(model))
    write_picture(feature_map_picture(feature_maps(model, scaled), image=images[0]), output)


def _draw_filters(model: mg.Executable, output: Path) -> None:
    name, weight = first_convolution(model)
    plot_filters(weight, output, title=name)
