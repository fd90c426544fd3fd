"""``minigraph train``: from a data set to a run folder."""

from __future__ import annotations

import shlex
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import minigraph as mg
from minigraph.cli.console import new_console
from minigraph.cli.recipes import RECIPES, network
from minigraph.cli.settings import Settings, field_names, settings_from
from minigraph.cli.setup import (
    CLASS_WEIGHTS,
    PRECISIONS,
    SCHEDULES,
    check_settings,
    make_augmentation,
    make_class_weights,
    make_datasets,
    make_optimizer,
    make_schedule,
    training_size,
)
from minigraph.cli.weights import find_weights, start_from
from minigraph.data import Dataset
from minigraph.training import (
    Callback,
    EarlyStopping,
    History,
    LabelTask,
    ProgressBar,
    RunFolder,
    TensorBoardLog,
    card_of,
    fit,
)
from minigraph.training.run_folder import SETTINGS

ModelName = Enum("ModelName", {name: name for name in RECIPES}, type=str)  # type: ignore[misc]
_NETWORKS = "; ".join(f"{name}: {recipe.summary}" for name, recipe in RECIPES.items())
_MAY_CHANGE = frozenset({"epochs", "early_stopping", "checkpoint_every", "prefetch", "threads"})
INTERRUPTED = 130

_DATA, _IMAGES, _LEARNING, _RUN = "Data", "Augmentation", "Learning", "Run"


