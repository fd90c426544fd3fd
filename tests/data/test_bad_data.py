"""A table of bad data: each is refused in one line that names the file, opened or fetched."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from data_folders import class_folder, mask, mask_folder, picture, save
from PIL import Image, ImageFile

from minigraph.data import open_dataset

NAMES = ("ground", "thing", "other")
Damage = Callable[[Path], Path]
"""Spoils the file, or puts another in its place; gives the path that the error has to name."""


def png(width: int, height: int, bits: int, colour_type: int, body: bytes = b"") -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(body))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def content(make: Callable[[Path], bytes]) -> Damage:
    def damage(path: Path) -> Path:
        path.write_bytes(make(path))
        return path

    return damage


def pixels(make: Callable[[], np.ndarray]) -> Damage:
    return lambda path: save(path, make())


def renamed(ending: str, image: Callable[[], Image.Image]) -> Damage:
    def damage(path: Path) -> Path:
        path.unlink()
        image().save(path.with_suffix(ending))
        return path.with_suffix(ending)

    return damage


def folder_instead(path: Path) -> Path:
    path.unlink()
    path.mkdir()
    return path


def locked(path: Path) -> Path:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    path.chmod(0)
    return path


def label_at(row: int, column: int, value: int) -> np.ndarray:
    labels = mask(1)
    labels[row, column] = value
    return labels


ANY_FILE: dict[str, tuple[Damage, str]] = {
    "empty": (content(lambda path: b""), "cannot identify"),
    "text": (content(lambda path: b"not a picture\n" * 9), "cannot identify"),
    "cut in the header": (content(lambda path: path.read_bytes()[:20]), "Expected a picture"),
    "cut in the pixels": (content(lambda path: path.read_bytes()[:70]), "Expected a picture"),
    "pixels damaged": (
        content(lambda path: path.read_bytes()[:50] + b"\xff" * 9 + path.read_bytes()[59:]),
        "Expected a picture",
    ),
    "16 bits, grey": (pixels(lambda: np.zeros((6, 8), np.uint16)), "mode 'I;16'"),
    "floats": (renamed(".tif", lambda: Image.new("F", (8, 6))), "mode 'F'"),
    "bomb that Pillow knows": (content(lambda path: png(50_000, 50_000, 8, 2)), "exceeds limit"),
    "bomb of 81 million pixels": (
        content(lambda path: png(9_000, 9_000, 8, 2)), "67,108,864 pixels, .*9000x9000",
    ),
    "a folder": (folder_instead, "Expected a picture"),
    "not to be read": (locked, "Permission"),
}  # fmt: skip

IMAGES: dict[str, tuple[Damage, str]] = {
    **ANY_FILE,
    "16 bits, coloured": (
        content(lambda path: png(8, 6, 16, 2, (b"\0" + bytes(48)) * 6)), "8 bits a channel, got 16",
    ),
    "CMYK": (renamed(".jpg", lambda: Image.new("CMYK", (8, 6))), "mode 'CMYK'"),
    "another size": (pixels(lambda: picture(1, (6, 9))), "got 6x9"),
    "grey among coloured": (pixels(lambda: picture(1, channels=1)), "got a grey one"),
}  # fmt: skip

MASKS: dict[str, tuple[Damage, str]] = {
    **ANY_FILE,
    "another size": (pixels(lambda: mask(1, (6, 9))), "6x8 pixels like its picture"),
    "coloured": (pixels(lambda: picture(1)), "mode 'RGB'.*Turn colours"),
    "JPEG": (renamed(".jpg", lambda: Image.fromarray(mask(1))), "without loss, got JPEG"),
    "JPEG called png": (
        lambda path: (Image.fromarray(mask(1)).save(path, format="JPEG"), path)[1],
        "without loss, got JPEG",
    ),
    "no such label": (pixels(lambda: label_at(2, 5, 3)), "got 3 at row 2, column 5"),
    "void that is not the set's": (
        pixels(lambda: label_at(4, 0, 254)), r"\(void 255\), got 254 at row 4, column 0",
    ),
}  # fmt: skip


def refused(call: Callable[[], object], path: Path, message: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with pytest.raises((ValueError, OSError), match=message) as caught:
            call()
    text = str(caught.value)
    assert str(path) in text and "\n" not in text and text.startswith("Expected")


def options(budget: int) -> dict[str, object]:
    return {"class_names": NAMES, "void_label": 255, "memory_budget": budget}


@pytest.mark.parametrize(
    ("folder", "damage", "message"),
    [pytest.param("images", *case, id=f"image: {name}") for name, case in IMAGES.items()]
    + [pytest.param("masks", *case, id=f"mask: {name}") for name, case in MASKS.items()],
)
def test_bad_files_beside_masks_are_named(tmp_path, folder, damage, message):
    mask_folder(tmp_path, 3)
    before = open_dataset(tmp_path, **options(0))
    path = damage(tmp_path / folder / "01.png")
    refused(lambda: open_dataset(tmp_path, **options(2**30)), path, message)
    # Opened before: the file is read, and refused, when it is fetched. The others are not touched.
    before[0].fetch([0])
    if path.suffix == ".png" and "grey one" not in message:  # any channels become the set's
        message = message.replace("like its picture", "like")
        refused(lambda: before[0].fetch([0, 1]), path, message)


@pytest.mark.parametrize(
    ("damage", "message"), [pytest.param(*case, id=name) for name, case in IMAGES.items()]
)
def test_bad_files_in_class_folders_are_named(tmp_path, damage, message):
    class_folder(tmp_path, {"ant": 3, "bee": 3})
    path = damage(tmp_path / "ant" / "01.png")
    refused(lambda: open_dataset(tmp_path), path, message)


@pytest.mark.parametrize("bomb", [(50_000, 50_000), (9_000, 9_000)])
@pytest.mark.parametrize("folder", ["images", "masks"])
def test_files_that_claim_to_be_huge_are_never_decoded(tmp_path, monkeypatch, folder, bomb):
    def load(image):
        raise AssertionError(f"decoded {image.size}")

    mask_folder(tmp_path, 3)
    before = open_dataset(tmp_path, size=(6, 8), **options(0))
    path = tmp_path / folder / "01.png"
    path.write_bytes(png(*bomb, 8, 2 if folder == "images" else 0))
    with monkeypatch.context() as patched:
        patched.setattr(ImageFile.ImageFile, "load", load)
        refused(lambda: open_dataset(tmp_path, size=(6, 8), **options(0)), path, "Expected a pict")
        fetch = before[0].fetch if folder == "images" else before[0].fetch_labels
        refused(lambda: fetch([1]), path, "Expected a picture")


def make_empty(root: Path, folder: str) -> None:
    for path in (root / folder).iterdir():
        path.unlink()


def add_twin(root: Path) -> None:
    Image.fromarray(picture(9)).save(root / "images" / "01.bmp")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: make_empty(root, "images"), r"empty folder: .*images"),
        (lambda root: make_empty(root, "masks"), r"partner of .*00\.png .*masks, got none"),
        (lambda root: (root / "masks" / "01.png").unlink(), r"partner of .*images.01\.png"),
        (lambda root: (root / "images" / "01.png").unlink(), r"partner of .*masks.01\.png"),
        (add_twin, r"one picture named 01, got 01\.bmp and 01\.png: .*images"),
    ],
    ids=["no images", "no masks", "no mask", "no image", "two of a name"],
)
def test_files_without_partners_are_named(tmp_path, damage, message):
    mask_folder(tmp_path, 3)
    damage(tmp_path)
    with pytest.raises((ValueError, OSError), match=message) as caught:
        open_dataset(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("counts", "options", "message"),
    [
        ({"train/a": 2, "train/b": 2, "val/c": 1}, {}, r"\(a, b\), got another: .*val.c"),
        ({"a": 2, "b": 2}, {"class_names": ["a"]}, r"\(a\), got another: .*b"),
        ({"a": 2, "b": 2}, {"class_names": ["a", "b", "b"]}, r"got 3 \(2 different\)"),
    ],
)
def test_classes_that_do_not_agree_are_named(tmp_path, counts, options, message):
    with pytest.raises(ValueError, match=message):
        open_dataset(class_folder(tmp_path, counts), **options)


def test_files_that_are_no_pictures_by_name_are_passed_over(tmp_path):
    mask_folder(tmp_path, 3)
    for folder in ("images", "masks"):
        (tmp_path / folder / "Thumbs.db").write_bytes(b"\0")
        (tmp_path / folder / "._00.png").write_bytes(b"\0")
    assert sum(map(len, open_dataset(tmp_path))) == 3


def test_spoilt_bytes_never_reach_the_depths(tmp_path):
    """Random damage: either the pictures are read, or one line names the file."""
    mask_folder(tmp_path, 2)
    rng = np.random.default_rng(5)
    refusals = 0
    for ending in (".png", ".jpg", ".gif", ".bmp", ".tif", ".ppm"):
        path = (tmp_path / "images" / "00.png").with_suffix(ending)
        (tmp_path / "images" / "00.png").unlink(missing_ok=True)
        Image.fromarray(picture(0)).save(path)
        whole = path.read_bytes()
        for _ in range(40):
            spoilt = bytearray(whole)
            for place in rng.integers(0, len(whole), 6):
                spoilt[place] = rng.integers(256)
            path.write_bytes(bytes(spoilt[: rng.integers(8, len(whole) + 1)]))
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    open_dataset(tmp_path, channels=3, class_names=NAMES, size=(6, 8))
            except (ValueError, OSError) as error:
                refusals += 1
                assert str(path) in str(error) and "\n" not in str(error)
        path.unlink()
    assert refusals > 60
