"""How good predictions are, counted over a whole data set: accuracy and intersection over union."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minigraph.data.labels import VOID_LABEL, check_void, find_illegal, legal_text, place_text
from minigraph.display import scores_html

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class of a `ConfusionMatrix`. Scores are shares of 1, or NaN."""

    name: str
    places: int  # whose truth is this class
    share: float  # of all counted places
    accuracy: float  # recall
    iou: float
    absent: bool  # from truth and prediction alike: left out of the mean IoU


class ConfusionMatrix:
    """Counts of (true class, predicted class), and the scores that follow from them.

    The scores are of everything counted so far, which is not the mean of the batches' scores. The
    rules for void are those of the loss: a place whose truth is `void_label` counts nowhere,
    whatever is predicted there; any other label outside the classes is an error; and if nothing is
    counted (all void, or no update yet), accuracy and mean IoU are 0.

    It serves classification (labels ``(N,)``) and segmentation (``(N, H, W)``) alike: `accuracy`
    is the share of right pictures in the one and of right pixels in the other.

    Attributes:
        class_names: the name of class ``i`` at place ``i``.
        void_label: the label that does not count, or None if every place counts.
        counts: int64 ``(classes, classes)``: ``counts[t, p]`` places of class ``t`` were called
            ``p``.
    """

    def __init__(
        self,
        classes: int,
        void_label: int | None = VOID_LABEL,
        class_names: Sequence[str] | None = None,
    ) -> None:
        """Nothing counted yet.

        Args:
            classes: number of classes; the labels are 0 to ``classes - 1``.
            void_label: the label that does not count, outside of the classes; None if none.
            class_names: one name per class; by default the numbers.

        Raises:
            ValueError: no classes, a void label among the classes, or a wrong number of names.
        """
        names = tuple(map(str, range(classes))) if class_names is None else tuple(class_names)
        if classes < 1:
            raise ValueError(f"Expected at least 1 class, got {classes}")
        check_void(void_label, classes, "a confusion matrix")
        if len(names) != classes:
            raise ValueError(f"Expected {classes} class names, got {len(names)}")
        self.class_names = names
        self.void_label = void_label
        self.counts = np.zeros((classes, classes), np.int64)

    @property
    def classes(self) -> int:
        """Number of classes (void is not one of them)."""
        return len(self.class_names)

    def update(self, predicted: Array, truth: Array) -> None:
        """Count a batch.

        Args:
            predicted: class indices, any integer dtype and shape.
            truth: class indices or void, of the same shape.

        Raises:
            ValueError: shapes differ, or a label or a counted prediction is outside the classes;
                then nothing of the batch is counted.
            TypeError: the arrays do not hold integers.
        """
        predicted, truth = np.asarray(predicted), np.asarray(truth)
        self._check(predicted, truth)
        counted = _not_void(truth, self.void_label)
        _check_range("label", truth, self.classes, self.void_label)
        _check_range("prediction", np.where(counted, predicted, 0), self.classes, None)
        pairs = truth[counted].astype(np.int64) * self.classes + predicted[counted].astype(np.int64)
        self.counts += np.bincount(pairs, minlength=self.classes**2).reshape(self.counts.shape)

    def _check(self, predicted: Array, truth: Array) -> None:
        for name, array in (("predictions", predicted), ("labels", truth)):
            if array.dtype.kind not in "iu":
                raise TypeError(
                    f"Expected {name} as integers, got {array.dtype}: take argmax over the class "
                    f"axis of scores first"
                )
        if predicted.shape != truth.shape:
            raise ValueError(
                f"Expected predictions and labels of one shape, got {predicted.shape} and "
                f"{truth.shape}"
            )

    @property
    def counted(self) -> int:
        """Number of places counted so far (void left out)."""
        return int(self.counts.sum())

    @property
    def accuracy(self) -> float:
        """Share of right places among the counted ones; 0 if none is counted."""
        return int(self.counts.trace()) / max(self.counted, 1)

    @property
    def pixel_accuracy(self) -> float:
        """The same as `accuracy`, under its name in segmentation."""
        return self.accuracy

    @property
    def class_accuracy(self) -> Array:
        """Right share of each true class (recall), float64 ``(classes,)``; NaN if never true."""
        return _divide(self.counts.diagonal(), self.counts.sum(axis=1))

    @property
    def mean_class_accuracy(self) -> float:
        """Mean of `class_accuracy` over the classes in truth; 0 if nothing is counted."""
        return _mean(self.class_accuracy)

    @property
    def iou(self) -> Array:
        """Intersection over union of each class, float64 ``(classes,)``; NaN if absent.

        ``n_cc / (sum_p n_cp + sum_t n_tc - n_cc)``: places both truly and predictedly of the
        class, over places that are either. A class that is predicted but never true scores 0.
        """
        intersection = self.counts.diagonal()
        union = self.counts.sum(axis=0) + self.counts.sum(axis=1) - intersection
        return _divide(intersection, union)

    @property
    def mean_iou(self) -> float:
        """Mean of `iou` over all classes but the absent ones; 0 if nothing is counted."""
        return _mean(self.iou)

    @property
    def frequency_weighted_iou(self) -> float:
        """Mean of `iou` weighted by each class's share of the truth; 0 if nothing is counted.

        ``sum_c (sum_p n_cp) iou_c / sum n``: a class that is never true weighs nothing.
        """
        true = self.counts.sum(axis=1)
        return float((true * np.nan_to_num(self.iou)).sum() / max(self.counted, 1))

    @property
    def absent_classes(self) -> tuple[str, ...]:
        """Classes in neither truth nor prediction, which `mean_iou` leaves out."""
        absent = (self.counts.sum(axis=0) + self.counts.sum(axis=1)) == 0
        return tuple(name for name, gone in zip(self.class_names, absent, strict=True) if gone)

    def per_class(self) -> tuple[ClassScore, ...]:
        """The scores of each class, in order."""
        true = self.counts.sum(axis=1)
        columns = (true, true / max(self.counted, 1), self.class_accuracy, self.iou)
        rows = zip(self.class_names, *(column.tolist() for column in columns), strict=True)
        return tuple(
            ClassScore(name, places, share, recall, iou, absent=bool(np.isnan(iou)))
            for name, places, share, recall, iou in rows
        )

    def _repr_html_(self) -> str:
        return scores_html(self)

    def __str__(self) -> str:
        """A table of the scores per class, and the totals."""
        width = max(5, *map(len, self.class_names))
        lines = [f"{'class':<{width}}     IoU  recall      places"]
        for name, iou, recall, places in zip(
            self.class_names, self.iou, self.class_accuracy, self.counts.sum(axis=1), strict=True
        ):
            lines.append(f"{name:<{width}}  {_percent(iou)} {_percent(recall)}  {places:>10,}")
        totals = f"{_percent(self.mean_iou)} {_percent(self.mean_class_accuracy)}"
        lines.append(f"{'mean':<{width}}  {totals}  {self.counted:>10,}")
        lines.append(f"frequency-weighted IoU {_percent(self.frequency_weighted_iou).strip()} %")
        lines.append(f"accuracy {_percent(self.accuracy).strip()} %")
        if self.absent_classes:
            lines.append(f"left out of the mean (absent): {', '.join(self.absent_classes)}")
        return "\n".join(lines)


