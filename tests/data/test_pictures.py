"""Single files: which formats are tried at all, and which way up pictures are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_folders import class_folder, mask_folder, picture
from PIL import EpsImagePlugin, Image

from minigraph.data import open_dataset
from minigraph.data.pictures import open_image, read_header, read_image

# The EXIF standard's table: where row 0 and column 0 of the stored pixels are to be seen.
SEEN = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: stored.swapaxes(0, 1)[:, ::-1],
    7: lambda stored: stored.swapaxes(0, 1)[::-1, ::-1],
    8: lambda stored: stored.swapaxes(0, 1)[::-1],
}


def save_turned(path: Path, pixels: np.ndarray, orientation: int) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return path


@pytest.mark.parametrize("ending", [".png", ".tif"])
@pytest.mark.parametrize("orientation", SEEN)
def test_pictures_are_read_as_exif_says_they_are_seen(tmp_path, orientation, ending):
    path = save_turned(tmp_path / f"a{ending}", picture(1), orientation)
    seen = SEEN[orientation](picture(1))
    assert read_header(path).size == seen.shape[:2]
    np.testing.assert_array_equal(read_image(path, 3), seen.transpose(2, 0, 1))
    assert open_image(path).getexif().get(0x0112, 1) == 1  # nobody turns it once more


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_orientations_that_do_not_exist_are_passed_over(tmp_path, orientation):
    path = save_turned(tmp_path / "a.png", picture(1), orientation)
    assert read_header(path).orientation == 1
    np.testing.assert_array_equal(read_image(path, 3), picture(1).transpose(2, 0, 1))


def test_damaged_exif_is_passed_over(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(picture(1)).save(path, exif=b"Exif\0\0no such thing")
    np.testing.assert_array_equal(read_image(path, 3), picture(1).transpose(2, 0, 1))


def test_headers_are_read_without_the_pixels(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    Image.fromarray(picture(1)).save(path)
    monkeypatch.setattr(Image.Image, "load", None)
    assert read_header(path).size == (6, 8)


@pytest.mark.parametrize("budget", [0, 2**30])
def test_class_folders_turn_their_pictures(tmp_path, budget):
    class_folder(tmp_path, {"ant": 3, "bee": 3})
    stored = np.ascontiguousarray(picture(1).swapaxes(0, 1))  # 8x6, seen as 6x8 like the others
    save_turned(tmp_path / "ant" / "00.png", stored, 6)
    train, _ = open_dataset(tmp_path, memory_budget=budget)
    np.testing.assert_array_equal(train.fetch([0])[0][0], picture(1)[:, ::-1].transpose(2, 0, 1))


@pytest.mark.parametrize("orientation", [3, 6])
@pytest.mark.parametrize("folder", ["images", "masks"])
@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_pictures_with_masks_have_to_be_stored_upright(tmp_path, folder, orientation, ending):
    mask_folder(tmp_path, 3)
    path = tmp_path / folder / "01.png"
    pixels = np.asarray(Image.open(path))
    path.unlink()
    path = save_turned(path.with_suffix(ending), pixels, orientation)
    message = rf"upright, got EXIF orientation {orientation}: "
    with pytest.raises(ValueError, match=message) as caught:
        open_dataset(tmp_path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_postscript_never_reaches_its_interpreter(tmp_path, monkeypatch):
    def run(*arguments: object) -> None:
        raise AssertionError("started Ghostscript")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", run)
    class_folder(tmp_path, {"ant": 3, "bee": 3})
    path = tmp_path / "ant" / "01.png"
    Image.fromarray(picture(1)).save(path, format="EPS")
    for read in (read_header, open_image, lambda path: open_dataset(tmp_path)):
        with pytest.raises(
            ValueError, match=r"cannot identify.*can be read is PNG, JPEG"
        ) as caught:
            read(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_several_pictures_in_one_jpeg_give_the_first(tmp_path):
    path = tmp_path / "a.jpg"
    first, second = (Image.fromarray(np.full((8, 8, 3), grey, np.uint8)) for grey in (40, 200))
    first.save(path, format="MPO", save_all=True, append_images=[second])
    assert read_header(path).file_format == "MPO"
    assert abs(int(read_image(path, 1)[0, 4, 4]) - 40) <= 2
