"""A data set held in memory, and its batches: shuffled, scaled and augmented, the same every run.

Everything here is plain NumPy. A data set keeps its pictures as bytes; a batch is what a compiled
graph is fed: ``{"image": float32 (N, C, H, W), "label": int32 (N,) or (N, H, W)}``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

Array = np.ndarray
Batch = dict[str, Array]
Augmentation = Callable[[Array, Array, np.random.Generator], tuple[Array, Array]]
"""``(images, labels, generator) -> (images, labels)``: shapes and dtypes stay as they were."""


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
        ValueError: the arrays do not belong together, or a label is neither a class nor void.
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
        if self.labels.dtype != np.uint8:
            raise ValueError(
                f"Expected labels as uint8 class indices, got {self.labels.dtype} in data set "
                f"'{self.name}': convert with labels.astype(np.uint8)"
            )
        counts = np.bincount(self.labels.reshape(-1), minlength=256)
        counts[: self.classes] = 0
        if self.void_label is not None:
            counts[self.void_label] = 0
        if counts.any():
            value = int(counts.argmax())
            place = tuple(int(i) for i in np.argwhere(self.labels == value)[0])
            void = "no void label" if self.void_label is None else f"void {self.void_label}"
            raise ValueError(
                f"Expected labels 0..{self.classes - 1} ({void}), got {value} at labels{place} in "
                f"data set '{self.name}': give every class a name, or give void_label={value}"
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


def random_horizontal_flip(
    images: Array, labels: Array, generator: np.random.Generator
) -> tuple[Array, Array]:
    """Mirror each picture left to right with probability 1/2, its mask along with it.

    Args:
        images: ``(N, C, H, W)``.
        labels: ``(N,)`` (left alone) or ``(N, H, W)`` (mirrored with their pictures).
        generator: where the coin tosses come from.

    Returns:
        New arrays of the same shapes and dtypes.
    """
    flip = generator.random(len(images)) < 0.5
    flipped_images = np.where(flip[:, None, None, None], images[..., ::-1], images)
    if labels.ndim == 1:
        return flipped_images, labels
    return flipped_images, np.where(flip[:, None, None], labels[..., ::-1], labels)


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
) -> Iterator[Batch]:
    """One pass over a data set, in batches that depend on ``(seed, epoch)`` and nothing else.

    Args:
        dataset: what to go over.
        batch_size: pictures per batch.
        seed: chooses the run's orders and augmentations.
        epoch: chooses this pass's order and augmentations within the run.
        shuffle: a new order each epoch, instead of the data set's own.
        drop_last: leave out a last batch that is not full (for graphs of one fixed batch size).
        mean: subtracted from pixel / 255; one number, or one per channel.
        std: then divided by; one number, or one per channel.
        augment: changes pictures and labels together, such as ``random_horizontal_flip``.

    Yields:
        ``{"image": float32 (N, C, H, W), "label": int32 (N,) or (N, H, W)}``, fresh arrays. With
        the default ``mean`` and ``std`` the pictures lie in [0, 1].

    Raises:
        ValueError: at the call, not at the first batch: a batch size that is not positive or gives
            no batch at all, or a mean or std that does not fit the channels.
    """
    if batch_size < 1:
        raise ValueError(f"Expected batch_size of at least 1, got {batch_size}")
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
        scale.astype(np.float32), shift.astype(np.float32), augment,
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
) -> Iterator[Batch]:
    count = len(dataset)
    order_generator, augment_generator = np.random.default_rng(seed).spawn(2)
    order = order_generator.permutation(count) if shuffle else np.arange(count)
    end = count - count % batch_size if drop_last else count
    for start in range(0, end, batch_size):
        chosen = order[start : start + batch_size]
        images, labels = dataset.images[chosen], dataset.labels[chosen]
        if augment is not None:
            images, labels = augment(images, labels, augment_generator)
        scaled = images * scale
        scaled += shift
        yield {"image": scaled, "label": labels.astype(np.int32)}
