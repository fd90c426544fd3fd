"""``minigraph train``: from a data set to a run folder."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import minigraph as mg
from minigraph.cli.progress import TerminalProgress
from minigraph.cli.recipes import RECIPES, Recipe, network
from minigraph.data import ArrayDataset, random_horizontal_flip
from minigraph.data.open import open_dataset
from minigraph.optimizers import optimizer_from_name
from minigraph.training import LabelTask, RunFolder, train_epochs

ModelName = Enum("ModelName", {name: name for name in RECIPES}, type=str)  # type: ignore[misc]
_NETWORKS = "; ".join(f"{name}: {recipe.summary}" for name, recipe in RECIPES.items())
_SHOWN_PICTURES = {True: 4, False: 32}  # segmentation or not


def train(
    model: Annotated[ModelName, typer.Argument(help=_NETWORKS)],
    data: Annotated[
        str | None,
        typer.Option(help="'shapes' (generated), or a folder: IDX or CamVid-like."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training set.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0.0)] = None,
    optimizer: Annotated[
        str | None, typer.Option(help="sgd, momentum, nesterov, adagrad, rmsprop, adam or adamw.")
    ] = None,
    base: Annotated[int | None, typer.Option(min=1, help="U-Net: first level's channels.")] = None,
    depth: Annotated[int | None, typer.Option(min=1, help="U-Net: number of poolings.")] = None,
    batch_norm: Annotated[bool, typer.Option(help="U-Net: normalise each convolution.")] = False,
    crop: Annotated[
        str | None, typer.Option(help="Keep HEIGHTxWIDTH of each picture, e.g. 176x240.")
    ] = None,
    flip: Annotated[bool, typer.Option(help="Mirror training pictures at random.")] = False,
    seed: Annotated[int, typer.Option(help="Parameters, order, augmentation.")] = 0,
    backend: Annotated[str, typer.Option(help="numpy, or auto.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads (default: all).")] = None,
    runs: Annotated[Path, typer.Option(help="Where run folders are made.")] = Path("runs"),
) -> None:
    """Train a network and leave a run folder: metrics, best model, curves, predictions.

    Examples:

      minigraph train unet

      minigraph train small-classifier --data fashion-mnist --epochs 3

      minigraph train unet --data camvid --crop 176x240 --base 16 --depth 4 --flip --batch-size 4
      --learning-rate 1e-3 --epochs 10
    """
    name, console = model.value, Console()
    recipe = RECIPES[name]
    source = data or recipe.data
    if source is None:
        raise ValueError(f"Expected a data set for {name}, got none: --data FOLDER")
    settings = {
        "model": name,
        "data": source,
        "epochs": epochs or recipe.epochs,
        "batch_size": batch_size or recipe.batch_size,
        "learning_rate": recipe.learning_rate if learning_rate is None else learning_rate,
        "optimizer": optimizer or recipe.optimizer,
        "base": base or recipe.base,
        "depth": depth or recipe.depth,
        "batch_norm": batch_norm,
        "crop": crop,
        "flip": flip,
        "seed": seed,
        "backend": backend,
        "threads": threads,
    }
    console.print(f"reading {source} ...", highlight=False)
    training, validation = open_dataset(source, crop=_size(crop), seed=seed)
    _check(name, recipe, training, settings["batch_size"])
    step, inference = _compile(settings, training)
    console.print(
        f"{name} on {source}: {len(training)} training and {len(validation)} held-out images of "
        f"{'x'.join(map(str, training.image_shape))}, {len(training.class_names)} classes; "
        f"{_parameters(step):,} parameters, backend {step.backend.name}, {step.backend.threads} "
        f"threads, plan {step.memory.total_bytes / 1e6:.0f} MB",
        highlight=False,
    )
    folder = RunFolder.new(runs, f"{name}-{Path(source).name}", settings)
    score = "val_mean_iou" if training.is_segmentation else "val_accuracy"
    _run(step, inference, training, validation, settings, folder, score, console)


def _run(
    step: mg.Executable,
    inference: mg.Executable,
    training: ArrayDataset,
    validation: ArrayDataset,
    settings: dict,
    folder: RunFolder,
    score: str,
    console: Console,
) -> None:
    best = -1.0
    with TerminalProgress(console, settings["epochs"]) as progress:
        for record in train_epochs(
            step, inference, training, validation,
            epochs=settings["epochs"], batch_size=settings["batch_size"], seed=settings["seed"],
            augment=random_horizontal_flip if settings["flip"] else None, progress=progress,
        ):  # fmt: skip
            folder.add(record)
            if record[score] > best:
                best = record[score]
                folder.save(step)
                folder.draw_predictions(
                    inference, validation, _SHOWN_PICTURES[training.is_segmentation]
                )
    label = score.removeprefix("val_").replace("_", " ")
    console.print(f"best {label} {best:.4f}; written to {folder.path}/", highlight=False)
    if not folder.draw_curves():
        console.print('no curves: pip install "minigraph[plot]"', highlight=False, markup=False)


def _compile(settings: dict, training: ArrayDataset) -> tuple[mg.Executable, mg.Executable]:
    mean, std = training.channel_statistics()
    task = LabelTask(
        network(
            settings["model"], training.classes, base=settings["base"], depth=settings["depth"],
            batch_norm=settings["batch_norm"],
        ),
        mean, [max(value, 1e-3) for value in std], training.void_label,
    )  # fmt: skip
    size = settings["batch_size"]
    inputs = {
        "image": ((size, *training.image_shape), "float32"),
        "label": ((size, *training.labels.shape[1:]), "int32"),
    }
    step = mg.compile(
        task, inputs, outputs=["loss"], seed=settings["seed"],
        optimizer=optimizer_from_name(settings["optimizer"], settings["learning_rate"]),
        backend=settings["backend"], threads=settings["threads"],
    )  # fmt: skip
    inference = mg.compile(
        task, inputs, outputs=["loss", "prediction"], state=step.state,
        backend=settings["backend"], threads=settings["threads"],
    )  # fmt: skip
    return step, inference


def _check(name: str, recipe: Recipe, training: ArrayDataset, batch_size: int) -> None:
    if recipe.segmentation != training.is_segmentation:
        wanted, got = ("a mask", "one label") if recipe.segmentation else ("one label", "a mask")
        raise ValueError(f"Expected {wanted} for each image to train {name}, got {got} each")
    if len(training) < batch_size:
        raise ValueError(f"Expected a batch size up to {len(training)} images, got {batch_size}")


def _parameters(step: mg.Executable) -> int:
    return sum(array.size for array in step.state.parameters().values())


def _size(crop: str | None) -> tuple[int, int] | None:
    if crop is None:
        return None
    height, _, width = crop.partition("x")
    if not height.isdigit() or not width.isdigit():
        raise ValueError(f"Expected --crop HEIGHTxWIDTH such as 176x240, got {crop!r}")
    return int(height), int(width)
