"""Batches of a data set: shuffled, scaled and augmented, the same every run.

Everything here is plain NumPy. A data set gives its pictures as bytes; a batch is what a compiled
graph is fed: ``{"image": float32 (N, C, H, W), "label": int32 (N,) or (N, H, W)}``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

import numpy as np

from minigraph.data.dataset import Dataset
from minigraph.data.labels import find_illegal, legal_text, place_text

Array = np.ndarray
Batch = dict[str, Array]
Augmentation = Callable[[Array, Array, np.random.Generator], tuple[Array, Array]]
"""``(images, labels, generator) -> (images, labels)``: images stay uint8 ``(N, C, H, W)``, labels
integers ``(N,)`` or ``(N, H, W)``; height and width may change, those of images and masks together.
`minigraph.data.augment` has the usual ones."""


def batches(
    dataset: Dataset,
    batch_size: int,
    *,
    seed: int = 0,
    epoch: int = 0,
    shuffle: bool = False,
    drop_last: bool = False,
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
    augment: Augmentation | None = None,
    start: int = 0,
) -> Generator[Batch, None, None]:
    """One pass over a data set; batch ``i`` depends on ``(seed, epoch, i)`` and nothing else.

    Args:
        dataset: what to go over.
        batch_size: pictures per batch.
        seed: chooses the run's orders and augmentations.
        epoch: chooses this pass's order and augmentations within the run.
        shuffle: a new order each epoch, instead of the data set's own.
        drop_last: leave out a last batch that is not full (for graphs of one fixed batch size).
        mean: subtracted from pixel / 255; one number, or one per channel.
        std: then divided by; one number, or one per channel.
        augment: changes pictures and labels together, such as ``random_horizontal_flip``; pictures
            that are then not bytes, and labels that are neither a class nor void, are an error at
            that batch.
        start: the first batch to make, from 0: the same batches as without it, less those before.

    Yields:
        ``{"image": float32 (N, C, H, W), "label": int32 (N,) or (N, H, W)}``, fresh arrays. With
        the default ``mean`` and ``std`` the pictures lie in [0, 1].

    Raises:
        ValueError: at the call, not at the first batch: a batch size that is not positive or gives
            no batch at all, a start below 0, or a mean or std that does not fit the channels.
    """
    if batch_size < 1:
        raise ValueError(f"Expected batch_size of at least 1, got {batch_size}")
    if start < 0:
        raise ValueError(f"Expected a first batch of 0 or more, got start={start}")
    if drop_last and len(dataset) < batch_size:
        raise ValueError(
            f"Expected at least batch_size = {batch_size} pictures with drop_last, got "
            f"{len(dataset)} in data set '{dataset.name}': make the batches smaller"
        )
    offset = _per_channel("mean", mean, dataset)
    divisor = _per_channel("std", std, dataset)
    if not (divisor > 0).all():
        raise ValueError(f"Expected std above 0 in every channel, got {std}")
    # pixel -> (pixel / 255 - mean) / std, as one multiplication and one addition
    scale, shift = 1 / (255 * divisor), -offset / divisor
    return _generate(
        dataset, batch_size, (seed, epoch), shuffle, drop_last,
        scale.astype(np.float32), shift.astype(np.float32), augment, start,
    )  # fmt: skip


def _per_channel(name: str, value: float | Sequence[float], dataset: Dataset) -> Array:
    """``value`` as float64 ``(1, C, 1, 1)``."""
    channels = dataset.image_shape[0]
    values = np.asarray(value, dtype=np.float64)
    if values.shape not in ((), (1,), (channels,)):
        raise ValueError(
            f"Expected {name} as one number or {channels}, one per channel of data set "
            f"'{dataset.name}', got {values.size}"
        )
    return np.broadcast_to(values, (channels,)).reshape(1, channels, 1, 1)


def _generate(
    dataset: Dataset,
    batch_size: int,
    seed: tuple[int, int],
    shuffle: bool,
    drop_last: bool,
    scale: Array,
    shift: Array,
    augment: Augmentation | None,
    start: int,
) -> Generator[Batch, None, None]:
    count = len(dataset)
    order = _generator(seed, 0).permutation(count) if shuffle else np.arange(count)
    end = count - count % batch_size if drop_last else count
    for first in range(start * batch_size, end, batch_size):
        chosen = order[first : first + batch_size]
        images, labels = dataset.fetch(chosen)
        if augment is not None:
            images, labels = augment(images, labels, _generator(seed, 1, first // batch_size))
            _check_augmented(dataset, images, labels, chosen)
        scaled = images * scale
        scaled += shift
        yield {"image": scaled, "label": labels.astype(np.int32)}


def _generator(seed: tuple[int, int], *stream: int) -> np.random.Generator:
    """One of the independent streams of numbers that belong to a seed and an epoch."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=stream))


def _check_augmented(dataset: Dataset, images: Array, labels: Array, chosen: Array) -> None:
    """Raise ValueError where an augmentation did not make pictures and labels of the data set."""
    kind = (len(chosen), dataset.image_shape[0])
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[:2] != kind:
        raise ValueError(
            f"Expected images as uint8 ({kind[0]}, {kind[1]}, H, W) after augmentation, got "
            f"{images.dtype} {images.shape} in data set '{dataset.name}': round to 0..255 and "
            f"convert with .astype(np.uint8); mean and std are arguments of batches"
        )
    pixels = images.shape[2:] if dataset.is_segmentation else ()
    if labels.dtype.kind not in "iu" or labels.shape != (len(chosen), *pixels):
        raise ValueError(
            f"Expected labels as integers {(len(chosen), *pixels)} after augmentation, got "
            f"{labels.dtype} {labels.shape} in data set '{dataset.name}'"
        )
    place = find_illegal(labels, dataset.classes, dataset.void_label)
    if place is not None:
        whole = (int(chosen[place[0]]), *place[1:])
        raise ValueError(
            f"Expected labels {legal_text(dataset.classes, dataset.void_label)} after "
            f"augmentation, got {labels[place]} at {place_text(whole)} in data set "
            f"'{dataset.name}': its void_label and the augmentation's have to be the same"
        )
