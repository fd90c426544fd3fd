"""Class weights against their definitions, counted picture by picture."""

from __future__ import annotations

import numpy as np
import pytest

from minigraph.data import ArrayDataset, inverse_frequency_weights, median_frequency_weights

NAMES = ("road", "sky", "pole", "train", "car")


def dataset(labels: np.ndarray, void: int | None = 255) -> ArrayDataset:
    shape = labels.shape if labels.ndim == 3 else (len(labels), 2, 2)
    return ArrayDataset(np.zeros((len(labels), 1, *shape[1:]), np.uint8), labels, NAMES, void)


@pytest.fixture
def masks() -> np.ndarray:
    """Pictures in which not all classes occur, with void; class 3 (train) occurs nowhere."""
    rng = np.random.default_rng(1)
    masks = np.zeros((5, 6, 7), np.uint8)
    for index, classes in enumerate([[0, 1], [0, 0, 0, 2], [0, 1, 2, 4], [1, 1, 4], [0]]):
        masks[index] = rng.choice(np.array(classes, np.uint8), (6, 7))
    masks[rng.random(masks.shape) < 0.2] = 255
    return masks


def test_median_frequency_is_that_of_eigen_and_fergus(masks):
    frequencies = {}
    for label in (0, 1, 2, 4):
        holding = [mask for mask in masks.tolist() if any(label in row for row in mask)]
        pixels = [value for mask in holding for row in mask for value in row if value != 255]
        frequencies[label] = pixels.count(label) / len(pixels)
    middle = sorted(frequencies.values())
    median = (middle[1] + middle[2]) / 2
    weights = median_frequency_weights(dataset(masks))
    expected = [median / frequencies[c] if c in frequencies else 0 for c in range(5)]
    np.testing.assert_allclose(weights.values, expected, rtol=1e-6)
    assert weights.values.dtype == np.float32


def test_a_worked_example_where_void_and_pictures_without_the_class_matter():
    # road: 6 of 8 pixels; sky: 2 of the 4 in its own picture; pole: none.
    masks = np.array([[[0, 0], [0, 0]], [[0, 0], [1, 1]]], np.uint8)
    weights = median_frequency_weights(dataset(masks))
    np.testing.assert_allclose(weights.values[:2], [0.625 / 0.75, 0.625 / 0.5])
    masks[1, 0] = 255  # now sky is 2 of 2, road 4 of 4
    np.testing.assert_allclose(median_frequency_weights(dataset(masks)).values[:2], [1, 1])


def test_inverse_frequency_gives_each_class_the_same_total(masks):
    weights = inverse_frequency_weights(dataset(masks))
    totals = [(masks == label).sum() * weights.values[label] for label in (0, 1, 2, 4)]
    np.testing.assert_allclose(totals, (masks != 255).sum() / 4, rtol=1e-6)
    assert weights.values[3] == 0


def test_inverse_frequency_of_whole_pictures():
    weights = inverse_frequency_weights(dataset(np.array([0, 0, 0, 1, 255], np.uint8)))
    np.testing.assert_allclose(weights.values, [4 / 6, 2, 0, 0, 0], rtol=1e-6)


@pytest.mark.parametrize("weigh", [median_frequency_weights, inverse_frequency_weights])
def test_absent_classes_get_zero_and_are_said(masks, weigh):
    weights = weigh(dataset(masks))
    assert weights.absent_classes == ("train",)
    lines = str(weights).splitlines()
    assert lines[3].split() == ["train", "0.0000"]
    assert lines[-1] == "weight 0 (absent): train"
    assert "absent" not in str(weigh(dataset(np.arange(5, dtype=np.uint8).reshape(1, 1, 5))))


@pytest.mark.parametrize("weigh", [median_frequency_weights, inverse_frequency_weights])
def test_void_within_the_bytes_below_255_is_left_out(masks, weigh):
    expected = weigh(dataset(masks)).values
    masks[masks == 255] = 5
    np.testing.assert_array_equal(weigh(dataset(masks, void=5)).values, expected)


def test_what_has_no_frequencies_is_refused():
    with pytest.raises(ValueError, match=r"one label each .*inverse_frequency_weights"):
        median_frequency_weights(dataset(np.zeros(3, np.uint8)))
    for weigh in (median_frequency_weights, inverse_frequency_weights):
        with pytest.raises(ValueError, match="void alone"):
            weigh(dataset(np.full((2, 3, 3), 255, np.uint8)))
