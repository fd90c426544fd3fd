"""Data sets in files: the same as in memory, read no earlier than asked for, by any threads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from data_folders import class_folder, mask, mask_folder, picture, save

from minigraph.data import (
    ArrayDataset,
    Dataset,
    FileDataset,
    RandomCrop,
    batches,
    count_labels,
    generate_shapes,
    inverse_frequency_weights,
    load_segmentation_folders,
    median_frequency_weights,
    open_class_folders,
    open_segmentation_folders,
    prefetch,
)
from minigraph.data import dataset as dataset_module
from minigraph.data.dataset import pieces, pixel_bytes

NAMES = ("ground", "thing", "other")


@pytest.fixture
def lazy(tmp_path) -> FileDataset:
    root = mask_folder(tmp_path, 7)
    return open_segmentation_folders(root / "images", root / "masks", NAMES, void_label=255)


@pytest.fixture
def by_class(tmp_path) -> FileDataset:
    return open_class_folders(class_folder(tmp_path, {"ant": 3, "bee": 2}))


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("kind", ["lazy", "by_class"])
def test_files_and_memory_hold_the_same(kind, workers, request):
    files: FileDataset = replace(request.getfixturevalue(kind), workers=workers)
    memory = files.in_memory()
    assert isinstance(memory, ArrayDataset)
    for field in ("name", "class_names", "classes", "void_label", "image_shape", "is_segmentation"):
        assert getattr(files, field) == getattr(memory, field)
    assert len(files) == len(memory)
    last = len(files) - 1
    for indices in (slice(1, 4), [last, 0, 0], np.array([2, 1]), range(3), [-1], slice(0, 0)):
        for ours, theirs in zip(files.fetch(indices), memory.fetch(indices), strict=True):
            assert ours.dtype == np.uint8
            np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(files.fetch_labels(indices), memory.fetch_labels(indices))
    np.testing.assert_array_equal(files.subset([last, 1]).fetch([0])[0], memory.images[[last]])
    assert files.channel_statistics() == memory.channel_statistics()
    assert str(inverse_frequency_weights(files)) == str(inverse_frequency_weights(memory))
    with pytest.raises(IndexError):
        files.fetch([len(files)])


def test_what_is_fetched_is_what_was_written(lazy):
    images, labels = lazy.fetch([4, 2])
    for place, seed in enumerate([4, 2]):
        np.testing.assert_array_equal(images[place], picture(seed).transpose(2, 0, 1))
        np.testing.assert_array_equal(labels[place], mask(seed))


def test_batches_of_files_are_batches_of_memory(lazy):
    options = {"shuffle": True, "seed": 4, "epoch": 1, "augment": RandomCrop(5, 9)}
    of_files = list(prefetch(batches(lazy, 3, **options)))
    of_memory = list(batches(lazy.in_memory(), 3, **options))
    assert len(of_files) == len(of_memory) == 3
    for ours, theirs in zip(of_files, of_memory, strict=True):
        for key in ("image", "label"):
            np.testing.assert_array_equal(ours[key], theirs[key])


def test_files_are_read_when_they_are_fetched_and_no_earlier(lazy):
    broken = lazy.samples[3].label
    broken.write_bytes(broken.read_bytes()[:60])
    lazy.fetch([0, 1, 2, 4, 5, 6])
    lines = []
    for read in (lambda: lazy.fetch([3]), lambda: lazy.fetch_labels([3]), lazy.in_memory):
        with pytest.raises(ValueError, match=r"Expected a picture, got .*03\.png") as caught:
            read()
        lines.append(str(caught.value))
    assert lazy.problems() == lines[:1]
    with pytest.raises(ValueError, match=r"03\.png"):
        list(prefetch(batches(lazy, 2)))


def test_labels_are_read_without_the_pictures(lazy):
    for sample in lazy.samples:
        sample.image.unlink()
    assert count_labels(lazy).labels.sum() == 7 * 48
    assert median_frequency_weights(lazy).absent_classes == ()


@pytest.mark.parametrize("workers", [1, 3])
def test_the_first_of_several_errors_is_raised_whatever_the_threads(lazy, workers):
    for index in (5, 2):
        labels = mask(index)
        labels[1, 2] = 77
        save(lazy.samples[index].label, labels)
    message = r"0\.\.2 \(void 255\), got 77 at row 1, column 2: .*02\.png"
    with pytest.raises(ValueError, match=message):
        replace(lazy, workers=workers).fetch(range(7))
    assert [line[-6:] for line in lazy.problems()] == ["02.png", "05.png"]


def test_a_file_that_changed_since_it_was_opened_is_refused(lazy):
    save(lazy.samples[0].image, picture(0, (7, 8)))
    save(lazy.samples[0].label, mask(0, (7, 8)))
    for fetch in (lazy.fetch, lazy.fetch_labels):
        with pytest.raises(ValueError, match=r"6x8 pixels like .*00\.png, got 7x8"):
            fetch([0])


def test_crops_and_frames_of_files(tmp_path):
    mask_folder(tmp_path, 1)
    save(tmp_path / "images" / "01.png", picture(1, (4, 10)))
    save(tmp_path / "masks" / "01.png", mask(1, (4, 10)))
    folders = tmp_path / "images", tmp_path / "masks"
    _, labels = open_segmentation_folders(*folders, NAMES, crop=(4, 5)).fetch([0, 1])
    np.testing.assert_array_equal(labels[0], mask(0)[:4, :5])
    framed = load_segmentation_folders(*folders, NAMES, size=(6, 10), void_label=255)
    np.testing.assert_array_equal(framed.labels[1, :4], mask(1, (4, 10)))
    assert (framed.labels[1, 4:] == 255).all() and (framed.images[1, :, 4:] == 0).all()
    np.testing.assert_array_equal(framed.images[0, :, :, :8], picture(0).transpose(2, 0, 1))
    with pytest.raises(ValueError, match="void_label= for the rest"):
        open_segmentation_folders(*folders, NAMES, size=(6, 10))
    with pytest.raises(ValueError, match=r"crop or size, got both: crop=\(4, 5\)"):
        open_segmentation_folders(*folders, NAMES, size=(6, 10), crop=(4, 5), void_label=255)


def test_a_set_of_no_files_is_refused(lazy):
    with pytest.raises(ValueError, match="at least one picture, got none in data set 'images'"):
        lazy.subset([])
    with pytest.raises(ValueError, match="workers of at least 1, got 0"):
        replace(lazy, workers=0)


@pytest.mark.parametrize("piece_bytes", [1, 400, 10**9])
def test_pieces_go_over_everything_once_and_change_no_figure(lazy, piece_bytes, monkeypatch):
    assert pixel_bytes(lazy) == 7 * 48 * 4
    statistics, counts = lazy.channel_statistics(), count_labels(lazy)
    monkeypatch.setattr(dataset_module, "PIECE_BYTES", piece_bytes)
    assert [i for piece in pieces(lazy) for i in range(7)[piece]] == list(range(7))
    assert lazy.channel_statistics() == statistics
    np.testing.assert_array_equal(count_labels(lazy).labels_around, counts.labels_around)


def test_label_counts_are_those_of_numpy():
    dataset = generate_shapes(5, (32, 32), seed=3)
    counts = count_labels(dataset)
    assert counts.void == (dataset.labels == 255).sum()
    assert counts.void_share == pytest.approx((dataset.labels == 255).mean())
    for label in range(dataset.classes):
        present = (dataset.labels == label).any(axis=(1, 2))
        assert counts.labels[label] == (dataset.labels == label).sum()
        assert counts.images[label] == present.sum()
        assert counts.labels_around[label] == (dataset.labels[present] != 255).sum()


def test_both_kinds_are_data_sets(lazy):
    def length(dataset: Dataset) -> int:
        return len(dataset)

    assert length(lazy) == length(lazy.in_memory()) == 7


def test_classes_of_files_have_names_of_their_own(lazy):
    with pytest.raises(ValueError, match=r"different names, got 3 \(2 different\) in data set"):
        replace(lazy, class_names=("a", "b", "a"))
