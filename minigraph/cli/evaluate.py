"""``minigraph evaluate``: the scores of a saved model on a data set."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

import minigraph as mg
from minigraph.cli.console import new_console
from minigraph.cli.settings import Settings, read_settings
from minigraph.cli.setup import make_datasets
from minigraph.data import Dataset
from minigraph.data.layouts import find_layout
from minigraph.data.open import SHAPES, find_folder
from minigraph.model_card import ModelCard
from minigraph.prediction import Predictor
from minigraph.training import evaluate as evaluate_model
from minigraph.training.pictures import PREDICTIONS, draw_predictions, draw_scores
from minigraph.training.run_folder import MODEL, SETTINGS


class Part(StrEnum):
    """Which part of a data set."""

    VALIDATION = "validation"
    TRAINING = "training"


def evaluate(
    model: Annotated[Path, typer.Argument(help="A saved model, or the folder of a run.")],
    data: Annotated[
        str | None, typer.Option(help="A data set; by default the run's, where MODEL is a run.")
    ] = None,
    part: Annotated[Part, typer.Option(help="Which part of the data set.")] = Part.VALIDATION,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images at a time.")] = None,
    size: Annotated[str | None, typer.Option(help="Resize images to HEIGHTxWIDTH.")] = None,
    crop: Annotated[
        str | None, typer.Option(help="Keep HEIGHTxWIDTH from the top left corner.")
    ] = None,
    held_out: Annotated[
        float | None, typer.Option(help="Share held out of a set without a validation part.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="A folder for scores.csv, confusion.png, predictions.png.")
    ] = None,
    precision: Annotated[
        str, typer.Option(help="float32, bfloat16 or float16: that of the large work.")
    ] = "float32",
    backend: Annotated[str, typer.Option(help="llvm, numpy, or auto.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1)] = None,
) -> None:
    """Score a saved model: a table of all classes, void left out.

    Images whose size the network does not take are mirrored at the bottom and the right up to the
    next size that it takes; what is added counts nowhere.

    Examples:

      minigraph evaluate runs/unet-shapes

      minigraph evaluate model.safetensors --data camvid --output scores
    """
    console = new_console()
    path, run = (model / MODEL, model / SETTINGS) if model.is_dir() else (model, None)
    executable = mg.load(
        path, outputs=["loss", "prediction"], backend=backend, threads=threads, precision=precision
    )
    card = ModelCard.of(executable)
    settings = read_settings(run) if run is not None and data is None else {}
    source = data or settings.get("data")
    if source is None:
        raise ValueError("Expected a data set to score the model on, got none: --data FOLDER")
    known = {key: settings.get(key) for key in ("size", "crop", "held_out", "seed")}
    given = {"size": size, "crop": crop, "held_out": held_out}
    chosen = [(k, v) for k, v in [*known.items(), *given.items()] if v is not None]
    dataset = _open(card, source, part, dict(chosen))
    console.print(f"{path}: {len(dataset)} images of {dataset.name}")
    evaluation = evaluate_model(executable, dataset, batch_size)
    console.print(f"loss {evaluation.loss:.4f}")
    console.print(str(evaluation.matrix))
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        predictor = Predictor.load(path, backend=backend, threads=threads, precision=precision)
        draw_predictions(predictor, dataset, output / PREDICTIONS)
        draw_scores(evaluation, output)
        console.print(f"written to {output}/")


def _open(card: ModelCard, source: str, part: Part, given: dict) -> Dataset:
    """The part of the data set, read as the model was trained as far as the layout can be told."""
    channels, height, width = card.image_shape
    wanted = {"channels": channels, "class_names": list(card.class_names),
              "void_label": card.void_label}  # fmt: skip
    if not card.segmentation:
        wanted["size"] = f"{height}x{width}"
    known = () if source == SHAPES else find_layout(find_folder(source)).options
    chosen = {name: value for name, value in wanted.items() if name in known}
    training, validation = make_datasets(Settings(model="", data=source, **{**chosen, **given}))
    dataset = validation if part is Part.VALIDATION else training
    _check(card, dataset)
    return dataset


def _check(card: ModelCard, dataset: Dataset) -> None:
    if dataset.is_segmentation != card.segmentation:
        wanted, got = ("masks", "one label an image") if card.segmentation else ("labels", "masks")
        raise ValueError(f"Expected a set with {wanted} for this model, got {got}: {dataset.name}")
    if dataset.class_names != card.class_names:
        raise ValueError(
            f"Expected the model's classes {', '.join(card.class_names)}, got "
            f"{', '.join(dataset.class_names)}: {dataset.name}"
        )
    if dataset.image_shape[0] != card.image_shape[0]:
        raise ValueError(
            f"Expected images of {card.image_shape[0]} channels as in training, got "
            f"{dataset.image_shape[0]}: {dataset.name}"
        )
