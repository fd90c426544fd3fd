"""A folder for each class: which label a picture gets, and what cannot be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minigraph.data import load_class_folders


def save(path: Path, value: int, size: tuple[int, int] = (4, 6)) -> None:
    """A coloured picture of (height, width) pixels with red = `value`."""
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[..., 0] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Classes dog (3 pictures), ant (1) and cat (2), not made in order."""
    root = tmp_path / "pets"
    for place, value in [
        ("dog/b.png", 31), ("dog/a.png", 30), ("dog/c.bmp", 32), ("cat/z.PNG", 21),
        ("cat/y.png", 20), ("ant/q.png", 10),
    ]:  # fmt: skip
        save(root / place, value)
    (root / "dog" / "notes.txt").write_text("not a picture")
    (root / "README.md").write_text("not a class")
    (root / ".cache").mkdir()
    (root / "dog" / ".hidden.png").write_bytes(b"")
    return root


def test_classes_and_pictures_come_in_order_of_their_names(root):
    dataset = load_class_folders(root)
    assert (dataset.class_names, dataset.name) == (("ant", "cat", "dog"), "pets")
    assert dataset.images.shape == (6, 3, 4, 6) and not dataset.is_segmentation
    assert dataset.images[:, 0, 0, 0].tolist() == [10, 20, 21, 30, 31, 32]
    assert dataset.labels.tolist() == [0, 1, 1, 2, 2, 2]
    assert dataset.void_label is None


def test_given_names_decide_the_labels(root):
    names = ("dog", "bee", "cat", "ant")
    dataset = load_class_folders(root, names, name="mine")
    assert (dataset.class_names, dataset.name) == (names, "mine")
    found = dict(zip(dataset.images[:, 0, 0, 0].tolist(), dataset.labels.tolist(), strict=True))
    assert found == {30: 0, 31: 0, 32: 0, 20: 2, 21: 2, 10: 3}


def test_grey_is_luminance(root):
    dataset = load_class_folders(root, channels=1)
    assert dataset.images.shape == (6, 1, 4, 6)
    np.testing.assert_allclose(dataset.images[:, 0, 0, 0], 0.299 * np.r_[10, 20:22, 30:33], atol=1)


def test_sizes_must_agree_or_be_given(root):
    save(root / "dog" / "d.png", 77, (9, 5))
    with pytest.raises(ValueError, match=r"4x6 pixels like .*q\.png, got 9x5: .*d\.png.*size="):
        load_class_folders(root)
    dataset = load_class_folders(root, size=(8, 3))
    assert dataset.images.shape == (7, 3, 8, 3)
    assert (dataset.images[6] == np.array([77, 0, 0]).reshape(3, 1, 1)).all()


def test_resizing_is_pillows_bilinear(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    (tmp_path / "a").mkdir()
    Image.fromarray(pixels).save(tmp_path / "a" / "a.png")
    dataset = load_class_folders(tmp_path, size=(5, 12))
    resized = Image.fromarray(pixels).resize((12, 5), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(dataset.images[0], np.asarray(resized).transpose(2, 0, 1))


def test_damaged_pictures_are_named(root):
    (root / "cat" / "z.PNG").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ValueError, match=r"Expected a picture, got .*cat.z\.PNG"):
        load_class_folders(root)


def test_folders_without_pictures_are_named_unless_asked_for(root):
    (root / "bee").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty folder: .*bee"):
        load_class_folders(root)
    names = ("ant", "bee", "cat", "dog")
    assert load_class_folders(root, names).labels.tolist() == [0, 2, 2, 3, 3, 3]


@pytest.mark.parametrize(
    ("folder", "options", "error", "message"),
    [
        ("none", {}, FileNotFoundError, "no folder: .*none"),
        ("pets/ant", {}, FileNotFoundError, "folder for each class, got none: .*ant"),
        ("pets", {"class_names": ("ant", "cat")}, ValueError, r"\(ant, cat\), got another: .*dog"),
        ("pets", {"class_names": ("dog", "dog")}, ValueError, r"got 2 \(1 different\)"),
        ("pets", {"class_names": tuple(map(str, range(257)))}, ValueError, "up to 256 classes"),
        ("pets", {"size": (0, 4)}, ValueError, r"size as \(height, width\) .*got \(0, 4\)"),
        ("pets", {"channels": 4}, ValueError, "channels 1 .* or 3"),
    ],
)
def test_what_is_no_such_set_is_refused_in_one_line(root, folder, options, error, message):
    with pytest.raises(error, match=message) as caught:
        load_class_folders(root.parent / folder, **options)
    assert "\n" not in str(caught.value)


def test_no_pictures_at_all_are_refused(tmp_path):
    (tmp_path / "ant").mkdir()
    with pytest.raises(FileNotFoundError, match="folders named by class, got none"):
        load_class_folders(tmp_path, ("ant", "bee"))
