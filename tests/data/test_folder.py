"""Folders of pictures and masks: masks are indices, whatever the format calls them."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minigraph.data import load_segmentation_folders, load_segmentation_split

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
CLASSES = ("ground", "thing", "other")
RNG_SEED = 7


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders with pictures a, b (RGB) and masks a, b (grey), 6x8 pixels."""
    rng = np.random.default_rng(RNG_SEED)
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for stem in "ab":
        picture = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(picture).save(tmp_path / "images" / f"{stem}.png")
        mask = rng.integers(0, 3, (6, 8), dtype=np.uint8)
        Image.fromarray(mask).save(tmp_path / "masks" / f"{stem}.png")
    return tmp_path / "images", tmp_path / "masks"


def test_loads_pictures_and_masks_in_order_of_names(folders):
    images, masks = folders
    dataset = load_segmentation_folders(images, masks, CLASSES)
    rng = np.random.default_rng(RNG_SEED)
    for index in range(2):
        picture = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        np.testing.assert_array_equal(dataset.images[index], picture.transpose(2, 0, 1))
        np.testing.assert_array_equal(
            dataset.labels[index], rng.integers(0, 3, (6, 8), dtype=np.uint8)
        )
    assert dataset.name == "images"


def test_crop_keeps_the_top_left(folders):
    whole = load_segmentation_folders(*folders, CLASSES)
    part = load_segmentation_folders(*folders, CLASSES, crop=(4, 8))
    np.testing.assert_array_equal(part.images, whole.images[:, :, :4, :8])
    np.testing.assert_array_equal(part.labels, whole.labels[:, :4, :8])
    with pytest.raises(ValueError, match=r"crop of 7x8 pixels, got 6x8: .*a\.png"):
        load_segmentation_folders(*folders, CLASSES, crop=(7, 8))


def test_grey_pictures_and_colours_convert_both_ways(folders):
    images, masks = folders
    grey = np.arange(48, dtype=np.uint8).reshape(6, 8)
    Image.fromarray(grey).save(images / "a.png")
    colour = load_segmentation_folders(images, masks, CLASSES, channels=3)
    assert all((colour.images[0, channel] == grey).all() for channel in range(3))
    luminance = load_segmentation_folders(images, masks, CLASSES, channels=1)
    assert luminance.images.shape == (2, 1, 6, 8)
    np.testing.assert_array_equal(luminance.images[0, 0], grey)
    weights = np.array([0.299, 0.587, 0.114])
    expected = np.tensordot(weights, colour.images[1].astype(float), 1)
    np.testing.assert_allclose(luminance.images[1, 0], expected, atol=1)


def test_palette_masks_are_indices_not_colours(folders):
    images, masks = folders
    indices = np.array([[0, 1, 2, 255] * 2] * 6, np.uint8)
    mask = Image.fromarray(indices).convert("P")
    mask.putdata(indices.reshape(-1).tolist())
    palette = [0, 0, 0, 128, 0, 0, 0, 128, 0] + [0] * 750 + [224, 224, 192]
    mask.putpalette(palette[:768])
    mask.save(masks / "a.png")
    assert Image.open(masks / "a.png").mode == "P"
    dataset = load_segmentation_folders(images, masks, CLASSES, void_label=255)
    np.testing.assert_array_equal(dataset.labels[0], indices)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_palettes_of_few_bits_keep_their_indices(folders, bits):
    images, masks = folders
    indices = np.arange(48, dtype=np.uint8).reshape(6, 8) % min(3, 2**bits)
    mask = Image.fromarray(indices).convert("P")
    mask.putdata(indices.reshape(-1).tolist())
    mask.putpalette([9, 9, 9, 200, 0, 0, 0, 200, 0])
    mask.save(masks / "a.png", bits=bits)
    labels = load_segmentation_folders(images, masks, CLASSES).labels
    np.testing.assert_array_equal(labels[0], indices)


