"""Scores against counts made one pixel at a time, and the rules for void."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigraph.metrics import ConfusionMatrix, TopKAccuracy


def counted_slowly(predicted, truth, classes, void):
    """(accuracy, IoU per class) from sets of places, without a confusion matrix."""
    places = [p for p in np.ndindex(truth.shape) if truth[p] != void]
    right = sum(predicted[p] == truth[p] for p in places)
    ious = []
    for label in range(classes):
        called = {p for p in places if predicted[p] == label}
        true = {p for p in places if truth[p] == label}
        ious.append(len(called & true) / len(called | true) if called | true else math.nan)
    return right / len(places), ious


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.uint64])
def test_scores_agree_with_sets_of_places(dtype):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, (3, 9, 11))
    predicted = np.where(rng.random(truth.shape) < 0.6, truth, rng.integers(0, 4, truth.shape))
    truth[rng.random(truth.shape) < 0.1] = 255
    matrix = ConfusionMatrix(5)
    for index in range(3):  # in pieces: the scores are of everything together
        matrix.update(predicted[index].astype(dtype), truth[index].astype(dtype))
    accuracy, ious = counted_slowly(predicted, truth, 5, 255)
    assert matrix.pixel_accuracy == matrix.accuracy == pytest.approx(accuracy)
    np.testing.assert_allclose(matrix.iou, ious)
    assert matrix.mean_iou == pytest.approx(np.mean(ious[:4]))
    assert matrix.absent_classes == ("4",)
    assert matrix.counted == (truth != 255).sum()
    recall = [(predicted[truth == label] == label).mean() for label in range(4)]
    np.testing.assert_allclose(matrix.class_accuracy[:4], recall)
    assert math.isnan(matrix.class_accuracy[4])
    shares = [(truth == label).sum() / (truth != 255).sum() for label in range(4)]
    weighted = sum(share * iou for share, iou in zip(shares, ious[:4], strict=True))
    assert matrix.frequency_weighted_iou == pytest.approx(weighted)
    assert matrix.mean_class_accuracy == pytest.approx(np.mean(recall))


def test_a_worked_example():
    matrix = ConfusionMatrix(2, class_names=("ground", "thing"))
    matrix.update(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 255]))
    assert matrix.counts.tolist() == [[1, 0], [1, 1]]
    assert matrix.accuracy == pytest.approx(2 / 3)
    assert matrix.iou.tolist() == [0.5, 0.5]


def test_a_class_predicted_but_never_true_counts_as_zero():
    matrix = ConfusionMatrix(3)
    matrix.update(np.array([0, 0, 1, 1]), np.array([0, 0, 0, 0]))
    assert matrix.iou[1] == 0 and math.isnan(matrix.iou[2])
    assert matrix.mean_iou == pytest.approx((0.5 + 0) / 2)
    assert matrix.frequency_weighted_iou == pytest.approx(0.5)  # all of the truth is class 0
    assert matrix.absent_classes == ("2",)


def test_void_counts_nowhere_whatever_is_predicted_there():
    matrix = ConfusionMatrix(2, void_label=11)
    matrix.update(np.array([[0, 1], [77, -3]]), np.array([[0, 1], [11, 11]]))
    assert (matrix.counted, matrix.accuracy, matrix.mean_iou) == (2, 1.0, 1.0)


@pytest.mark.parametrize("batches", [0, 1])
def test_nothing_counted_gives_zero_without_warnings(batches):
    matrix = ConfusionMatrix(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(batches):
            matrix.update(np.zeros((2, 4, 4), int), np.full((2, 4, 4), 255))
        assert (matrix.accuracy, matrix.mean_iou, matrix.mean_class_accuracy) == (0.0, 0.0, 0.0)
        assert matrix.frequency_weighted_iou == 0.0
        assert np.isnan(matrix.iou).all() and matrix.counted == 0
        assert matrix.absent_classes == ("0", "1", "2")
        assert "absent" in str(matrix)


@pytest.mark.parametrize(
    ("predicted", "truth", "message"),
    [
        ([[0, 1]], [[0, 7]], r"label in 0\.\.1 \(void 255\), got 7 at \(0, 1\)"),
        ([[0, 1]], [[-1, 0]], r"label .*got -1 at \(0, 0\)"),
        ([[0, 2]], [[0, 1]], r"prediction .*got 2 at \(0, 1\)"),
        ([[0, 255]], [[0, 1]], r"prediction .*got 255 at \(0, 1\)"),
        ([[0, 1]], [[0], [1]], r"one shape, got \(1, 2\) and \(2, 1\)"),
    ],
)
def test_illegal_values_are_named_and_nothing_is_counted(predicted, truth, message):
    matrix = ConfusionMatrix(2)
    with pytest.raises(ValueError, match=message):
        matrix.update(np.array(predicted), np.array(truth))
    assert matrix.counted == 0


def test_without_a_void_label_every_place_counts():
    matrix = ConfusionMatrix(2, void_label=None)
    with pytest.raises(ValueError, match="got 255"):
        matrix.update(np.array([0]), np.array([255]))


def test_scores_instead_of_classes_are_refused():
    with pytest.raises(TypeError, match="argmax"):
        ConfusionMatrix(2).update(np.array([0.1, 0.9]), np.array([0, 1]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 0}, "at least 1 class"),
        ({"classes": 12, "void_label": 11}, r"outside of the classes 0\.\.11, got 11"),
        ({"classes": 2, "class_names": ("a",)}, "2 class names, got 1"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ConfusionMatrix(**options)


def test_the_table_has_a_line_per_class():
    matrix = ConfusionMatrix(2, class_names=("ground", "thing"))
    matrix.update(np.array([0, 0, 1]), np.array([0, 1, 1]))
    lines = str(matrix).splitlines()
    assert lines[1].split() == ["ground", "50.00", "100.00", "1"]
    assert lines[2].split() == ["thing", "50.00", "50.00", "2"]
    assert lines[-1] == "accuracy 66.67 %"
    assert lines[-2] == "frequency-weighted IoU 50.00 %"


def test_illegal_labels_are_named_by_image_and_pixel():
    truth = np.zeros((3, 4, 5), int)
    truth[1, 2, 3] = 7
    message = "got 7 at image 1, row 2, column 3"
    with pytest.raises(ValueError, match=message):
        ConfusionMatrix(2).update(np.zeros_like(truth), truth)
    with pytest.raises(ValueError, match=message):
        TopKAccuracy(1).update(np.zeros((3, 2, 4, 5)), truth)
    with pytest.raises(ValueError, match="got 7 at image 2"):
        ConfusionMatrix(2).update(np.zeros(4, int), np.array([0, 1, 7, 0]))


def best_by_sorting(scores: np.ndarray, k: int) -> list[int]:
    """The k best classes of one place; Python's sort keeps equal ones in order."""
    return sorted(range(len(scores)), key=lambda label: -scores[label])[:k]


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("shape", [(40,), (4, 5, 3)])
def test_top_k_agrees_with_sorting_ties_included(k, shape):
    rng = np.random.default_rng(k)
    scores = rng.integers(0, 4, (shape[0], 5, *shape[1:])).astype(np.float32)  # many are equal
    truth = rng.integers(0, 5, shape)
    truth[rng.random(shape) < 0.2] = 255
    accuracy = TopKAccuracy(k)
    for part in (slice(0, 1), slice(1, None)):  # batches of unequal size
        accuracy.update(scores[part], truth[part])
    places = [place for place in np.ndindex(shape) if truth[place] != 255]
    hits = [truth[p] in best_by_sorting(scores[p[0], :, *p[1:]].tolist(), k) for p in places]
    assert (accuracy.right, accuracy.counted) == (sum(hits), len(places))
    assert accuracy.accuracy == sum(hits) / len(places)
    matrix = ConfusionMatrix(5)
    matrix.update(scores.argmax(axis=1), truth)
    if k == 1:
        assert accuracy.accuracy == matrix.accuracy
    assert str(accuracy) == f"top-{k} accuracy {100 * accuracy.accuracy:.2f} % of {len(places)}"


