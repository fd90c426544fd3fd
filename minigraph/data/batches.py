"""A data set held in memory, and its batches: shuffled, scaled and augmented, the same every run.

Everything here is plain NumPy. A data set keeps its pictures as bytes; a batch is what a compiled
graph is fed: ``{"image": float32 (N, C, H, W), "label": int32 (N,) or (N, H, W)}``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from minigraph.data.labels import find_illegal, legal_text, place_text

Array = np.ndarray
Batch = dict[str, Array]
Augmentation = Callable[[Array, Array, np.random.Generator], tuple[Array, Array]]
"""``(images, labels, generator) -> (images, labels)``: dtypes stay as they were; height and width
may change, those of images and masks together. `minigraph.data.augment` has the usual ones."""


@dataclass(frozen=True, eq=False)
class ArrayDataset:
    """Pictures and their labels, all in memory.

    Attributes:
        images: uint8 ``(N, C, H, W)``.
        labels: uint8 ``(N,)`` for classification, ``(N, H, W)`` for segmentation: class indices,
            and ``void_label`` where nobody says what is there.
        class_names: the name of class ``i`` at place ``i``; its length is the number of classes.
        void_label: the label that counts neither in a loss nor in a score; None if there is none.
        name: what reports call the data set.

    Raises:
        ValueError: the arrays do not belong together, void is among the classes, or a label is
            neither a class nor void.
    """

    images: Array
    labels: Array
    class_names: tuple[str, ...]
    void_label: int | None = None
    name: str = "dataset"

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", tuple(self.class_names))
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            raise ValueError(
                f"Expected images as uint8 (N, C, H, W), got {self.images.dtype} "
                f"{self.images.shape} in data set '{self.name}'"
            )
        count, _, height, width = self.images.shape
        if self.labels.shape not in ((count,), (count, height, width)):
            raise ValueError(
                f"Expected labels of shape {(count,)} or {(count, height, width)} for images "
                f"{self.images.shape}, got {self.labels.shape} in data set '{self.name}'"
            )
        self._check_labels()

    def _check_labels(self) -> None:
        if self.void_label is not None and 0 <= self.void_label < self.classes:
            raise ValueError(
                f"Expected void_label outside of the classes 0..{self.classes - 1}, got "
                f"{self.void_label} in data set '{self.name}': void is not a class"
            )
        if self.labels.dtype != np.uint8:
            raise ValueError(
                f"Expected labels as uint8 class indices, got {self.labels.dtype} in data set "
                f"'{self.name}': convert with labels.astype(np.uint8)"
            )
        place = find_illegal(self.labels, self.classes, self.void_label)
        if place is not None:
            value = self.labels[place]
            raise ValueError(
                f"Expected labels {legal_text(self.classes, self.void_label)}, got {value} at "
                f"{place_text(place)} in data set '{self.name}': give every class a name, or give "
                f"void_label={value}"
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def classes(self) -> int:
        """Number of classes (void is not one of them)."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """``(C, H, W)`` of every picture."""
        _, channels, height, width = self.images.shape
        return (channels, height, width)

    @property
    def is_segmentation(self) -> bool:
        """True if every pixel has a label, False if every picture has one."""
        return self.labels.ndim == 3

    def subset(self, indices: slice | Sequence[int] | Array) -> ArrayDataset:
        """The chosen pictures, in the given order (a slice shares memory, a list copies)."""
        return replace(self, images=self.images[indices], labels=self.labels[indices])

    def channel_statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of pixel / 255 per channel, over all pictures."""
        levels = np.arange(256) / 255.0
        means, deviations = [], []
        for channel in range(self.images.shape[1]):
            histogram = np.bincount(self.images[:, channel].reshape(-1), minlength=256)
            mean = float(np.average(levels, weights=histogram))
            variance = float(np.average((levels - mean) ** 2, weights=histogram))
            means.append(mean)
            deviations.append(variance**0.5)
        return tuple(means), tuple(deviations)


def batches(
    dataset: ArrayDataset,
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
        augment: changes pictures and labels together, such as ``random_horizontal_flip``; labels
            that are then neither a class nor void are an error at that batch.
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


def _per_channel(name: str, value: float | Sequence[float], dataset: ArrayDataset) -> Array:
    """``value`` as float64 ``(1, C, 1, 1)``."""
    channels = dataset.images.shape[1]
    values = np.asarray(value, dtype=np.float64)
    if values.shape not in ((), (1,), (channels,)):
        raise ValueError(
            f"Expected {name} as one number or {channels}, one per channel of data set "
            f"'{dataset.name}', got {values.size}"
        )
    return np.broadcast_to(values, (channels,)).reshape(1, channels, 1, 1)


def _generate(
    dataset: ArrayDataset,
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
        images, labels = dataset.images[chosen], dataset.labels[chosen]
        if augment is not None:
            images, labels = augment(images, labels, _generator(seed, 1, first // batch_size))
            _check_augmented(dataset, labels, chosen)
        scaled = images * scale
        scaled += shift
        yield {"image": scaled, "label": labels.astype(np.int32)}


def _generator(seed: tuple[int, int], *stream: int) -> np.random.Generator:
    """One of the independent streams of numbers that belong to a seed and an epoch."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=stream))


def _check_augmented(dataset: ArrayDataset, labels: Array, chosen: Array) -> None:
    """Raise ValueError where an augmentation made labels that the data set does not know."""
    place = find_illegal(labels, dataset.classes, dataset.void_label)
    if place is not None:
        whole = (int(chosen[place[0]]), *place[1:])
        raise ValueError(
            f"Expected labels {legal_text(dataset.classes, dataset.void_label)} after "
            f"augmentation, got {labels[place]} at {place_text(whole)} in data set "
            f"'{dataset.name}': its void_label and the augmentation's have to be the same"
        )