def grey_png(indices: np.ndarray, bits: int) -> bytes:
    """A grey PNG of 1, 2 or 4 bits, which Pillow reads but does not write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    height, width = indices.shape
    shifts = np.arange(bits - 1, -1, -1)
    lines = np.packbits((indices[..., None] >> shifts & 1).reshape(height, -1), axis=1)
    body = b"".join(b"\0" + line.tobytes() for line in lines)
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(body))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_masks_of_few_bits_are_not_spread_over_the_range(folders, bits):
    images, masks = folders
    indices = np.arange(48, dtype=np.uint8).reshape(6, 8) % min(3, 2**bits)
    (masks / "a.png").write_bytes(grey_png(indices, bits))
    labels = load_segmentation_folders(images, masks, CLASSES).labels
    np.testing.assert_array_equal(labels[0], indices)


def test_partners_match_by_stem(folders):
    images, masks = folders
    Image.open(images / "a.png").save(images / "a.jpg", quality=95)
    with pytest.raises(ValueError, match="one picture named a"):
        load_segmentation_folders(images, masks, CLASSES)
    (images / "a.png").unlink()
    (images / "notes.txt").write_text("not a picture")
    assert len(load_segmentation_folders(images, masks, CLASSES)) == 2


def test_a_mask_may_be_called_one(folders):
    images, masks = folders
    expected = load_segmentation_folders(images, masks, CLASSES).labels
    (masks / "b.png").rename(masks / "b_mask.png")
    np.testing.assert_array_equal(
        load_segmentation_folders(images, masks, CLASSES).labels, expected
    )
    Image.open(images / "b.png").save(images / "b_mask.png")  # whose mask is it then?
    with pytest.raises(FileNotFoundError, match=r"b\.png named b\.\*"):
        load_segmentation_folders(images, masks, CLASSES)


def save_mask(folder: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(folder / "b.png")


def drop_mask(images: Path, masks: Path) -> None:
    (masks / "b.png").unlink()


def drop_image(images: Path, masks: Path) -> None:
    (images / "b.png").unlink()


def drop_all_images(images: Path, masks: Path) -> None:
    for path in images.iterdir():
        path.unlink()


@pytest.mark.parametrize("damage", [drop_mask, drop_image, drop_all_images])
def test_missing_partners_are_named(folders, damage):
    damage(*folders)
    with pytest.raises(FileNotFoundError, match=r"b\.\*|empty folder: .*images"):
        load_segmentation_folders(*folders, CLASSES)


def test_missing_folders_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder: .*train"):
        load_segmentation_split(tmp_path, "train")


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((6, 8, 3), np.uint8), "class indices .*mode 'RGB'.*Turn colours"),
        (np.zeros((6, 8), np.uint16), "mode 'I;16'"),
        (np.zeros((3, 4), np.uint8), r"mask of 6x8 pixels like its picture .*got 3x4"),
        (np.full((6, 8), 3, np.uint8), r"0\.\.2 \(no void label\), got 3 at row 0, column 0"),
    ],
    ids=["coloured", "16-bit", "size", "value"],
)
def test_wrong_masks_are_named_in_one_line(folders, pixels, message):
    images, masks = folders
    save_mask(masks, pixels)
    with pytest.raises(ValueError, match=message) as caught:
        load_segmentation_folders(images, masks, CLASSES)
    assert str(masks / "b.png") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_lossy_masks_are_refused(folders):
    images, masks = folders
    Image.open(masks / "b.png").save(masks / "b.jpg")
    (masks / "b.png").unlink()
    with pytest.raises(ValueError, match=r"without loss, got JPEG.*b\.jpg"):
        load_segmentation_folders(images, masks, CLASSES)


def test_pictures_of_different_sizes_are_refused(folders):
    images, masks = folders
    Image.fromarray(np.zeros((7, 8, 3), np.uint8)).save(images / "b.png")
    save_mask(masks, np.zeros((7, 8), np.uint8))
    with pytest.raises(ValueError, match=r"6x8 pixels like .*a\.png, got 7x8: .*b\.png.*--crop"):
        load_segmentation_folders(images, masks, CLASSES)
    assert load_segmentation_folders(images, masks, CLASSES, crop=(6, 8)).labels.shape == (2, 6, 8)


def test_damaged_pictures_are_named(folders):
    images, masks = folders
    whole = (images / "b.png").read_bytes()
    (images / "b.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"Expected a picture, got .*b\.png"):
        load_segmentation_folders(images, masks, CLASSES)


def test_channels_other_than_grey_and_rgb_are_refused(folders):
    with pytest.raises(ValueError, match=r"channels 1 .* or 3 .*got 4"):
        load_segmentation_folders(*folders, CLASSES, channels=4)


def test_camvid_has_its_known_statistics():
    if not (SHARED / "camvid").is_dir():
        pytest.skip(f"no {SHARED / 'camvid'}")
    dataset = load_segmentation_split(SHARED / "camvid", "val")
    assert dataset.images.shape == (101, 3, 180, 240)
    assert (dataset.classes, dataset.void_label, dataset.name) == (11, 11, "camvid/val")
    counts = np.bincount(dataset.labels.reshape(-1))
    assert (counts[0], counts[3], counts[11]) == (398283, 1269605, 74417)
    mean, std = dataset.channel_statistics()
    np.testing.assert_allclose(mean, [0.3141, 0.3333, 0.3482], atol=1e-4)
    np.testing.assert_allclose(std, [0.2342, 0.2635, 0.2613], atol=1e-4)


def test_membrane_has_its_known_statistics():
    root = SHARED / "membrane" / "train"
    if not root.is_dir():
        pytest.skip(f"no {root}")
    dataset = load_segmentation_folders(
        root / "image", root / "label", ("membrane", "interior"), channels=1
    )
    assert dataset.images.shape == (24, 1, 256, 256)
    assert np.bincount(dataset.labels.reshape(-1)).tolist() == [354677, 1218187]
