"""The generated set: reproducible, and not to be solved by looking at colours."""

from __future__ import annotations

import numpy as np
import pytest

from minigraph.data import ArrayDataset, generate_shapes
from minigraph.metrics import ConfusionMatrix


@pytest.fixture(scope="module")
def train() -> ArrayDataset:
    return generate_shapes(200, seed=0)


@pytest.fixture(scope="module")
def held_out() -> ArrayDataset:
    return generate_shapes(60, seed=1)


def test_shapes_dtypes_and_names(train):
    assert (train.images.shape, train.images.dtype) == ((200, 3, 64, 64), np.uint8)
    assert (train.labels.shape, train.labels.dtype) == ((200, 64, 64), np.uint8)
    assert train.class_names == ("background", "disc", "square", "triangle", "ring", "cross")
    assert set(np.unique(train.labels)) == {0, 1, 2, 3, 4, 5, 255}


def test_a_picture_depends_on_seed_and_index_alone(train):
    again = generate_shapes(3, seed=0)
    np.testing.assert_array_equal(again.images, train.images[:3])
    np.testing.assert_array_equal(again.labels, train.labels[:3])
    other = generate_shapes(3, seed=2)
    assert (other.images != train.images[:3]).mean() > 0.9
    assert not (train.images[0] == train.images[1]).all()


def test_every_class_is_common_and_void_is_a_thin_rim(train):
    share = np.bincount(train.labels.reshape(-1), minlength=256) / train.labels.size
    assert 0.55 < share[0] < 0.8
    assert (share[1:6] > 0.02).all()
    void = train.labels == 255
    assert 0.05 < void.mean() < 0.15
    # A rim of two or three pixels does not survive being worn off by one on every side.
    core = void[:, 1:-1, 1:-1].copy()
    for down in (0, 1, 2):
        for right in (0, 1, 2):
            core &= void[:, down : down + 62, right : right + 62]
    assert core.sum() < 0.03 * void.sum()


def test_void_lies_between_every_shape_and_the_background(train):
    left, right = train.labels[:, :, :-1], train.labels[:, :, 1:]
    touching = (left != right) & (left != 255) & (right != 255)
    assert not touching.any()


def test_sizes_other_than_square_and_fewer_shapes():
    dataset = generate_shapes(4, size=(48, 96), shapes=("ring", "cross"))
    assert dataset.images.shape == (4, 3, 48, 96)
    assert dataset.class_names == ("background", "ring", "cross")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "count of at least 1"),
        ({"count": 1, "size": (16, 64)}, "at least 32x32 pixels, got 16x64"),
        ({"count": 1, "shapes": ("disc", "star")}, "among disc, .*got .*star"),
        ({"count": 1, "shapes": ()}, "got none"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        generate_shapes(**options)


def colours_and_labels(dataset: ArrayDataset) -> tuple[np.ndarray, np.ndarray]:
    """Pixels ``(P, 3)`` and their labels ``(P,)``, void left out."""
    pixels = dataset.images.transpose(0, 2, 3, 1).reshape(-1, 3)
    labels = dataset.labels.reshape(-1)
    return pixels[labels != 255], labels[labels != 255]


def mean_iou(predicted: np.ndarray, truth: np.ndarray) -> float:
    matrix = ConfusionMatrix(6)
    matrix.update(predicted, truth)
    return matrix.mean_iou


def test_the_nearest_mean_colour_is_no_way_to_solve_it(train, held_out):
    pixels, labels = colours_and_labels(train)
    means = np.stack([pixels[labels == label].mean(axis=0) for label in range(6)])
    new_pixels, truth = colours_and_labels(held_out)
    distances = ((new_pixels[:, None, :] - means[None]) ** 2).sum(axis=-1)
    assert mean_iou(distances.argmin(axis=1), truth) < 0.3


@pytest.mark.parametrize("balanced", [False, True])
def test_the_best_guess_from_a_pixels_colour_is_no_way_to_solve_it(train, held_out, balanced):
    # Bayes over 8x8x8 colours: the most frequent class of each, with true or with even priors
    def bins(pixels: np.ndarray) -> np.ndarray:
        return (pixels // 32).astype(np.int64) @ np.array([64, 8, 1])

    pixels, labels = colours_and_labels(train)
    counts = np.bincount(bins(pixels) * 6 + labels, minlength=512 * 6).reshape(512, 6).astype(float)
    if balanced:
        counts /= counts.sum(axis=0)
    new_pixels, truth = colours_and_labels(held_out)
    assert mean_iou(counts.argmax(axis=1)[bins(new_pixels)], truth) < 0.3


def test_the_best_guess_from_a_pixels_surroundings_is_no_way_to_solve_it(train, held_out):
    # Nearest neighbours by the colours of 3x3 pixels about each: texture as well as colour
    def patches(dataset: ArrayDataset, count: int) -> tuple[np.ndarray, np.ndarray]:
        windows = np.lib.stride_tricks.sliding_window_view(dataset.images, (3, 3), axis=(2, 3))
        features = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, 27)
        labels = dataset.labels[:, 1:-1, 1:-1].reshape(-1)
        known = np.flatnonzero(labels != 255)
        chosen = np.random.default_rng(0).choice(known, count, replace=False)
        return features[chosen].astype(np.float32), labels[chosen]

    known, labels = patches(train, 6000)
    asked, truth = patches(held_out, 3000)
    distances = (known**2).sum(axis=1)[None] - 2 * asked @ known.T
    nearest = np.argpartition(distances, 5, axis=1)[:, :5]
    votes = np.stack([(labels[nearest] == label).sum(axis=1) for label in range(6)], axis=1)
    assert mean_iou(votes.argmax(axis=1), truth) < 0.35
