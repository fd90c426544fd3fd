"""Augmentations: image and mask stay aligned, masks stay indices, and the generator decides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from minigraph.data import (
    ArrayDataset,
    ColourJitter,
    Compose,
    RandomCrop,
    RandomScale,
    batches,
    random_horizontal_flip,
)

FILL = 255
"""Of images in the tests: a value that the pictures do not have."""


def pairs(count: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Random pictures whose pixels are ten times the label of the mask at the same place, 0..9."""
    labels = np.random.default_rng(8).integers(0, 10, (count, height, width), dtype=np.uint8)
    return np.repeat(labels[:, None] * np.uint8(10), 3, axis=1), labels


def name_of(augment: object) -> str:
    return getattr(augment, "__name__", type(augment).__name__)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def window_places(whole: np.ndarray, part: np.ndarray) -> list[tuple[int, int]]:
    """All places at which `part` lies in `whole`, by trying every one."""
    height, width = part.shape
    return [
        (top, left)
        for top in range(whole.shape[0] - height + 1)
        for left in range(whole.shape[1] - width + 1)
        if (whole[top : top + height, left : left + width] == part).all()
    ]


EVERY = [
    random_horizontal_flip,
    RandomCrop(5, 6),
    RandomCrop(12, 13),
    RandomCrop(12, 13, padding="reflect"),
    RandomCrop(12, 4),
    RandomScale(0.4, 2.5),
    ColourJitter(),
    Compose([RandomScale(0.5, 1.5), RandomCrop(7, 7), random_horizontal_flip, ColourJitter()]),
]


@pytest.mark.parametrize("augment", EVERY, ids=name_of)
def test_the_generator_alone_decides_and_the_batch_given_stays(augment):
    images, labels = pairs(6, 8, 9)
    before = images.copy(), labels.copy()
    first, second, other = (augment(images, labels, rng(seed)) for seed in (1, 1, 2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (first[0] != other[0]).any()
    np.testing.assert_array_equal(images, before[0])
    np.testing.assert_array_equal(labels, before[1])
    assert first[0].dtype == first[1].dtype == np.uint8
    assert first[0].shape[0] == 6 and first[0].shape[2:] == first[1].shape[1:]


@pytest.mark.parametrize("augment", EVERY, ids=name_of)
def test_labels_of_whole_pictures_pass_through(augment):
    images, masks = pairs(6, 8, 9)
    labels = np.arange(6, dtype=np.uint8)
    changed, kept = augment(images, labels, rng(3))
    np.testing.assert_array_equal(kept, labels)
    np.testing.assert_array_equal(changed, augment(images, masks, rng(3))[0])


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    window=st.tuples(st.integers(1, 14), st.integers(1, 14)),
    padding=st.sampled_from(["void", "reflect"]),
    seed=st.integers(0, 2**32),
)
def test_crops_keep_image_and_mask_together(size, window, padding, seed):
    images, labels = pairs(3, *size)
    cropped, masks = RandomCrop(*window, padding, FILL)(images, labels, rng(seed))
    assert masks.shape == (3, *window) and cropped.shape == (3, 3, *window)
    expected = np.where(masks == 255, FILL, masks * np.uint8(10))
    np.testing.assert_array_equal(cropped, np.repeat(expected[:, None], 3, axis=1))
    held = [min(side, length) for side, length in zip(size, window, strict=True)]
    pixels = held[0] * held[1] if padding == "void" else window[0] * window[1]
    assert ((masks != 255).sum(axis=(1, 2)) == pixels).all()
    for mask, label in zip(masks, labels, strict=True):
        if padding == "void":
            rows, columns = np.nonzero(mask != 255)
            mask = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            assert mask.shape == tuple(held)
            assert window_places(label, mask)
        else:  # of the picture mirrored far beyond all its sides, as NumPy does it
            assert window_places(np.pad(label, 28, mode="reflect"), mask)


def test_crops_reach_every_place_evenly():
    labels = np.arange(20, dtype=np.uint8).reshape(1, 4, 5).repeat(2400, axis=0)
    _, masks = RandomCrop(3, 3)(labels[:, None], labels, rng())
    corners, counts = np.unique(masks[:, 0, 0], return_counts=True)
    assert corners.tolist() == [0, 1, 2, 5, 6, 7]
    np.testing.assert_allclose(counts, 400, atol=80)
    _, masks = RandomCrop(6, 5)(labels[:, None], labels, rng())
    tops, counts = np.unique((masks[:, :, 0] == 0).argmax(axis=1), return_counts=True)
    assert tops.tolist() == [0, 1, 2]
    np.testing.assert_allclose(counts, 800, atol=110)


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    low=st.floats(0.1, 3),
    more=st.floats(0, 2),
    seed=st.integers(0, 2**32),
)
def test_scaling_invents_no_index_and_keeps_the_frame(size, low, more, seed):
    # Two far indices only: interpolating them would give another one.
    labels = rng(5).choice(np.array([3, 200], np.uint8), (4, *size))
    images = np.repeat(labels[:, None], 3, axis=1)
    scaled, masks = RandomScale(low, low + more, FILL)(images, labels, rng(seed))
    assert scaled.shape == images.shape and masks.shape == labels.shape
    assert set(np.unique(masks)) <= {3, 200, 255}
    for index in range(4):
        np.testing.assert_array_equal((scaled[index] == FILL).all(axis=0), masks[index] == 255)