def train(
    context: typer.Context,
    model: Annotated[ModelName | None, typer.Argument(help=_NETWORKS)] = None,
    config: Annotated[
        Path | None, typer.Option(help="Settings to start from: a run's settings.json, or TOML.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with the run in this folder, to the bit.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Where run folders are made.")] = Path("runs"),
    data: Annotated[
        str | None,
        typer.Option(help="A folder, or a name that 'minigraph datasets' lists.",
                     rich_help_panel=_DATA),
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="Resize images to HEIGHTxWIDTH.", rich_help_panel=_DATA)
    ] = None,
    crop: Annotated[
        str | None,
        typer.Option(help="Keep HEIGHTxWIDTH from the top left corner.", rich_help_panel=_DATA),
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=3, help="1: grey, 3: RGB.",
                     rich_help_panel=_DATA),
    ] = None,
    class_names: Annotated[
        list[str] | None,
        typer.Option("--class", help="A class's name; once for each, in order.",
                     rich_help_panel=_DATA),
    ] = None,
    void_label: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, max=255, help="The label that counts nowhere.",
                     rich_help_panel=_DATA),
    ] = None,
    held_out: Annotated[
        float | None,
        typer.Option(metavar="X", help="Share to hold out of a set without a validation part.",
                     rich_help_panel=_DATA),
    ] = None,
    prefetch: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Batches made ahead in the background.",
                     rich_help_panel=_DATA),
    ] = None,
    flip: Annotated[
        bool | None,
        typer.Option("--flip/--no-flip", help="Mirror images at random.",
                     rich_help_panel=_IMAGES),
    ] = None,
    random_crop: Annotated[
        str | None,
        typer.Option(help="Train on random HEIGHTxWIDTH windows.", rich_help_panel=_IMAGES),
    ] = None,
    random_scale: Annotated[
        str | None,
        typer.Option(help="Enlarge or shrink at random, e.g. 0.5-2.", rich_help_panel=_IMAGES),
    ] = None,
    colour_jitter: Annotated[
        float | None,
        typer.Option(metavar="X", min=0.0, max=1.0,
                     help="Change brightness, contrast, saturation by up to it.",
                     rich_help_panel=_IMAGES),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Passes over the training set.",
                     rich_help_panel=_LEARNING),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Images a step.",
                     rich_help_panel=_LEARNING),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(metavar="X", min=0.0, help="Step size; with a schedule the largest one.",
                     rich_help_panel=_LEARNING),
    ] = None,
    optimizer: Annotated[
        str | None,
        typer.Option(help="sgd, momentum, nesterov, adagrad, rmsprop, adam or adamw.",
                     rich_help_panel=_LEARNING),
    ] = None,
    schedule: Annotated[
        str | None, typer.Option(help=f"{', '.join(SCHEDULES)}.", rich_help_panel=_LEARNING)
    ] = None,
    warm_up: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Steps in which the rate rises.",
                     rich_help_panel=_LEARNING),
    ] = None,
    weight_decay: Annotated[
        float | None,
        typer.Option(metavar="X", min=0.0, help="Of weights, not of biases and norms.",
                     rich_help_panel=_LEARNING),
    ] = None,
    clip_norm: Annotated[
        float | None,
        typer.Option(metavar="X", min=0.0, help="Limit of the gradient's norm.",
                     rich_help_panel=_LEARNING),
    ] = None,
    accumulate: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Batches a change of the parameters.",
                     rich_help_panel=_LEARNING),
    ] = None,
    class_weights: Annotated[
        str | None,
        typer.Option(help=f"{' or '.join(CLASS_WEIGHTS)}: rare classes count for more.",
                     rich_help_panel=_LEARNING),
    ] = None,
    freeze: Annotated[
        list[str] | None,
        typer.Option(help="Parameters to leave alone, e.g. 'encoder*'.",
                     rich_help_panel=_LEARNING),
    ] = None,
    early_stopping: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Stop after so many epochs without a better score.",
                     rich_help_panel=_LEARNING),
    ] = None,
    base: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Channels of the first level.",
                     rich_help_panel=_LEARNING),
    ] = None,
    depth: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="U-Net: number of poolings.",
                     rich_help_panel=_LEARNING),
    ] = None,
    batch_norm: Annotated[
        bool | None,
        typer.Option("--batch-norm/--no-batch-norm", help="Normalise each convolution.",
                     rich_help_panel=_LEARNING),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="Start from a .safetensors or .npz file as of torchvision, or from a "
                     "run.", rich_help_panel=_LEARNING),
    ] = None,
    checkpoint_every: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Steps between checkpoints, beside those of epochs.",
                     rich_help_panel=_RUN),
    ] = None,
    tensorboard: Annotated[
        bool | None,
        typer.Option("--tensorboard/--no-tensorboard", help="Write TensorBoard's files as well.",
                     rich_help_panel=_RUN),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Parameters, order, augmentation.",
                     rich_help_panel=_RUN),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help=f"{', '.join(PRECISIONS)}: that of the large work; parameters stay "
                     "float32.", rich_help_panel=_RUN),
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="llvm, numpy, or auto.", rich_help_panel=_RUN)
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="CPU threads (default: all).",
                     rich_help_panel=_RUN),
    ] = None,
) -> None:  # fmt: skip
    """Train a network and leave a run folder: settings, metrics, checkpoint, best model, pictures.

    Ctrl-C ends a run with a checkpoint; --resume goes on. A run is repeated by its settings.json.

    Examples:

      minigraph train unet

      minigraph train small-classifier --data fashion-mnist --epochs 8

      minigraph train unet --data camvid --random-crop 176x240 --base 16 --depth 4 --flip
      --batch-size 4 --epochs 10

      minigraph train fcn16s --data camvid --weights runs/fcn32s-camvid

      minigraph train --resume runs/unet-camvid

      minigraph train --config runs/unet-camvid/settings.json --seed 1
    """
    given = {
        name: value
        for name, value in context.params.items()
        if name in field_names() - {"model"} and value not in (None, [], ())
    }
    console = new_console()
    name = None if model is None else model.value
    if resume is not None:
        _resume(name, config, resume, given, console)
    else:
        if "data" in given and Path(given["data"]).is_dir():
            given["data"] = str(Path(given["data"]).resolve())  # to go on from any folder
        if "weights" in given:
            given["weights"] = str(Path(given["weights"]).resolve())
        _run(settings_from(name, config, given), runs, None, console)


def _resume(
    model: str | None, config: Path | None, folder: Path, given: dict, console: Console
) -> None:
    beside = {"model": model, "config": config, **given}
    wrong = [name for name in beside if beside[name] is not None and name not in _MAY_CHANGE]
    if wrong:
        raise ValueError(
            f"Expected nothing with --resume but {', '.join(sorted(_MAY_CHANGE))}, got "
            f"{', '.join(wrong)}: a run goes on as it began. To begin another one from its "
            f"settings: --config {folder / SETTINGS}"
        )
    if not (folder / SETTINGS).is_file():
        raise ValueError(f"Expected the folder of a run with a {SETTINGS}, got none: {folder}")
    settings = settings_from(None, folder / SETTINGS, given)
    if "epochs" in given and settings.schedule != "constant":
        raise ValueError(
            f"Expected no --epochs for a run with the schedule {settings.schedule}, which ends "
            f"with its last epoch: begin another one with --config {folder / SETTINGS}"
        )
    _run(settings, folder.parent, folder, console)


