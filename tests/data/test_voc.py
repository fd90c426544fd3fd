"""Pascal VOC 2012 in small: lists, palette masks read as indices, and frames of one size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minigraph.data import VOC_CLASSES, VOC_VOID_LABEL, load_voc_segmentation

SIZES = {"2007_000032": (6, 8), "2007_000033": (9, 4), "2008_000009": (5, 5)}


def official_palette() -> list[int]:
    """The colour map of the VOC development kit: bits of the index dealt out to R, G and B."""
    colours = []
    for index in range(256):
        colour, rest = [0, 0, 0], index
        for bit in range(7, -1, -1):
            for channel in range(3):
                colour[channel] |= (rest >> channel & 1) << bit
            rest >>= 3
        colours += colour
    return colours


def save_mask(path: Path, indices: np.ndarray) -> None:
    mask = Image.frombytes("P", indices.shape[::-1], indices.tobytes())
    mask.putpalette(official_palette())
    mask.save(path)


def mask_of(name: str) -> np.ndarray:
    indices = np.random.default_rng(int(name[-3:])).integers(0, 22, SIZES[name], dtype=np.uint8)
    return np.where(indices == 21, 255, indices).astype(np.uint8)


def colour_of(name: str) -> int:
    return 40 + int(name[-2:]) * 4


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for name, size in SIZES.items():
        pixels = np.full((*size, 3), colour_of(name), np.uint8)
        Image.fromarray(pixels).save(root / "JPEGImages" / f"{name}.jpg", quality=100)
        save_mask(root / "SegmentationClass" / f"{name}.png", mask_of(name))
    lists = root / "ImageSets" / "Segmentation"
    (lists / "train.txt").write_text("2008_000009\n2007_000032\n")
    (lists / "val.txt").write_text("2007_000033\r\n\r\n")
    return root


def test_there_are_background_and_twenty_things():
    assert len(VOC_CLASSES) == len(set(VOC_CLASSES)) == 21
    places = {name: VOC_CLASSES.index(name) for name in ("background", "cat", "person")}
    assert places == {"background": 0, "cat": 8, "person": 15}
    assert (VOC_CLASSES[1], VOC_CLASSES[20], VOC_VOID_LABEL) == ("aeroplane", "tvmonitor", 255)


def test_pictures_lie_at_the_top_left_of_black_and_void(root):
    dataset = load_voc_segmentation(root, "train", size=(10, 12))
    assert dataset.images.shape == (2, 3, 10, 12) and dataset.labels.shape == (2, 10, 12)
    assert (dataset.class_names, dataset.void_label) == (VOC_CLASSES, 255)
    assert dataset.name == "VOC2012/train"
    for index, name in enumerate(["2008_000009", "2007_000032"]):  # the list's order
        height, width = SIZES[name]
        expected = np.full((10, 12), 255, np.uint8)
        expected[:height, :width] = mask_of(name)
        np.testing.assert_array_equal(dataset.labels[index], expected)
        inside = dataset.images[index, :, :height, :width].astype(int)
        np.testing.assert_allclose(inside, colour_of(name), atol=2)
        assert dataset.images[index].astype(int).sum() == inside.sum()


def test_lists_choose_the_pictures_and_the_frame_holds_all_of_voc(root):
    dataset = load_voc_segmentation(root, "val")
    assert dataset.images.shape == (1, 3, 500, 500)
    np.testing.assert_array_equal(dataset.labels[0, :9, :4], mask_of("2007_000033"))
    assert (dataset.labels[0] != 255).sum() == (mask_of("2007_000033") != 255).sum()


def test_larger_pictures_shrink_in_proportion_and_masks_stay_indices(root):
    name = "2007_000032"
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(root / "JPEGImages" / f"{name}.jpg", quality=100)
    save_mask(root / "SegmentationClass" / f"{name}.png", mask_of(name))
    dataset = load_voc_segmentation(root, "train", size=(5, 4))
    jpeg = Image.open(root / "JPEGImages" / f"{name}.jpg")
    image = np.asarray(jpeg.resize((4, 3), Image.Resampling.BILINEAR))  # 6x8 in 5x4: half
    np.testing.assert_array_equal(dataset.images[1, :, :3], image.transpose(2, 0, 1))
    assert (dataset.images[1, :, 3:] == 0).all() and (dataset.labels[1, 3:] == 255).all()
    # Nearest of two is the pixel right of and below the middle.
    np.testing.assert_array_equal(dataset.labels[1, :3], mask_of(name)[1::2, 1::2])


def drop(path: str):
    return lambda root: (root / path).unlink()


def write_list(text: str):
    return lambda root: (root / "ImageSets" / "Segmentation" / "train.txt").write_text(text)


def write_mask(indices: np.ndarray):
    return lambda root: save_mask(root / "SegmentationClass" / "2007_000032.png", indices)


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (drop("ImageSets/Segmentation/train.txt"), FileNotFoundError, r"no file: .*train\.txt"),
        (drop("JPEGImages/2007_000032.jpg"), FileNotFoundError, r"2007_000032\.jpg, which .*train"),
        (drop("SegmentationClass/2007_000032.png"), FileNotFoundError, r"000032\.png, which"),
        (write_list("\n"), ValueError, r"empty list: .*train\.txt"),
        (write_list("2007_000099"), FileNotFoundError, r"2007_000099\.jpg, which"),
        (
            write_mask(np.where(np.indices((6, 8)).sum(axis=0) == 6, 21, 0).astype(np.uint8)),
            ValueError,
            r"0\.\.20 \(void 255\), got 21 at row 0, column 6: .*2007_000032\.png",
        ),
        (
            write_mask(np.zeros((6, 7), np.uint8)),
            ValueError,
            r"mask of 6x8 pixels like its picture .*jpg, got 6x7: .*2007_000032\.png",
        ),
    ],
    ids=["no list", "no image", "no mask", "empty list", "unknown name", "label", "size"],
)
def test_what_is_wrong_is_named_in_one_line(root, damage, error, message):
    damage(root)
    with pytest.raises(error, match=message) as caught:
        load_voc_segmentation(root, "train")
    assert "\n" not in str(caught.value)


def test_coloured_masks_are_refused(root):
    path = root / "SegmentationClass" / "2007_000032.png"
    Image.open(path).convert("RGB").save(path)
    with pytest.raises(ValueError, match=r"class indices .*mode 'RGB'.*2007_000032\.png"):
        load_voc_segmentation(root, "train")


def test_frames_of_nothing_are_refused(root):
    with pytest.raises(ValueError, match=r"size as \(height, width\)"):
        load_voc_segmentation(root, "train", size=(0, 5))