@pytest.mark.parametrize("factor", [0.5, 0.75, 1.5, 2.0, 3.3])
def test_scaled_pictures_are_pillows_and_lie_where_their_masks_lie(factor):
    images = rng(1).integers(0, 255, (3, 3, 20, 30), dtype=np.uint8)
    labels = rng(2).integers(0, 9, (3, 20, 30), dtype=np.uint8)
    scaled, masks = RandomScale(factor, factor, FILL)(images, labels, rng(4))
    size = (round(30 * factor), round(20 * factor))
    for index in range(3):
        colour = Image.fromarray(images[index].transpose(1, 2, 0))
        image = np.asarray(colour.resize(size, Image.Resampling.BILINEAR))
        mask = np.asarray(Image.fromarray(labels[index]).resize(size, Image.Resampling.NEAREST))
        got_image, got_mask = scaled[index].transpose(1, 2, 0), masks[index]
        if factor < 1:
            rows, columns = np.nonzero(got_mask != 255)
            inside = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            np.testing.assert_array_equal(got_mask[inside], mask)
            np.testing.assert_array_equal(got_image[inside], image)
            assert (got_mask != 255).sum() == mask.size
        else:
            ((top, left),) = window_places(mask, got_mask)
            window = np.s_[top : top + 20, left : left + 30]
            np.testing.assert_array_equal(got_image, image[window])


def test_scaled_edges_of_image_and_mask_coincide():
    labels = np.zeros((8, 40, 40), np.uint8)
    labels[:, 10:30, 14:26] = 1
    images = labels[:, None] * np.uint8(200)
    scaled, masks = RandomScale(0.5, 2.0)(images, labels, rng(6))
    for image, mask in zip(scaled[:, 0], masks, strict=True):
        apart = (image >= 100) != (mask == 1)
        assert apart.sum() <= 0.02 * mask.size
        weights = image / image.sum(), (mask == 1) / (mask == 1).sum()
        centres = [[(w.sum(axis=a) * np.arange(40)).sum() for a in (0, 1)] for w in weights]
        np.testing.assert_allclose(centres[0], centres[1], atol=0.5)


def test_factors_fill_the_range():
    labels = np.zeros((400, 40, 40), np.uint8)
    _, masks = RandomScale(0.25, 0.75)(labels[:, None], labels, rng())
    heights = (masks != 255).any(axis=2).sum(axis=1)
    widths = (masks != 255).any(axis=1).sum(axis=1)
    np.testing.assert_array_equal(heights, widths)
    assert heights.min() in (10, 11) and heights.max() in (29, 30)
    assert heights.mean() == pytest.approx(20, abs=0.9)


def test_a_picture_shrinks_to_one_pixel_at_the_least():
    images, labels = pairs(5, 4, 6)
    _, masks = RandomScale(0.01, 0.01)(images, labels, rng())
    assert ((masks != 255).sum(axis=(1, 2)) == 1).all()