def test_top_k_of_void_alone_is_zero_and_scores_there_do_not_matter():
    accuracy = TopKAccuracy(1)
    accuracy.update(np.full((2, 3), np.nan), np.array([255, 255]))
    assert (accuracy.accuracy, accuracy.counted) == (0.0, 0)
    accuracy.update(np.array([[np.nan, 1], [0, 1]]), np.array([255, 1]))
    assert (accuracy.accuracy, accuracy.counted) == (1.0, 1)


@pytest.mark.parametrize(
    ("scores", "truth", "error", "message"),
    [
        (np.zeros((2, 3)), np.array([0, 3]), ValueError, "got 3 at image 1"),
        (np.zeros((2, 3)), np.array([-1, 0]), ValueError, "got -1 at image 0"),
        (np.zeros((2, 3)), np.array([0.0, 1.0]), TypeError, "integers, got float64"),
        (np.zeros((2, 3)), np.array([0]), ValueError, r"got \(2, 3\) and \(1,\)"),
        (np.zeros(2), np.array([0, 1]), ValueError, r"got \(2,\) and \(2,\)"),
        (np.zeros((2, 1)), np.array([0, 0]), ValueError, "at least k = 2 classes, got 1"),
        (np.array([[0, 1, 2], [0, np.nan, 1]]), np.array([0, 0]), ValueError, "NaN at image 1"),
        (np.zeros((1, 256)), np.array([0]), ValueError, "void_label outside"),
    ],
)
def test_top_k_refuses_what_it_cannot_count(scores, truth, error, message):
    accuracy = TopKAccuracy(2)
    with pytest.raises(error, match=message):
        accuracy.update(scores, truth)
    assert accuracy.counted == 0