class TopKAccuracy:
    """Share of places whose true class is among the `k` of highest score, over all updates.

    Of equal scores the lower class counts as the higher one, as `argmax` has it; so the top-1
    accuracy is that of `ConfusionMatrix` given the argmax, and equal scores for all classes are no
    success. Void is treated as there: it counts nowhere, and nothing counted gives 0.

    Attributes:
        k: how many classes may be named.
        void_label: the label that does not count, or None if every place counts.
        right: places counted whose true class is among the `k` best.
        counted: places counted so far (void left out).
    """

    def __init__(self, k: int = 5, void_label: int | None = VOID_LABEL) -> None:
        """Nothing counted yet.

        Raises:
            ValueError: `k` is below 1.
        """
        if k < 1:
            raise ValueError(f"Expected k of at least 1, got {k}")
        self.k = k
        self.void_label = void_label
        self.right = 0
        self.counted = 0

    def update(self, scores: Array, truth: Array) -> None:
        """Count a batch.

        Args:
            scores: ``(N, classes, ...)``, the class axis second: logits or probabilities.
            truth: class indices or void, ``(N, ...)``.

        Raises:
            ValueError: shapes differ, fewer than `k` classes, void is among the classes, a label
                is outside of them, or a counted place has a NaN among its scores; then nothing of
                the batch is counted.
            TypeError: the truth does not hold integers.
        """
        scores, truth = np.asarray(scores), np.asarray(truth)
        if truth.dtype.kind not in "iu":
            raise TypeError(f"Expected labels as integers, got {truth.dtype}")
        if scores.ndim < 2 or (scores.shape[0], *scores.shape[2:]) != truth.shape:
            raise ValueError(
                f"Expected scores (N, classes, ...) and labels (N, ...), got {scores.shape} and "
                f"{truth.shape}"
            )
        classes = scores.shape[1]
        if classes < self.k:
            raise ValueError(f"Expected scores of at least k = {self.k} classes, got {classes}")
        check_void(self.void_label, classes, "a top-k accuracy")
        counted = _not_void(truth, self.void_label)
        _check_range("label", truth, classes, self.void_label)
        unknown = counted & np.isnan(scores).any(axis=1)
        if unknown.any():
            place = tuple(int(index) for index in np.argwhere(unknown)[0])
            raise ValueError(f"Expected scores that are numbers, got NaN at {place_text(place)}")
        indices = np.where(counted, truth, 0).astype(np.intp)[:, None]
        own = np.take_along_axis(scores, indices, axis=1)
        axis = np.arange(classes).reshape(-1, *(1,) * (scores.ndim - 2))
        better = (scores > own) | ((scores == own) & (axis < indices))
        right = counted & (better.sum(axis=1) < self.k)
        self.right += int(right.sum())
        self.counted += int(counted.sum())

    @property
    def accuracy(self) -> float:
        """Share of right places among the counted ones; 0 if none is counted."""
        return self.right / max(self.counted, 1)

    def __str__(self) -> str:
        """The score in one line."""
        return f"top-{self.k} accuracy {_percent(self.accuracy).strip()} % of {self.counted:,}"


def _not_void(truth: Array, void_label: int | None) -> Array:
    return np.ones(truth.shape, bool) if void_label is None else truth != void_label


def _check_range(name: str, values: Array, classes: int, void_label: int | None) -> None:
    place = find_illegal(values, classes, void_label)
    if place is not None:
        raise ValueError(
            f"Expected every {name} in {legal_text(classes, void_label)}, got {values[place]} at "
            f"{place_text(place)}"
        )


def _divide(numerator: Array, denominator: Array) -> Array:
    """The quotient where the denominator is positive, NaN elsewhere, and no warnings."""
    quotient = np.full(numerator.shape, np.nan)
    return np.divide(numerator, denominator, out=quotient, where=denominator > 0)


def _mean(values: Array) -> float:
    """Mean of the values that are not NaN; 0 if none is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else 0.0


def _percent(value: float) -> str:
    return "      -" if np.isnan(value) else f"{100 * value:7.2f}"