def _run(settings: Settings, runs: Path, resumed: Path | None, console: Console) -> None:
    check_settings(settings)
    start = None if resumed is not None else find_weights(settings)
    console.print(f"reading {settings.data} ...")
    training, validation = make_datasets(settings)
    _check(settings, training)
    size = training_size(settings)
    augment = make_augmentation(settings, training)
    steps = len(training) // settings.batch_size * settings.epochs
    schedule = make_schedule(settings, steps)
    task = LabelTask.for_dataset(
        network(settings.model, training.classes, base=settings.base, depth=settings.depth,
                batch_norm=settings.batch_norm),
        training, make_class_weights(settings, training),
    )  # fmt: skip
    step, inference = task.compile(
        training, batch_size=settings.batch_size, optimizer=make_optimizer(settings), size=size,
        seed=settings.seed, backend=settings.backend, threads=settings.threads,
        precision=settings.precision,
    )  # fmt: skip
    _announce(settings, step, training, validation, console)
    if start is not None:
        console.print(str(start_from(start, step.state, settings)))
    card = card_of(training, size)
    if resumed is not None:
        folder = RunFolder(resumed, card, settings.to_json())
    else:
        name = f"{settings.model}-{Path(settings.data).name}"
        folder = RunFolder.new(runs, name, card, settings.to_json())
    callbacks: list[Callback] = [folder, ProgressBar(console)]
    if settings.early_stopping is not None:
        callbacks.append(EarlyStopping(folder.score, settings.early_stopping))
    if settings.tensorboard:
        callbacks.append(TensorBoardLog(folder.path / "tensorboard"))
    try:
        history = fit(
            step, training, validation, model=inference, epochs=settings.epochs,
            seed=settings.seed, augment=augment, schedule=schedule, callbacks=callbacks,
            checkpoint=folder.checkpoint, checkpoint_every=settings.checkpoint_every,
            metadata=card.to_metadata(), resume=resumed is not None,
            prefetched=settings.prefetch, progress=False,
        )  # fmt: skip
    except mg.WriteError as error:
        hint = (
            f". To go on when that is mended: {_go_on(folder)}"
            if folder.checkpoint.exists()
            else ""
        )
        raise mg.WriteError(f"{error}{hint}") from error
    _conclude(history, folder, console)


def _conclude(history: History, folder: RunFolder, console: Console) -> None:
    """Say what came of the run; end with its own exit code where it was interrupted."""
    best = history.best(folder.score)
    if best is not None:
        label = folder.score.removeprefix("val_").replace("_", " ").replace("iou", "IoU")
        console.print(f"best {label} {best[folder.score]:.4f} in epoch {best['epoch']}")
    console.print(f"written to {folder.path}/")
    for reason in folder.left_out:
        console.print(f"left out {reason}")
    if history.interrupted:
        console.print(f"to go on: {_go_on(folder)}")
        sys.exit(INTERRUPTED)


def _go_on(folder: RunFolder) -> str:
    return f"minigraph train --resume {shlex.quote(str(folder.path))}"


def _announce(
    settings: Settings,
    step: mg.Executable,
    training: Dataset,
    validation: Dataset,
    console: Console,
) -> None:
    parameters = sum(array.size for array in step.state.parameters().values())
    console.print(
        f"{settings.model} on {settings.data}: {len(training)} training and {len(validation)} "
        f"held-out images of {'x'.join(map(str, training.image_shape))}, {training.classes} "
        f"classes; {parameters:,} parameters, backend {step.backend.name}, {step.backend.threads} "
        f"threads, plan {step.memory.total_bytes / 1e6:.0f} MB",
    )


def _check(settings: Settings, training: Dataset) -> None:
    recipe = RECIPES[settings.model]
    if recipe.segmentation != training.is_segmentation:
        wanted, got = ("a mask", "one label") if recipe.segmentation else ("one label", "a mask")
        raise ValueError(
            f"Expected {wanted} for each image to train {settings.model}, got {got} each"
        )
    if training.classes < 2:
        raise ValueError(
            f"Expected two classes or more to tell apart, got {', '.join(training.class_names)}: "
            f"see what 'minigraph datasets {settings.data}' takes the folder for"
        )
    if len(training) < settings.batch_size:
        raise ValueError(
            f"Expected batches of up to {len(training)} images, which is all there are to train "
            f"on, got {settings.batch_size}: add --batch-size {max(1, len(training) // 8)}"
        )
