"""What a data set is, the one that is held in memory, and what can be said of any of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from minigraph.data.labels import check_classes, find_illegal, legal_text, place_text

Array = np.ndarray
Indices = slice | Sequence[int] | Array
PIECE_BYTES = 2**25


class Dataset(Protocol):
    """Pictures of one shape with their labels, wherever they are kept.

    `ArrayDataset` holds them in memory, `minigraph.data.files.FileDataset` reads them from files
    when they are asked for. Whatever goes over a data set takes either: through `fetch`.
    """

    @property
    def name(self) -> str:
        """What reports and errors call the data set."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of class ``i`` at place ``i``."""
        ...

    @property
    def classes(self) -> int:
        """Number of classes (void is not one of them)."""
        ...

    @property
    def void_label(self) -> int | None:
        """The label that counts neither in a loss nor in a score; None if there is none."""
        ...

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """``(C, H, W)`` of every picture."""
        ...

    @property
    def is_segmentation(self) -> bool:
        """True if every pixel has a label, False if every picture has one."""
        ...

    def __len__(self) -> int:
        """Number of pictures."""
        ...

    def fetch(self, indices: Indices) -> tuple[Array, Array]:
        """The chosen pictures uint8 ``(n, C, H, W)`` and labels uint8 ``(n,)`` or ``(n, H, W)``.

        Indices are those of NumPy. Do not write into the arrays: they may be the data set's own.
        """
        ...

    def fetch_labels(self, indices: Indices) -> Array:
        """The labels of `fetch` alone, without reading the pictures."""
        ...

    def subset(self, indices: Indices) -> Dataset:
        """A data set of the chosen pictures, in the given order."""
        ...

    def channel_statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of pixel / 255 per channel, over all pictures."""
        ...


@dataclass(frozen=True, eq=False)
class ArrayDataset:
    """Pictures and their labels, all in memory: a `Dataset`.

    Attributes:
        images: uint8 ``(N, C, H, W)``.
        labels: uint8 ``(N,)`` for classification, ``(N, H, W)`` for segmentation: class indices,
            and ``void_label`` where nobody says what is there.
        class_names: the name of class ``i`` at place ``i``; its length is the number of classes.
        void_label: the label that counts neither in a loss nor in a score; None if there is none.
        name: what reports call the data set.

    Raises:
        ValueError: the arrays do not belong together, two classes have one name, there are more
            than 256, void is among them, or a label is neither a class nor void.
    """

    images: Array = field(repr=False)
    labels: Array = field(repr=False)
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
        check_classes(self.class_names, self.void_label, f"data set '{self.name}'")
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

    def fetch(self, indices: Indices) -> tuple[Array, Array]:
        """The chosen pictures and labels (a slice shares memory, a list copies)."""
        return self.images[indices], self.labels[indices]

    def fetch_labels(self, indices: Indices) -> Array:
        """The chosen labels (a slice shares memory, a list copies)."""
        return self.labels[indices]

    def subset(self, indices: Indices) -> ArrayDataset:
        """The chosen pictures, in the given order (a slice shares memory, a list copies)."""
        return replace(self, images=self.images[indices], labels=self.labels[indices])

    def channel_statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of pixel / 255 per channel, over all pictures."""
        return channel_statistics(self)


def pixel_bytes(dataset: Dataset) -> int:
    """Bytes that all pictures and labels of a data set take in memory."""
    channels, height, width = dataset.image_shape
    label_bytes = height * width if dataset.is_segmentation else 1
    return len(dataset) * (channels * height * width + label_bytes)


def pieces(dataset: Dataset) -> Iterator[slice]:
    """Slices that go over a data set in order, each of about 32 MiB of pictures and labels."""
    step = max(1, PIECE_BYTES * len(dataset) // max(1, pixel_bytes(dataset)))
    for first in range(0, len(dataset), step):
        yield slice(first, min(first + step, len(dataset)))


def channel_statistics(dataset: Dataset) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of pixel / 255 per channel, over all pictures.

    They come from histograms, whole numbers: the same bits wherever the pictures are kept.

    Raises ValueError for a data set without pictures.
    """
    if not len(dataset):
        raise ValueError(
            f"Expected pictures to take mean and deviation of, got an empty data set "
            f"'{dataset.name}'"
        )
    channels = dataset.image_shape[0]
    histograms = np.zeros((channels, 256), np.int64)
    for piece in pieces(dataset):
        images, _ = dataset.fetch(piece)
        for channel in range(channels):
            histograms[channel] += np.bincount(images[:, channel].reshape(-1), minlength=256)
    levels = np.arange(256) / 255.0
    means, deviations = [], []
    for histogram in histograms:
        mean = float(np.average(levels, weights=histogram))
        variance = float(np.average((levels - mean) ** 2, weights=histogram))
        means.append(mean)
        deviations.append(variance**0.5)
    return tuple(means), tuple(deviations)