def test_top_k_of_no_classes_is_refused():
    with pytest.raises(ValueError, match="k of at least 1, got 0"):
        TopKAccuracy(0)


def scores_of_lists(pairs, classes):
    """All scores from a list of (truth, prediction), by Python loops and fractions alone."""

    def share(numerator, denominator):
        return numerator / denominator if denominator else math.nan

    def mean(values):
        known = [value for value in values if not math.isnan(value)]
        return sum(known) / len(known) if known else 0.0

    ious, recalls, weighted = [], [], 0.0
    for label in range(classes):
        hits = sum(1 for truth, called in pairs if truth == label and called == label)
        misses = sum(1 for truth, called in pairs if truth == label and called != label)
        false_alarms = sum(1 for truth, called in pairs if truth != label and called == label)
        ious.append(share(hits, hits + misses + false_alarms))
        recalls.append(share(hits, hits + misses))
        if hits + misses:
            weighted += (hits + misses) * ious[-1]
    right = sum(1 for truth, called in pairs if truth == called)
    return {
        "accuracy": right / len(pairs) if pairs else 0.0,
        "pixel_accuracy": right / len(pairs) if pairs else 0.0,
        "mean_iou": mean(ious),
        "mean_class_accuracy": mean(recalls),
        "frequency_weighted_iou": weighted / len(pairs) if pairs else 0.0,
        "iou": ious,
        "class_accuracy": recalls,
        "counted": len(pairs),
        "absent_classes": tuple(str(c) for c in range(classes) if all(c not in p for p in pairs)),
    }


@settings(max_examples=80, deadline=None)
@given(
    data=st.data(),
    classes=st.integers(1, 6),
    count=st.integers(0, 7),
    size=st.sampled_from([(), (1, 1), (3, 4), (5, 2)]),
    void=st.sampled_from([255, 6, None]),
)
def test_scores_of_any_label_maps_in_any_batches(data, classes, count, size, void):
    seed = data.draw(st.integers(0, 2**32))
    rng = np.random.default_rng(seed)
    present = rng.permutation(classes)[: data.draw(st.integers(1, classes))]  # others are absent
    truth = rng.choice(present, (count, *size))
    predicted = np.where(
        rng.random(truth.shape) < 0.5, truth, rng.integers(0, classes, truth.shape)
    )
    if void is not None:
        truth = np.where(rng.random(truth.shape) < data.draw(st.floats(0, 1)), void, truth)
    cuts = sorted(data.draw(st.lists(st.integers(0, count), max_size=3)))

    matrix = ConfusionMatrix(classes, void)
    for first, last in zip([0, *cuts], [*cuts, count], strict=True):
        matrix.update(predicted[first:last], truth[first:last])
    both = zip(truth.reshape(-1).tolist(), predicted.reshape(-1).tolist(), strict=True)
    expected = scores_of_lists([pair for pair in both if pair[0] != void], classes)
    for name, value in expected.items():
        if name == "absent_classes":
            assert matrix.absent_classes == value
        else:
            np.testing.assert_allclose(getattr(matrix, name), value, rtol=1e-12, err_msg=name)

    scores = rng.normal(0, 1, (count, classes, *size)).round(1)
    top = TopKAccuracy(data.draw(st.integers(1, classes)), void)
    for first, last in zip([0, *cuts], [*cuts, count], strict=True):
        top.update(scores[first:last], truth[first:last])
    places = [place for place in np.ndindex(truth.shape) if truth[place] != void]
    hits = [truth[p] in best_by_sorting(scores[p[0], :, *p[1:]].tolist(), top.k) for p in places]
    assert (top.right, top.counted) == (sum(hits), len(places))
