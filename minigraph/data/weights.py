"""How often each class occurs, and weights that let rare classes count for more in the loss.

Without them a network learns road and sky and forgets the poles. Void is left out of every count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minigraph.data.dataset import Dataset, pieces

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class LabelCounts:
    """How often each class occurs in a data set: pixels in masks, else whole pictures.

    Attributes:
        labels: int64 ``(classes,)``: labels of each class.
        images: int64 ``(classes,)``: pictures in which each class occurs.
        labels_around: int64 ``(classes,)``: all labels but void of those pictures.
        void: number of void labels.
        class_names: the name of class ``i`` at place ``i``.
        name: what the data set is called.
    """

    labels: Array
    images: Array
    labels_around: Array
    void: int
    class_names: tuple[str, ...]
    name: str

    @property
    def void_share(self) -> float:
        """Share of void among all labels."""
        return self.void / max(1, self.void + int(self.labels.sum()))


@dataclass(frozen=True, eq=False)
class ClassWeights:
    """One weight per class, and which classes got none.

    Attributes:
        values: float32 ``(classes,)``, as ``softmax_cross_entropy(..., class_weights=values)``
            takes them; 0 for absent classes, which have no frequency to divide by.
        class_names: the name of class ``i`` at place ``i``.
    """

    values: Array
    class_names: tuple[str, ...]

    @property
    def absent_classes(self) -> tuple[str, ...]:
        """Classes that no label names: their weight is 0."""
        pairs = zip(self.class_names, self.values, strict=True)
        return tuple(name for name, value in pairs if value == 0)

    def __str__(self) -> str:
        """A line per class, and what is absent."""
        width = max(map(len, self.class_names))
        pairs = zip(self.class_names, self.values, strict=True)
        lines = [f"{name:<{width}}  {value:9.4f}" for name, value in pairs]
        if self.absent_classes:
            lines.append(f"weight 0 (absent): {', '.join(self.absent_classes)}")
        return "\n".join(lines)


def count_labels(dataset: Dataset) -> LabelCounts:
    """Go over all labels of a data set and count them; pictures are not read."""
    labels, images, around = (np.zeros(dataset.classes, np.int64) for _ in range(3))
    void = 0
    for piece in pieces(dataset):
        fetched = dataset.fetch_labels(piece)
        for picture in fetched.reshape(len(fetched), -1):
            counts = np.bincount(picture, minlength=dataset.classes)
            void += int(counts[dataset.classes :].sum())  # void is the only other label there is
            counts = counts[: dataset.classes]
            labels += counts
            images += counts > 0
            around[counts > 0] += counts.sum()
    return LabelCounts(labels, images, around, void, dataset.class_names, dataset.name)


def median_frequency_weights(dataset: Dataset) -> ClassWeights:
    """Median-frequency balancing of a segmentation set, after Eigen and Fergus (ICCV 2015).

    ``weight(c) = median / frequency(c)``, where ``frequency(c)`` is the number of pixels of class
    ``c`` over the number of pixels (void left out) of those pictures alone in which ``c`` occurs,
    and ``median`` is that of the frequencies of the classes that occur at all.

    Args:
        dataset: the training set.

    Returns:
        The weights; 1 for the class of median frequency.

    Raises:
        ValueError: the labels are of whole pictures (every frequency would be 1), or all are void.
    """
    if not dataset.is_segmentation:
        raise ValueError(
            f"Expected a mask for each picture, got one label each in data set '{dataset.name}': "
            f"take inverse_frequency_weights"
        )
    return median_frequency_of(count_labels(dataset))


def median_frequency_of(counts: LabelCounts) -> ClassWeights:
    """`median_frequency_weights` from counts of pixels."""
    present = _check_present(counts)
    frequencies = counts.labels[present] / counts.labels_around[present]
    values = np.zeros(len(counts.labels), np.float32)
    values[present] = np.median(frequencies) / frequencies
    return ClassWeights(values, counts.class_names)


def inverse_frequency_weights(dataset: Dataset) -> ClassWeights:
    """Weights that give every class the same total: ``labels / (present classes * labels of c)``.

    They serve masks (labels are pixels) and classes of whole pictures alike. The mean weight over
    all labels but void is 1, so a mean loss keeps its scale.

    Args:
        dataset: the training set.

    Returns:
        The weights.

    Raises:
        ValueError: every label is void.
    """
    return inverse_frequency_of(count_labels(dataset))


def inverse_frequency_of(counts: LabelCounts) -> ClassWeights:
    """`inverse_frequency_weights` from counts."""
    present = _check_present(counts)
    values = np.zeros(len(counts.labels), np.float32)
    values[present] = counts.labels.sum() / (present.sum() * counts.labels[present])
    return ClassWeights(values, counts.class_names)


def _check_present(counts: LabelCounts) -> Array:
    present = counts.labels > 0
    if not present.any():
        raise ValueError(f"Expected labels of some class, got void alone: '{counts.name}'")
    return present
