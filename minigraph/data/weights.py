"""Weights for classes of unequal size: rare classes count for more in the loss.

Without them a network learns road and sky and forgets the poles. Void is left out of every count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minigraph.data.batches import ArrayDataset

Array = np.ndarray


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


def median_frequency_weights(dataset: ArrayDataset) -> ClassWeights:
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
    pixels = np.zeros(dataset.classes, np.int64)
    pixels_around = np.zeros(dataset.classes, np.int64)
    for mask in dataset.labels:
        counts = _count(mask, dataset.classes)
        pixels += counts
        pixels_around[counts > 0] += counts.sum()
    present = _check_present(pixels, dataset)
    frequencies = pixels[present] / pixels_around[present]
    values = np.zeros(dataset.classes, np.float32)
    values[present] = np.median(frequencies) / frequencies
    return ClassWeights(values, dataset.class_names)


def inverse_frequency_weights(dataset: ArrayDataset) -> ClassWeights:
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
    counts = np.zeros(dataset.classes, np.int64)
    masks = dataset.labels if dataset.is_segmentation else dataset.labels[None]
    for mask in masks:
        counts += _count(mask, dataset.classes)
    present = _check_present(counts, dataset)
    values = np.zeros(dataset.classes, np.float32)
    values[present] = counts.sum() / (present.sum() * counts[present])
    return ClassWeights(values, dataset.class_names)


def _count(labels: Array, classes: int) -> Array:
    """Labels of each class; void, the only other label that a data set can hold, is cut off."""
    return np.bincount(labels.reshape(-1), minlength=classes)[:classes]


def _check_present(counts: Array, dataset: ArrayDataset) -> Array:
    present = counts > 0
    if not present.any():
        raise ValueError(f"Expected labels of some class, got void alone: '{dataset.name}'")
    return present
