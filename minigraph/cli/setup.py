"""From settings to what trains: data, augmentation, optimiser, schedule."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minigraph import schedules
from minigraph.cli.recipes import RECIPES
from minigraph.cli.settings import Settings
from minigraph.cli.sizes import parse_optional_size
from minigraph.data import (
    ColourJitter,
    Compose,
    Dataset,
    RandomCrop,
    RandomScale,
    inverse_frequency_weights,
    median_frequency_weights,
    random_horizontal_flip,
)
from minigraph.data.batches import Augmentation
from minigraph.data.labels import VOID_LABEL
from minigraph.data.open import open_dataset
from minigraph.optimizers import (
    Accumulate,
    ClipGlobalNorm,
    Groups,
    Optimizer,
    WeightDecay,
    optimizer_from_name,
    weights_only,
)
from minigraph.schedules import Schedule

CLASS_WEIGHTS = ("median", "inverse")
PRECISIONS = ("float32", "bfloat16", "float16")
SCHEDULES = ("constant", "step", "cosine", "poly", "one-cycle")


def check_settings(settings: Settings) -> None:
    """Raise ValueError for a setting that says nothing, before anything is read."""
    for option in ("size", "crop", "random_crop"):
        parse_optional_size(_option(option), getattr(settings, option))
    if settings.random_scale is not None:
        _range("--random-scale", settings.random_scale)
    if settings.class_weights is not None:
        _check_choice("--class-weights", settings.class_weights, CLASS_WEIGHTS)
    if settings.random_crop is not None and not RECIPES[settings.model].segmentation:
        raise ValueError(
            f"Expected no --random-crop for {settings.model}, which classifies whole images: use "
            "--size"
        )
    _check_choice("--schedule", settings.schedule, SCHEDULES)
    _check_choice("--precision", settings.precision, PRECISIONS)
    make_optimizer(settings)


def make_datasets(settings: Settings) -> tuple[Dataset, Dataset]:
    """The training and the held-out set."""
    return open_dataset(
        settings.data,
        crop=parse_optional_size("--crop", settings.crop),
        size=parse_optional_size("--size", settings.size),
        channels=settings.channels,
        class_names=settings.class_names,
        void_label=settings.void_label,
        held_out=settings.held_out,
        seed=settings.seed,
    )


def make_augmentation(settings: Settings, dataset: Dataset) -> Augmentation | None:
    """Scale, crop, flip, colours, in this order; None if there is nothing to change."""
    void = VOID_LABEL if dataset.void_label is None else dataset.void_label
    steps: list[Augmentation] = []
    if settings.random_scale is not None:
        low, high = _range("--random-scale", settings.random_scale)
        _check_void("--random-scale", dataset)
        steps.append(RandomScale(low, high, void_label=void))
    crop = parse_optional_size("--random-crop", settings.random_crop)
    if crop is not None:
        _, height, width = dataset.image_shape
        if crop[0] > height or crop[1] > width:
            _check_void("--random-crop larger than the images", dataset)
        steps.append(RandomCrop(*crop, void_label=void))
    if settings.flip:
        steps.append(random_horizontal_flip)
    if settings.colour_jitter is not None:
        steps.append(ColourJitter(*(settings.colour_jitter,) * 3))
    if len(steps) > 1:
        return Compose(steps)
    return steps[0] if steps else None


def make_class_weights(settings: Settings, dataset: Dataset) -> Sequence[float] | None:
    """One weight per class, or None."""
    if settings.class_weights is None:
        return None
    median = settings.class_weights == "median"
    weights = (median_frequency_weights if median else inverse_frequency_weights)(dataset)
    return np.asarray(weights.values).tolist()


def make_optimizer(settings: Settings) -> Optimizer:
    """The rule with its decay, frozen parameters, clipping and accumulation, inside out."""
    optimizer: Optimizer = optimizer_from_name(settings.optimizer, settings.learning_rate)
    if settings.weight_decay:
        optimizer = WeightDecay(optimizer, settings.weight_decay, only=weights_only)
    if settings.freeze:
        optimizer = Groups(optimizer, dict.fromkeys(settings.freeze))
    if settings.clip_norm is not None:
        optimizer = ClipGlobalNorm(optimizer, settings.clip_norm)
    if settings.accumulate > 1:
        optimizer = Accumulate(optimizer, settings.accumulate)
    return optimizer


def make_schedule(settings: Settings, steps: int) -> Schedule | None:
    """The learning rate over the run's steps; None leaves it as it is."""
    rate, warm_up = settings.learning_rate, settings.warm_up
    rest = max(steps - warm_up, 1)
    choices: dict[str, Schedule] = {
        "constant": schedules.Polynomial(rate, 1, power=0.0),
        "step": schedules.StepDecay(rate, every=max(1, -(-rest // 3))),
        "cosine": schedules.Cosine(rate, rest),
        "poly": schedules.Polynomial(rate, rest),
    }
    if settings.schedule == "one-cycle":
        if warm_up:
            raise ValueError("Expected no --warm-up with one-cycle, which has one of its own")
        return schedules.OneCycle(rate, steps)
    if not warm_up:
        return None if settings.schedule == "constant" else choices[settings.schedule]
    return schedules.WarmUp(choices[settings.schedule], warm_up)


def training_size(settings: Settings) -> tuple[int, int] | None:
    """(height, width) of what is trained on, where it is not the data set's."""
    return parse_optional_size("--random-crop", settings.random_crop)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _check_choice(option: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"Expected {option} of {', '.join(choices)}, got {value!r}")


def _range(option: str, text: str) -> tuple[float, float]:
    low, _, high = text.partition("-")
    try:
        return float(low), float(high)
    except ValueError:
        raise ValueError(f"Expected {option} LOW-HIGH such as 0.5-2, got {text!r}") from None


def _check_void(what: str, dataset: Dataset) -> None:
    """Area that no image covers has to be void."""
    if dataset.is_segmentation and dataset.void_label is None:
        raise ValueError(
            f"Expected a data set with a void label for {what}, got none in '{dataset.name}': "
            "add --void-label 255"
        )
