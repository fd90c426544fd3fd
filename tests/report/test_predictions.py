"""Pictures of predictions: the right colours at the right places."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest
from PIL import Image

import minigraph as mg
from minigraph.metrics import ConfusionMatrix
from minigraph.report import (
    PALETTE,
    class_colours,
    classification_picture,
    colour_labels,
    plot_confusion,
    plot_curves,
    plot_filters,
    segmentation_picture,
    write_picture,
)

NAMES = ("ground", "thing")


def has_colour(picture: Image.Image | np.ndarray, colour: tuple[int, ...]) -> bool:
    return bool((np.asarray(picture) == colour).all(axis=-1).any())


def test_colours_are_32_that_differ_from_each_other_white_and_grey():
    colours = class_colours(32).astype(int)
    assert len(PALETTE) == 32
    others = np.concatenate([colours, [[255, 255, 255], [205, 205, 205], [0, 0, 0]]])
    distances = np.abs(others[:, None] - others[None]).sum(axis=-1)
    assert distances[~np.eye(len(others), dtype=bool)].min() >= 40


@pytest.mark.parametrize(("classes", "least"), [(40, 30), (256, 15)])
def test_more_colours_are_generated_that_differ_and_are_no_greys(classes, least):
    colours = class_colours(classes).astype(int)
    assert np.array_equal(colours[:32], class_colours(32))
    assert np.array_equal(colours, class_colours(256)[:classes])  # always the same
    distances = np.abs(colours[:, None] - colours[None]).sum(axis=-1)
    assert distances[~np.eye(classes, dtype=bool)].min() >= least
    generated = colours[32:]
    assert (generated.max(axis=1) - generated.min(axis=1)).min() >= 15  # void is grey
    with pytest.raises(ValueError, match="1 to 256 classes, got 257"):
        class_colours(257)


def test_forty_classes_are_drawn_with_void():
    labels = np.arange(41, dtype=np.uint8).repeat(41).reshape(1, 41, 41)
    labels[labels == 40] = 255
    images = np.zeros((1, 3, 41, 41), np.uint8)
    names = [f"class {i}" for i in range(40)]
    picture = segmentation_picture(images, labels, np.minimum(labels, 39), names)
    assert all(has_colour(picture, tuple(colour)) for colour in class_colours(40))


def test_photographs_are_shrunk():
    """Halves of 3000x2000 pixels: of one class, of void, and wrong in a corner."""
    images = np.zeros((1, 3, 2000, 3000), np.uint8)
    images[..., 1500:] = 200
    truth = np.zeros((1, 2000, 3000), np.int32)
    truth[:, :, 1500:] = 1
    predicted = truth.copy()
    predicted[0, :1000, :750] = 1
    picture = segmentation_picture(images, truth, predicted, NAMES, errors=True)
    assert picture.width == 4 * (400 + 10) + 10 and picture.height < 400
    pixels = np.asarray(picture)[32 : 32 + 267]  # below the titles
    cells = [pixels[:, left : left + 400] for left in range(10, 1640, 410)]
    ground, thing = class_colours(2)
    assert (cells[0][:, :190] == 0).all() and (cells[0][:, 210:] == 200).all()
    assert (cells[1][:, :200] == ground).all() and (cells[1][:, 200:] == thing).all()
    assert (cells[2][:133, :100] == thing).all() and (cells[2][134:, :200] == ground).all()
    assert (cells[3][:133, :100] == (255, 70, 80)).all()
    truth[0, 3, 5] = 7  # seen even where shrinking would leave it out
    with pytest.raises(ValueError, match="got 7 at row 3, column 5"):
        segmentation_picture(images, truth, predicted, NAMES)
    whole = classification_picture(images, np.array([0]), np.array([0]), NAMES)
    assert whole.width < 500


def test_pictures_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    write_picture(Image.new("RGB", (3, 2), (1, 2, 3)), path)
    with Image.open(path) as picture:
        assert picture.getpixel((2, 1)) == (1, 2, 3)
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(mg.WriteError, match="unchanged"):
        write_picture(Image.new("RGB", (30, 20)), path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    with pytest.raises(ValueError, match=r"ending such as \.png, got a\.what"):
        write_picture(Image.new("RGB", (3, 2)), tmp_path / "a.what")


def test_figures_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    writers = {
        "curves.png": lambda path: plot_curves([{"epoch": 1, "loss": 1.0}], path),
        "filters.png": lambda path: plot_filters(np.eye(4).reshape(4, 1, 2, 2), path),
        "confusion.png": lambda path: plot_confusion(ConfusionMatrix(2), path),
    }
    monkeypatch.setattr(os, "fsync", fail)
    for name, write in writers.items():
        (tmp_path / name).write_text("before")
        with pytest.raises(mg.WriteError):
            write(tmp_path / name)
        assert (tmp_path / name).read_text() == "before"
        with pytest.raises(ValueError, match=r"ends in .*\.svg.*, got a\.what"):
            write(tmp_path / "a.what")
    assert len(list(tmp_path.iterdir())) == 3


def fail(_: int) -> None:
    raise OSError(errno.ENOSPC, "full")


def test_labels_become_colours_and_void_a_grey_hatch():
    labels = np.array([[0, 1], [255, 1]], np.uint8)
    picture = colour_labels(labels, 2, 255, scale=8)
    assert (picture.shape, picture.dtype) == ((16, 16, 3), np.uint8)
    assert (picture[:8, :8] == class_colours(2)[0]).all()
    assert (picture[:, 8:] == class_colours(2)[1]).all()
    void = picture[8:, :8].reshape(-1, 3)
    assert (void.min(axis=1) == void.max(axis=1)).all()  # grey
    assert len(np.unique(void, axis=0)) == 2  # and hatched


def test_illegal_labels_are_named_with_their_place():
    with pytest.raises(ValueError, match=r"0\.\.1 \(void None\), got 5 at row 1, column 0"):
        colour_labels(np.array([[0, 1], [5, 0]]), 2, None, scale=4)


@pytest.fixture
def segmented() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    images = np.full((2, 3, 24, 32), 120, np.uint8)
    truth = np.zeros((2, 24, 32), np.uint8)
    truth[:, 4:12, 4:12] = 1
    truth[0, 0] = 255
    return images, truth, np.zeros_like(truth)


def test_rows_show_image_truth_and_prediction(segmented):
    images, truth, predicted = segmented
    picture = segmentation_picture(images, truth, predicted, NAMES)
    assert picture.mode == "RGB"
    pixels = np.asarray(picture)
    third = picture.width // 3
    rows = pixels[: 2 * picture.height // 3]
    thing = tuple(class_colours(2)[1])
    assert has_colour(rows[:, :third], (120, 120, 120))
    assert has_colour(rows[:, third : 2 * third], thing)
    assert not has_colour(rows[:, 2 * third :], thing)
    assert has_colour(pixels[-40:], thing)  # the legend


def test_the_error_column_marks_wrong_pixels_only(segmented):
    images, truth, predicted = segmented
    red = (255, 70, 80)
    assert has_colour(segmentation_picture(images, truth, predicted, NAMES, errors=True), red)
    right = np.where(truth == 255, 0, truth)  # void is never wrong
    assert not has_colour(segmentation_picture(images, truth, right, NAMES, errors=True), red)


def test_more_classes_take_more_lines_of_legend(segmented):
    images, truth, predicted = segmented
    names = [f"class number {index}" for index in range(32)]
    tall = segmentation_picture(images, truth, predicted, names)
    assert tall.height > segmentation_picture(images, truth, predicted, NAMES).height
    assert has_colour(tall, tuple(class_colours(32)[31]))


def test_grey_pictures_are_drawn_too():
    images = np.full((1, 1, 16, 16), 77, np.uint8)
    labels = np.zeros((1, 16, 16), np.uint8)
    picture = segmentation_picture(images, labels, labels, NAMES)
    assert has_colour(picture, (77, 77, 77))


def test_wrong_pictures_are_framed():
    images = np.full((3, 1, 28, 28), 10, np.uint8)
    truth = np.array([0, 1, 1])
    right = classification_picture(images, truth, truth, NAMES)
    wrong = classification_picture(images, truth, np.array([0, 1, 0]), NAMES)
    assert right.size == wrong.size
    pixels = np.asarray(wrong)
    third = wrong.width // 3
    frame = (205, 30, 50)
    assert has_colour(pixels[:, 2 * third :], frame)
    assert not has_colour(pixels[:, : 2 * third - 20], frame)
    assert not has_colour(right, frame)


def test_the_grid_wraps():
    images = np.zeros((5, 1, 28, 28), np.uint8)
    labels = np.zeros(5, np.uint8)
    one_row = classification_picture(images, labels, labels, NAMES)
    two_rows = classification_picture(images, labels, labels, NAMES, columns=3)
    assert two_rows.width < one_row.width and two_rows.height > one_row.height


def test_long_names_are_cut():
    images = np.zeros((1, 1, 28, 28), np.uint8)
    names = ("a name that is far longer than the picture is wide",)
    labels = np.zeros(1, np.uint8)
    picture = np.asarray(classification_picture(images, labels, labels, names))
    assert (picture[:, :2] == 255).all() and (picture[:, -2:] == 255).all()


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((1, 3, 8, 8), np.float32), np.zeros((1, 8, 8), int), "uint8 .*not normalised"),
        (np.zeros((1, 3, 8, 8), np.uint8), np.zeros((1, 8, 9), int), r"shape \(1, 8, 8\)"),
        (np.zeros((0, 3, 8, 8), np.uint8), np.zeros((0, 8, 8), int), "at least one picture"),
        (np.zeros((1, 3, 8, 8), np.uint8), np.full((1, 8, 8), 2), r"0\.\.1 .*got 2"),
    ],
)
def test_wrong_segmentation_arrays_are_refused(images, labels, message):
    with pytest.raises(ValueError, match=message):
        segmentation_picture(images, labels, labels, NAMES)


@pytest.mark.parametrize(
    ("labels", "message"),
    [(np.zeros(2, int), r"shape \(1,\)"), (np.full(1, 2), r"truth in 0\.\.1, got 2")],
)
def test_wrong_classification_arrays_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        classification_picture(np.zeros((1, 1, 8, 8), np.uint8), labels, labels, NAMES)