def test_scale_one_changes_nothing():
    images, labels = pairs(3, 7, 5)
    scaled, masks = RandomScale(1, 1)(images, labels, rng())
    np.testing.assert_array_equal(scaled, images)
    np.testing.assert_array_equal(masks, labels)


@pytest.mark.parametrize(
    ("name", "enhance"),
    [
        ("brightness", ImageEnhance.Brightness),
        ("contrast", ImageEnhance.Contrast),
        ("saturation", ImageEnhance.Color),
    ],
)
def test_colours_change_as_in_pillow(name, enhance):
    images = rng(3).integers(60, 150, (1, 3, 16, 16), dtype=np.uint8)
    images[:, 2] -= 50  # yellow: the mean luminance is not the mean of the channels
    labels = np.zeros((1, 16, 16), np.uint8)
    options = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, name: 0.6}
    picture = Image.fromarray(images[0].transpose(1, 2, 0))
    factors = np.linspace(0.4, 1.6, 241)
    candidates = [np.asarray(enhance(picture).enhance(f)).transpose(2, 0, 1) for f in factors]
    found = []
    for seed in range(12):
        jittered, kept = ColourJitter(**options)(images, labels, rng(seed))
        assert kept is labels
        errors = [np.abs(jittered[0].astype(int) - c).max() for c in candidates]
        assert min(errors) <= 2
        found.append(factors[int(np.argmin(errors))])
    assert min(found) < 0.8 and max(found) > 1.2


def test_colours_of_grey_pictures_and_no_jitter():
    images = rng(3).integers(0, 256, (4, 1, 6, 6), dtype=np.uint8)
    labels = np.zeros(4, np.uint8)
    np.testing.assert_array_equal(ColourJitter(0, 0, 1)(images, labels, rng())[0], images)
    np.testing.assert_array_equal(ColourJitter(0, 0, 0)(images, labels, rng())[0], images)
    assert (ColourJitter(0.5, 0, 0)(images, labels, rng())[0] != images).any()


def test_bright_pictures_are_clipped_not_wrapped():
    images = np.full((64, 3, 2, 2), 250, np.uint8)
    jittered, _ = ColourJitter(1, 0, 0)(images, np.zeros(64, np.uint8), rng())
    assert (jittered == 255).all(axis=(1, 2, 3)).sum() > 20
    assert jittered.min() < 100


def test_compose_is_one_after_the_other():
    images, labels = pairs(5, 8, 9)
    steps = [RandomCrop(6, 6), random_horizontal_flip]
    together = Compose(steps)(images, labels, rng(9))
    generator = rng(9)
    apart = random_horizontal_flip(*RandomCrop(6, 6)(images, labels, generator), generator)
    for a, b in zip(together, apart, strict=True):
        np.testing.assert_array_equal(a, b)


def test_batches_take_augmentations_and_refuse_another_void():
    images, labels = pairs(6, 8, 9)
    dataset = ArrayDataset(images, labels, tuple("abcdefghij"), void_label=11)
    augment = Compose([RandomCrop(12, 12, void_label=11), random_horizontal_flip])
    (batch,) = batches(dataset, 6, augment=augment)
    assert batch["image"].shape == (6, 3, 12, 12)
    assert ((batch["label"] == 11).sum(axis=(1, 2)) == 144 - 72).all()
    with pytest.raises(ValueError, match=r"\(void 11\) after .*got 255 at image 0, row .*same"):
        next(batches(dataset, 6, augment=RandomCrop(12, 12)))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: RandomCrop(0, 4), "1x1 or more, got 0x4"),
        (lambda: RandomCrop(4, 4, padding="edge"), "void, reflect, got 'edge'"),
        (lambda: RandomCrop(4, 4, void_label=256), r"void_label in 0\.\.255, got 256"),
        (lambda: RandomScale(2, 1), "low <= high, got 2 and 1"),
        (lambda: RandomScale(0, 1), "0 < low"),
        (lambda: RandomScale(fill=-1), r"fill in 0\.\.255, got -1"),
        (lambda: ColourJitter(contrast=1.5), "contrast of 0 to 1, got 1.5"),
    ],
)
def test_bad_options_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


