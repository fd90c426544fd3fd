"""Batches: what is in them, and that nothing but (seed, epoch) decides their order."""

from __future__ import annotations

import numpy as np
import pytest

from minigraph.data import ArrayDataset, batches, generate_shapes, random_horizontal_flip


@pytest.fixture
def dataset() -> ArrayDataset:
    """Ten pictures of 2 channels, 3x4; the first pixel of each is its number."""
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (10, 2, 3, 4), dtype=np.uint8)
    images[:, 0, 0, 0] = np.arange(10)
    return ArrayDataset(images, rng.integers(0, 3, (10, 3, 4), dtype=np.uint8), tuple("abc"), 255)


def numbers(batch_list: list[dict[str, np.ndarray]]) -> list[int]:
    firsts = np.concatenate([batch["image"][:, 0, 0, 0] for batch in batch_list])
    return (firsts * 255).round().astype(int).tolist()


def test_pictures_are_scaled_and_labels_are_int32(dataset):
    (batch,) = batches(dataset, 10)
    assert (batch["image"].dtype, batch["label"].dtype) == (np.float32, np.int32)
    np.testing.assert_allclose(batch["image"], dataset.images / 255.0, rtol=1e-6)
    np.testing.assert_array_equal(batch["label"], dataset.labels)


def test_mean_and_std_normalise_each_channel(dataset):
    mean, std = dataset.channel_statistics()
    (batch,) = batches(dataset, 10, mean=mean, std=std)
    np.testing.assert_allclose(batch["image"].mean(axis=(0, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(batch["image"].std(axis=(0, 2, 3)), 1, atol=1e-6)


def test_channel_statistics_agree_with_numpy(dataset):
    mean, std = dataset.channel_statistics()
    np.testing.assert_allclose(mean, (dataset.images / 255).mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, (dataset.images / 255).std(axis=(0, 2, 3)), rtol=1e-12)


def test_without_shuffling_the_order_is_the_data_sets(dataset):
    assert numbers(list(batches(dataset, 4))) == list(range(10))


@pytest.mark.parametrize(("drop_last", "sizes"), [(False, [4, 4, 2]), (True, [4, 4])])
def test_the_last_batch_is_kept_or_dropped(dataset, drop_last, sizes):
    parts = list(batches(dataset, 4, drop_last=drop_last, shuffle=True))
    assert [len(batch["label"]) for batch in parts] == sizes
    assert [len(batch["image"]) for batch in parts] == sizes


def test_shuffling_goes_over_everything_once_and_labels_stay_with_pictures(dataset):
    parts = list(batches(dataset, 3, shuffle=True))
    order = numbers(parts)
    assert sorted(order) == list(range(10)) and order != list(range(10))
    labels = np.concatenate([batch["label"] for batch in parts])
    np.testing.assert_array_equal(labels, dataset.labels[order])


def test_seed_and_epoch_decide_the_order(dataset):
    def order(seed: int, epoch: int) -> list[int]:
        return numbers(list(batches(dataset, 3, seed=seed, epoch=epoch, shuffle=True)))

    assert order(1, 2) == order(1, 2)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_batches_do_not_share_memory_with_the_data_set(dataset):
    before = dataset.labels.copy(), dataset.images.copy()
    for batch in batches(dataset, 5):
        batch["image"][:] = 0
        batch["label"][:] = 9
    np.testing.assert_array_equal(dataset.labels, before[0])
    np.testing.assert_array_equal(dataset.images, before[1])


def test_flips_take_pictures_and_masks_together(dataset):
    parts = list(batches(dataset, 10, augment=random_horizontal_flip, seed=5))
    image, label = parts[0]["image"], parts[0]["label"]
    flipped = 0
    for index in range(10):
        original = dataset.images[index] / np.float32(255)
        if np.allclose(image[index], original, atol=1e-6):
            np.testing.assert_array_equal(label[index], dataset.labels[index])
        else:
            flipped += 1
            np.testing.assert_allclose(image[index], original[..., ::-1], atol=1e-6)
            np.testing.assert_array_equal(label[index], dataset.labels[index, :, ::-1])
    assert 0 < flipped < 10
    (again,) = batches(dataset, 10, augment=random_horizontal_flip, seed=5)
    np.testing.assert_array_equal(again["image"], image)
    (other,) = batches(dataset, 10, augment=random_horizontal_flip, seed=5, epoch=1)
    assert (other["image"] != image).any()


def test_augmentation_does_not_change_the_order(dataset):
    def order(augment):
        parts = batches(dataset, 3, shuffle=True, seed=2, augment=augment)
        return [batch["label"].sum() for batch in parts]

    assert order(None) == order(random_horizontal_flip)


def test_flips_leave_class_labels_alone():
    images = np.arange(24, dtype=np.uint8).reshape(4, 1, 2, 3)
    labels = np.arange(4, dtype=np.uint8)
    _, kept = random_horizontal_flip(images, labels, np.random.default_rng(0))
    np.testing.assert_array_equal(kept, labels)


def test_a_subset_keeps_names_and_void(dataset):
    part = dataset.subset([7, 2])
    np.testing.assert_array_equal(part.images, dataset.images[[7, 2]])
    np.testing.assert_array_equal(part.labels, dataset.labels[[7, 2]])
    assert (part.class_names, part.void_label) == (dataset.class_names, 255)
    assert (part.image_shape, part.is_segmentation, len(part)) == ((2, 3, 4), True, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "at least 1, got 0"),
        ({"batch_size": 11, "drop_last": True}, "got 10 in data set"),
        ({"batch_size": 2, "mean": [0.1, 0.2, 0.3]}, "mean as one number or 2.*got 3"),
        ({"batch_size": 2, "std": [0.5, 0.0]}, "std above 0"),
    ],
)
def test_bad_options_are_refused_at_the_call(dataset, options, message):
    with pytest.raises(ValueError, match=message):
        batches(dataset, **options)


PICTURES = np.zeros((2, 1, 3, 4), np.uint8)
LABELS = np.zeros((2, 3, 4), np.uint8)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (PICTURES.astype(np.float32), LABELS, "uint8 .*float32"),
        (PICTURES[:, 0], LABELS, r"\(N, C, H, W\)"),
        (PICTURES, LABELS[:1], r"got \(1, 3, 4\)"),
        (PICTURES, LABELS.astype(np.int64), "uint8 class indices, got int64"),
        (PICTURES, LABELS + np.uint8(2), r"0\.\.1 \(void 255\), got 2 at image 0, row 0, column 0"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(images, labels, message):
    with pytest.raises(ValueError, match=message):
        ArrayDataset(images, labels, ("a", "b"), 255)


def test_void_is_not_a_class():
    with pytest.raises(ValueError, match=r"void_label outside of the classes 0\.\.1, got 1"):
        ArrayDataset(PICTURES, LABELS, ("a", "b"), 1)


def test_the_first_illegal_label_is_named_with_its_picture_and_pixel():
    labels = LABELS.copy()
    labels[0, 0, 1], labels[1, 2, 3], labels[1, 1, 2] = 255, 9, 7
    with pytest.raises(ValueError, match="got 7 at image 1, row 1, column 2 in data set"):
        ArrayDataset(PICTURES, labels, ("a", "b"), 255)


def test_labels_that_an_augmentation_invents_are_named_with_their_picture(dataset):
    def spoil(images, labels, generator):
        labels = labels.copy()
        labels[1, 2, 3] = 77
        return images, labels

    parts = batches(dataset, 5, shuffle=True, seed=4, augment=spoil)
    second = numbers([next(batches(dataset, 5, shuffle=True, seed=4))])[1]
    message = rf"0\.\.2 \(void 255\) after .*got 77 at image {second}, row 2, column 3"
    with pytest.raises(ValueError, match=message):
        next(parts)


def test_a_pass_can_begin_anywhere_and_is_then_the_rest_of_the_whole():
    def jitter(images, labels, generator):
        return images ^ generator.integers(0, 256, images.shape, np.uint8), labels

    dataset = generate_shapes(11, (32, 32), seed=3)
    options = {"seed": 5, "epoch": 2, "shuffle": True, "augment": jitter}
    whole = list(batches(dataset, 3, **options))
    for start in range(6):
        rest = list(batches(dataset, 3, start=start, **options))
        assert len(rest) == max(len(whole) - start, 0)
        for ours, theirs in zip(rest, whole[start:], strict=True):
            np.testing.assert_array_equal(ours["image"], theirs["image"])
            np.testing.assert_array_equal(ours["label"], theirs["label"])
    assert not np.array_equal(whole[0]["image"], whole[1]["image"])


def test_a_first_batch_below_zero_is_refused():
    with pytest.raises(ValueError, match="start=-1"):
        batches(generate_shapes(4, (32, 32), seed=0), 2, start=-1)


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        (
            lambda images, labels, _: (images / 2, labels),
            r"as uint8 \(4, 2, H, W\) .*float64",
        ),
        (lambda images, labels, _: (images[:3], labels), r"uint8 \(4, 2, H, W\) .*\(3, 2, 3, 4\)"),
        (lambda images, labels, _: (images[:, :1], labels), r"got uint8 \(4, 1, 3, 4\)"),
        (lambda images, labels, _: (images, labels + 0.5), r"integers \(4, 3, 4\) .*float64"),
        (
            lambda images, labels, _: (images[..., 1:], labels),
            r"\(4, 3, 3\) after .*\(4, 3, 4\)",
        ),
    ],
    ids=["floats", "too few", "a channel less", "fractional labels", "the images' crop alone"],
)
def test_augmentations_that_give_something_else_are_refused(dataset, augment, message):
    with pytest.raises(ValueError, match=f"{message}.* in data set 'dataset'"):
        next(batches(dataset, 4, augment=augment))


def test_augmentations_may_give_any_integers_as_labels(dataset):
    wide = next(batches(dataset, 4, augment=lambda i, labels, _: (i, labels.astype(np.int64))))
    np.testing.assert_array_equal(wide["label"], dataset.labels[:4])


@pytest.mark.parametrize("names", [("a", "b", "a"), tuple(map(str, range(257)))])
def test_classes_have_names_of_their_own_and_fit_a_byte(names):
    message = rf"up to 256 classes .*got {len(names)} \({len(set(names))} different\) in data set"
    with pytest.raises(ValueError, match=message):
        ArrayDataset(PICTURES, LABELS, names)


def test_of_256_classes_none_is_left_for_void():
    names = tuple(map(str, range(256)))
    assert ArrayDataset(PICTURES, LABELS, names).classes == 256
    assert ArrayDataset(PICTURES, LABELS, names[:255], 255).classes == 255
    with pytest.raises(ValueError, match=r"void_label outside of the classes 0\.\.255, got 255"):
        ArrayDataset(PICTURES, LABELS, names, 255)


def test_an_empty_data_set_has_no_statistics(dataset):
    with pytest.raises(ValueError, match=r"Expected pictures .*got an empty data set 'dataset'"):
        dataset.subset([]).channel_statistics()
