"""A data set whose pictures stay in their files until they are asked for.

`open_files` looks at the header of every file: size, channels, kind of mask. Pixels are decoded
and checked when they are fetched, and are the same bits then as in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn, TypeVar

import numpy as np

from minigraph.data.dataset import ArrayDataset, Indices, channel_statistics
from minigraph.data.framing import Framing, Unchanged
from minigraph.data.labels import check_classes
from minigraph.data.pictures import (
    Header,
    Size,
    check_channels,
    check_image_header,
    check_mask_header,
    check_upright,
    read_header,
    read_image,
    read_mask,
    size_text,
)

Array = np.ndarray
Item = TypeVar("Item")
Result = TypeVar("Result")
Report = Callable[[Exception], None]
"""Is told what is wrong with a file. If it returns, the file is left out."""

WORKERS = 4
PIECE = 256  # files that wait for a thread at a time


def raise_problem(problem: Exception) -> NoReturn:
    """The usual `Report`: the first problem ends it."""
    raise problem


@dataclass(frozen=True)
class Sample:
    """One picture's file, and its label: a class, or the file of a mask."""

    image: Path
    label: int | Path


@dataclass(frozen=True, eq=False)
class FileDataset:
    """Pictures and labels in files, read when they are fetched: a `Dataset`.

    `open_dataset`, `open_segmentation_folders` and the like make it. Threads are a matter of speed
    alone: ``dataclasses.replace(dataset, workers=8)``.

    Attributes:
        samples: the files, one picture or more.
        framing: how pictures of any size become ones of one size.
        channels: 3 for RGB (grey is copied to all three), 1 for grey (colours become luminance).
        class_names: the name of class ``i`` at place ``i``.
        void_label: the label that counts neither in a loss nor in a score; None if there is none.
        name: what reports call the data set.
        workers: threads that decode the files of one fetch.

    Raises:
        ValueError: there is no picture or no worker, two classes have one name, there are more than
            256, or void is among them.
    """

    samples: tuple[Sample, ...] = field(repr=False)
    framing: Framing
    channels: int
    class_names: tuple[str, ...]
    void_label: int | None = None
    name: str = "dataset"
    workers: int = WORKERS

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", tuple(self.class_names))
        check_channels(self.channels)
        check_classes(self.class_names, self.void_label, f"data set '{self.name}'")
        if not self.samples:
            raise ValueError(f"Expected at least one picture, got none in data set '{self.name}'")
        if self.workers < 1:
            raise ValueError(f"Expected workers of at least 1, got {self.workers}")

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def classes(self) -> int:
        """Number of classes (void is not one of them)."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """``(C, H, W)`` of every picture."""
        return (self.channels, *self.framing.size)

    @property
    def is_segmentation(self) -> bool:
        """True if every pixel has a label, False if every picture has one."""
        return isinstance(self.samples[0].label, Path)

    def fetch(self, indices: Indices) -> tuple[Array, Array]:
        """The chosen pictures uint8 ``(n, C, H, W)`` and labels uint8 ``(n,)`` or ``(n, H, W)``.

        Raises:
            ValueError: naming file, row and column: a label that is neither a class nor void, or a
                file that is not what its header said, or cannot be read.
        """
        chosen = self._choose(indices)
        images = np.empty((len(chosen), *self.image_shape), np.uint8)
        labels = self._empty_labels(len(chosen))
        for place, (image, label) in enumerate(in_threads(self._read, chosen, self.workers)):
            images[place], labels[place] = image, label
        return images, labels

    def fetch_labels(self, indices: Indices) -> Array:
        """The labels of `fetch` alone: of pictures with masks, the masks' files alone are read."""
        chosen = self._choose(indices)
        labels = self._empty_labels(len(chosen))
        for place, label in enumerate(in_threads(self._read_label, chosen, self.workers)):
            labels[place] = label
        return labels

    def subset(self, indices: Indices) -> FileDataset:
        """The chosen pictures, in the given order."""
        return replace(self, samples=tuple(self._choose(indices)))

    def channel_statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of pixel / 255 per channel; every file is read."""
        return channel_statistics(self)

    def in_memory(self) -> ArrayDataset:
        """The same data set with all pictures and labels read and kept."""
        images, labels = self.fetch(slice(None))
        return ArrayDataset(images, labels, self.class_names, self.void_label, self.name)

    def problems(self) -> list[str]:
        """One line for each picture that, with its mask, cannot be used; all of them are read."""

        def problem(sample: Sample) -> str | None:
            try:
                self._read(sample)
            except (OSError, ValueError) as error:
                return str(error)
            return None

        found = in_threads(problem, self.samples, self.workers)
        return [line for line in found if line is not None]

    def _choose(self, indices: Indices) -> list[Sample]:
        return [self.samples[index] for index in np.arange(len(self))[indices].tolist()]

    def _empty_labels(self, count: int) -> Array:
        return np.empty((count, *self.framing.size) if self.is_segmentation else count, np.uint8)

    def _read(self, sample: Sample) -> tuple[Array, int | Array]:
        image = read_image(sample.image, self.channels)
        size = (image.shape[1], image.shape[2])
        self.framing.check(size, sample.image)
        if isinstance(sample.label, int):
            return self.framing.image(image), sample.label
        mask = read_mask(sample.label, self.classes, self.void_label)
        _check_partner(size, (mask.shape[0], mask.shape[1]), sample)
        return self.framing.image(image), self.framing.mask(mask)

    def _read_label(self, sample: Sample) -> int | Array:
        if isinstance(sample.label, int):
            return sample.label
        mask = read_mask(sample.label, self.classes, self.void_label)
        self.framing.check((mask.shape[0], mask.shape[1]), sample.label)
        return self.framing.mask(mask)


def open_files(
    parts: Sequence[tuple[str, Sequence[Sample]]],
    class_names: Sequence[str],
    *,
    void_label: int | None = None,
    channels: int | None = None,
    framing: Framing | None = None,
    way_out: str,
    report: Report = raise_problem,
) -> list[FileDataset]:
    """Data sets of pictures of one kind, once the header of every file was looked at.

    Args:
        parts: (name, samples) of each, such as training and validation.
        class_names: the classes of all of them.
        void_label: the label that counts nowhere; None if there is none.
        channels: 1 or 3; None takes what the first picture has, and the others have to be alike.
        framing: what makes pictures of different sizes alike; None if they are alike already.
        way_out: what to do about different sizes, for the error.
        report: is told of each file that cannot be used.

    Raises:
        ValueError: a part has no picture, or a file cannot be used (unless `report` takes it).
    """
    if channels is not None:
        check_channels(channels)
    first: Header | None = None
    first_path = Path()
    datasets = []
    for name, samples in parts:
        kept = []
        for sample in samples:
            try:
                header = read_header(sample.image)
                check_image_header(header, sample.image)
                if isinstance(sample.label, Path):
                    check_upright(header, sample.image)
                if first is None:
                    first, first_path = header, sample.image
                    framing = framing or Unchanged(header.size, sample.image, way_out)
                if channels is None and header.channels != first.channels:
                    raise ValueError(
                        f"Expected {_kind(first)} pictures like {first_path}, got a "
                        f"{_kind(header)} one: {sample.image}. Pass channels=1 or channels=3"
                    )
                assert framing is not None  # since the first header
                framing.check(header.size, sample.image)
                _check_mask_of(sample, header.size)
            except (OSError, ValueError) as problem:
                report(problem)
            else:
                kept.append(sample)
        if first is None or framing is None or not kept:
            raise ValueError(f"Expected at least one picture that can be used, got none: {name}")
        datasets.append(
            FileDataset(
                tuple(kept), framing, channels or first.channels, tuple(class_names),
                void_label, name,
            )
        )  # fmt: skip
    return datasets


def _check_mask_of(sample: Sample, size: Size) -> None:
    if isinstance(sample.label, Path):
        header = read_header(sample.label)
        check_mask_header(header, sample.label)
        _check_partner(size, header.size, sample)


def _check_partner(image_size: Size, mask_size: Size, sample: Sample) -> None:
    if image_size != mask_size:
        raise ValueError(
            f"Expected a mask of {size_text(image_size)} pixels like its picture {sample.image}, "
            f"got {size_text(mask_size)}: {sample.label}"
        )


def _kind(header: Header) -> str:
    return "grey" if header.channels == 1 else "coloured"


def in_threads(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[Result]:
    """Results in the order of the items; the error of the first item that has one is raised."""
    with ThreadPoolExecutor(workers) as pool:
        for first in range(0, len(items), PIECE):
            yield from pool.map(function, items[first : first + PIECE])