ROWS_A_PIXEL, COLUMNS_A_PIXEL = 4, 4  # steps of the values that say where a pixel was


def places(count: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures that say of each pixel (row, column) where it was, and masks of random labels."""
    rows = np.broadcast_to(np.arange(height)[:, None] * ROWS_A_PIXEL, (height, width))
    columns = np.broadcast_to(np.arange(width)[None] * COLUMNS_A_PIXEL, (height, width))
    image = np.stack([rows, columns, np.full((height, width), 9)]).astype(np.uint8)
    labels = np.random.default_rng(11).integers(0, 9, (count, height, width), dtype=np.uint8)
    return np.repeat(image[None], count, axis=0), labels


MOVES = st.one_of(
    st.just(random_horizontal_flip),
    st.builds(
        RandomCrop,
        st.integers(1, 14),
        st.integers(1, 14),
        st.sampled_from(["void", "reflect"]),
        st.just(FILL),
    ),
    st.builds(RandomScale, st.just(1.0), st.just(1.0), st.just(FILL)),
)


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 10), st.integers(1, 10)),
    moves=st.lists(MOVES, min_size=1, max_size=4),
    seed=st.integers(0, 2**32),
)
def test_moved_pixels_take_the_label_of_the_place_they_came_from(size, moves, seed):
    images, labels = places(3, *size)
    moved, masks = Compose(moves)(images, labels, rng(seed))
    for image, mask, label in zip(moved, masks, labels, strict=True):
        void = mask == 255
        np.testing.assert_array_equal(image[2], np.where(void, FILL, 9))
        rows, columns = image[0] // ROWS_A_PIXEL, image[1] // COLUMNS_A_PIXEL
        np.testing.assert_array_equal(mask[~void], label[rows[~void], columns[~void]])


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(8, 30), st.integers(8, 30)),
    factor=st.floats(0.4, 2.5),
    more=st.lists(st.sampled_from([random_horizontal_flip, RandomCrop(9, 9, "void", FILL)])),
    seed=st.integers(0, 2**32),
)
def test_scaled_pixels_lie_within_a_pixel_of_their_labels(size, factor, more, seed):
    """Masks that hold the row of each pixel, beside images that hold it too, interpolated."""
    for axis in (0, 1):
        place = np.broadcast_to(
            np.arange(size[axis], dtype=np.uint8).reshape((-1, 1) if axis == 0 else (1, -1)), size
        )
        images = np.repeat((place * np.uint8(7))[None, None], 2, axis=0)
        scale = RandomScale(factor, factor, FILL)
        scaled, masks = Compose([scale, *more])(images, np.stack([place] * 2), rng(seed))
        shown = masks != 255
        assert set(np.unique(masks[shown])) <= set(range(size[axis]))
        # A pixel of the scaled picture spans 1 / factor of the original; nearest is its middle.
        apart = np.abs(scaled[:, 0][shown] / 7 - masks[shown])
        assert (apart <= max(1, 1 / factor) / 2 + 0.6).all()


@settings(max_examples=40, deadline=None)
@given(
    reach=st.tuples(*[st.floats(0, 1)] * 3),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 2**32),
)
def test_jitter_changes_colours_by_pixel_alone(reach, channels, seed):
    """Pixels of one colour stay pixels of one colour, wherever they are; masks are left alone."""
    labels = rng(seed).integers(0, 5, (2, 6, 7), dtype=np.uint8)
    colours = rng(1).integers(0, 256, (5, channels), dtype=np.uint8)
    images = colours[labels].transpose(0, 3, 1, 2)
    jittered, kept = ColourJitter(*reach)(images, labels, rng(seed))
    np.testing.assert_array_equal(kept, labels)
    assert jittered.dtype == np.uint8 and jittered.shape == images.shape
    for image, mask in zip(jittered, labels, strict=True):
        for label in np.unique(mask):
            pixels = image[:, mask == label]
            np.testing.assert_array_equal(pixels, np.repeat(pixels[:, :1], pixels.shape[1], axis=1))
