"""What a folder is taken for: layouts, classes, void, channels, and what is held out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_folders import class_folder, mask, mask_folder, picture, save

from minigraph.data import ArrayDataset, FileDataset, check_dataset, open_dataset
from minigraph.data.layouts import LAYOUTS, find_layout
from minigraph.data.mask_folders import IMAGE_FOLDERS, MASK_FOLDERS

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


@pytest.mark.parametrize("images", [*IMAGE_FOLDERS, "Images"])
@pytest.mark.parametrize("masks", [*MASK_FOLDERS, "Masks"])
def test_masks_are_found_beside_images_however_the_folders_are_called(tmp_path, images, masks):
    mask_folder(tmp_path, 3, (images, masks))
    assert find_layout(tmp_path).name == "images with masks"
    train, held = open_dataset(tmp_path)
    assert (len(train), len(held)) == (2, 1)


@pytest.mark.parametrize("held", ["val", "valid", "validation", "test"])
@pytest.mark.parametrize("inner", [True, False], ids=["part/images", "images/part"])
def test_parts_lie_in_or_above_the_folders(tmp_path, held, inner):
    for part, count in (("train", 3), (held, 2)):
        places = (
            (f"{part}/images", f"{part}/masks") if inner else (f"images/{part}", f"masks/{part}")
        )
        mask_folder(tmp_path, count, places)
    train, validation = open_dataset(tmp_path)
    assert (len(train), len(validation)) == (3, 2)
    assert validation.name == f"{tmp_path.name}/{held}"
    with pytest.raises(ValueError, match=rf"Expected no held_out .*=0\.5: .*{held}"):
        open_dataset(tmp_path, held_out=0.5)


def test_of_several_held_out_parts_the_first_known_name_is_taken(tmp_path):
    for part in ("train", "test", "validation", "valid"):
        mask_folder(tmp_path, 2, (f"{part}/images", f"{part}/masks"))
    assert open_dataset(tmp_path)[1].name == f"{tmp_path.name}/valid"


@pytest.mark.parametrize(
    ("count", "held_out", "expected"), [(10, None, 2), (24, 0.2, 5), (3, 0.01, 1), (3, 0.99, 2)]
)
def test_the_last_block_of_the_file_names_is_held_out(tmp_path, count, held_out, expected):
    mask_folder(tmp_path / "cells", count)
    train, held = open_dataset(tmp_path / "cells", held_out=held_out)
    assert (len(train), len(held)) == (count - expected, expected)
    np.testing.assert_array_equal(held.fetch([0])[1][0], mask(count - expected))
    np.testing.assert_array_equal(train.fetch([-1])[1][0], mask(count - expected - 1))
    assert train.name == f"cells (first {count - expected} of {count})"
    assert held.name == f"cells (last {expected} of {count})"


def test_the_last_share_of_every_class_is_held_out(tmp_path):
    class_folder(tmp_path / "pets", {"ant": 5, "bee": 1, "cat": 10})
    train, held = open_dataset(tmp_path / "pets")
    assert train.class_names == held.class_names == ("ant", "bee", "cat")
    assert np.bincount(train.fetch_labels(slice(None))).tolist() == [4, 1, 8]
    images, labels = held.fetch(slice(None))
    assert labels.tolist() == [0, 2, 2]
    for image, seed in zip(images, [4, 208, 209], strict=True):
        np.testing.assert_array_equal(image, picture(seed).transpose(2, 0, 1))
    assert held.name == "pets (last 3 of 16, by class)"
    class_folder(tmp_path / "two", {"train/ant": 4, "train/bee": 4})  # no val
    train, held = open_dataset(tmp_path / "two", held_out=0.5)
    assert train.class_names == ("ant", "bee") and (len(train), len(held)) == (4, 4)


@pytest.mark.parametrize("held_out", [0.0, 1.0, -0.1, 2, float("nan")])
def test_shares_that_are_none_are_refused(tmp_path, held_out):
    mask_folder(tmp_path / "a", 3)
    class_folder(tmp_path / "b", {"x": 2, "y": 2})
    for name in "ab":
        with pytest.raises(ValueError, match="held_out as a share between 0 and 1"):
            open_dataset(tmp_path / name, held_out=held_out)


def test_too_few_to_divide_are_refused(tmp_path):
    mask_folder(tmp_path / "a", 1)
    class_folder(tmp_path / "b", {"x": 1, "y": 1})
    with pytest.raises(ValueError, match="2 pictures or more to hold some out, got 1"):
        open_dataset(tmp_path / "a")
    with pytest.raises(ValueError, match="class of 2 pictures or more"):
        open_dataset(tmp_path / "b")


def test_a_class_called_train_is_a_class(tmp_path):
    class_folder(tmp_path, {"plane": 2, "train": 2})
    train, _ = open_dataset(tmp_path)
    assert train.class_names == ("plane", "train")


def test_classes_are_found_in_masks_of_both_parts(tmp_path):
    mask_folder(tmp_path, 4)
    labels = mask(3)
    labels[0, 0], labels[5, 5] = 4, 255
    save(tmp_path / "masks" / "03.png", labels)
    train, held = open_dataset(tmp_path)
    assert train.class_names == held.class_names == tuple(f"class {i}" for i in range(5))
    assert train.void_label == held.void_label == 255
    save(tmp_path / "masks" / "03.png", np.minimum(labels, 4))
    train, _ = open_dataset(tmp_path, void_label=4)
    assert (train.classes, train.void_label) == (3, 4)


def test_classes_are_listed_in_a_file_or_given(tmp_path):
    mask_folder(tmp_path, 3)
    (tmp_path / "classes.txt").write_text("road\n sky \n\nörtchen\n", encoding="utf-8")
    train, _ = open_dataset(tmp_path)
    assert (train.class_names, train.void_label) == (("road", "sky", "örtchen"), None)
    train, _ = open_dataset(tmp_path, class_names=["a", "b", "c", "d"], void_label=9)
    assert (train.class_names, train.void_label) == (("a", "b", "c", "d"), 9)
    train, _ = open_dataset(tmp_path, class_names=["a", "b"], void_label=2)
    assert (train.classes, train.void_label) == (2, 2)
    (tmp_path / "classes.txt").write_text("road\nsky\n")
    with pytest.raises(ValueError, match=r"0\.\.1 \(no void label\), got 2 at row .*00\.png"):
        open_dataset(tmp_path)


def test_class_lists_order_class_folders(tmp_path):
    class_folder(tmp_path, {"ant": 2, "bee": 2})
    (tmp_path / "classes.txt").write_text("bee\nant")
    train, _ = open_dataset(tmp_path)
    assert train.class_names == ("bee", "ant")
    images, labels = train.fetch([0])
    assert labels.tolist() == [0]
    np.testing.assert_array_equal(images[0], picture(100).transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"a\nb\na\n", r"got 3 names \(2 different\)"), (b"\n", "got 0 names"), (b"\xff", "UTF-8")],
)
def test_bad_class_lists_are_named(tmp_path, content, message):
    mask_folder(tmp_path, 2)
    (tmp_path / "classes.txt").write_bytes(content)
    with pytest.raises(ValueError, match=rf"{message}.*classes\.txt"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            [0, 255],
            "none but 0 and 255: .*Write 1 for 255 .*or pass void_label=255",
        ),
        (
            [0, 80, 200],
            r"class indices 0, 1, \.\.\. in the masks, got 0, 80, 200: .*all 201 classes",
        ),
        ([255], "none but 0 and 255"),
    ],
)
def test_masks_that_are_no_indices_are_refused(tmp_path, labels, message):
    for index in range(3):
        save(tmp_path / "images" / f"{index}.png", picture(index))
        choice = np.array(labels, np.uint8)[mask(index, classes=len(labels))]
        save(tmp_path / "masks" / f"{index}.png", choice)
    with pytest.raises(ValueError, match=message):
        open_dataset(tmp_path)


def test_void_that_is_meant_is_taken(tmp_path):
    for index in range(3):
        save(tmp_path / "images" / f"{index}.png", picture(index))
        save(tmp_path / "masks" / f"{index}.png", mask(index, classes=2) * np.uint8(255))
    with pytest.raises(ValueError, match=r"or pass void_label=255 if nobody labelled it$"):
        open_dataset(tmp_path, class_names=["a", "b"])
    assert open_dataset(tmp_path, void_label=255)[0].class_names == ("class 0",)
    train, _ = open_dataset(tmp_path, class_names=["a", "b"], void_label=255)
    assert set(np.unique(train.fetch_labels(slice(None))).tolist()) == {0, 255}


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_are_those_of_the_pictures_unless_given(tmp_path, channels):
    for index in range(3):
        save(tmp_path / "images" / f"{index}.png", picture(index, channels=channels))
        save(tmp_path / "masks" / f"{index}.png", mask(index))
    assert [part.image_shape[0] for part in open_dataset(tmp_path)] == [channels] * 2
    for wanted in (1, 3):
        assert open_dataset(tmp_path, channels=wanted)[0].image_shape[0] == wanted
    save(tmp_path / "images" / "2.png", picture(2, channels=4 - channels))
    with pytest.raises(ValueError, match=r"like .*0\.png, got a .*: .*2\.png\. Pass channels"):
        open_dataset(tmp_path)
    assert open_dataset(tmp_path, channels=3)[1].image_shape == (3, 6, 8)
    with pytest.raises(ValueError, match=r"channels 1 .* or 3 .*got 2"):
        open_dataset(tmp_path, channels=2)


def test_the_budget_decides_whether_pictures_are_kept(tmp_path):
    mask_folder(tmp_path, 5)
    whole = 5 * 48 * 4
    kept = open_dataset(tmp_path, memory_budget=whole)
    streamed = open_dataset(tmp_path, memory_budget=whole - 1)
    assert all(isinstance(part, ArrayDataset) for part in kept)
    assert all(isinstance(part, FileDataset) for part in streamed)
    for ours, theirs in zip(streamed, kept, strict=True):
        for a, b in zip(ours.fetch(slice(None)), theirs.fetch(slice(None)), strict=True):
            np.testing.assert_array_equal(a, b)


def test_frames_make_sizes_alike_and_bring_void(tmp_path):
    mask_folder(tmp_path, 3)
    save(tmp_path / "images" / "01.png", picture(1, (12, 4)))
    save(tmp_path / "masks" / "01.png", mask(1, (12, 4)))
    with pytest.raises(ValueError, match=r"6x8 pixels like .*got 12x4: .*01\.png.*--size"):
        open_dataset(tmp_path)
    train, held = open_dataset(tmp_path, size=(6, 8))
    assert train.image_shape == held.image_shape == (3, 6, 8)
    assert train.void_label == 255
    assert (train.fetch_labels([1])[0, :, 2:] == 255).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"void_label": 3}, "Expected no void_label for class folders, got void_label=3"),
        ({"crop": (2, 2)}, r"no crop for class folders, got crop=\(2, 2\)"),
        ({"size": (0, 2)}, r"size as \(height, width\)"),
    ],
)
def test_options_that_do_not_apply_are_refused(tmp_path, options, message):
    class_folder(tmp_path, {"a": 2, "b": 2})
    with pytest.raises(ValueError, match=message):
        open_dataset(tmp_path, **options)


def test_two_folders_of_one_kind_are_refused(tmp_path):
    mask_folder(tmp_path, 2)
    (tmp_path / "labels").mkdir()
    with pytest.raises(ValueError, match=r"one folder of its kind, got .*labels and .*masks"):
        open_dataset(tmp_path)


def test_a_held_out_part_without_masks_is_named(tmp_path):
    mask_folder(tmp_path, 2, ("train/images", "train/masks"))
    save(tmp_path / "val" / "images" / "0.png", picture(0))
    with pytest.raises(FileNotFoundError, match=r"as in .*train, got none: .*val"):
        open_dataset(tmp_path)


def test_options_of_generated_shapes(tmp_path):
    train, held = open_dataset("shapes", size=(32, 40))
    assert (train.image_shape, len(train), len(held)) == ((3, 32, 40), 1000, 200)
    with pytest.raises(ValueError, match="no channels for the generated shapes"):
        open_dataset("shapes", channels=1)


def test_checking_tells_everything_at_once(tmp_path):
    mask_folder(tmp_path, 8)
    (tmp_path / "masks" / "01.png").unlink()
    (tmp_path / "images" / "02.png").write_bytes(b"no picture")
    save(tmp_path / "masks" / "03.png", mask(3, (5, 8)))
    spoilt = tmp_path / "images" / "04.png"
    spoilt.write_bytes(spoilt.read_bytes()[:70])
    labels = mask(5)
    labels[3, 4] = 9
    save(tmp_path / "masks" / "05.png", labels)
    problems = check_dataset(tmp_path, class_names=["a", "b", "c"], void_label=255)
    assert [line for line in problems if "\n" in line] == []
    for number, text in (
        (1, "partner"),
        (2, "identify"),
        (3, "5x8"),
        (4, ""),
        (5, "row 3, column 4"),
    ):
        (line,) = [line for line in problems if f"0{number}.png" in line]
        assert text in line
    assert len(problems) == 5
    assert check_dataset(mask_folder(tmp_path / "good", 3)) == []
    assert len(check_dataset(tmp_path / "good", held_out=7)) == 1


def test_membrane_holds_out_its_last_slices():
    if not (SHARED / "membrane").is_dir():
        pytest.skip(f"no {SHARED / 'membrane'}")
    train, held = open_dataset(SHARED / "membrane")
    assert train.image_shape == held.image_shape == (1, 256, 256)
    assert (len(train), len(held), train.void_label, train.classes) == (19, 5, None, 2)
    assert held.name == "membrane/train (last 5 of 24)"
    total = np.bincount(train.labels.reshape(-1)) + np.bincount(held.labels.reshape(-1))
    assert total.tolist() == [354677, 1218187]


def test_every_layout_says_what_it_is():
    assert len({layout.name for layout in LAYOUTS}) == len(LAYOUTS)
    assert all(layout.files for layout in LAYOUTS)


def test_camvid_by_other_names_keeps_its_void(tmp_path):
    labels = np.arange(12, dtype=np.uint8).repeat(4).reshape(6, 8)
    for part in ("train", "val"):
        save(tmp_path / part / "a.png", picture(0))
        save(tmp_path / f"{part}annot" / "a.png", labels)
    names = tuple("abcdefghijk")
    train, _ = open_dataset(tmp_path, class_names=names)
    assert (train.class_names, train.void_label) == (names, 11)
    train, _ = open_dataset(tmp_path, class_names=(*names, "l"))
    assert (train.classes, train.void_label) == (12, None)
    (tmp_path / "valannot" / "a.png").unlink()
    (tmp_path / "valannot").rmdir()
    with pytest.raises(FileNotFoundError, match=r"no folder: .*valannot"):
        open_dataset(tmp_path)


def test_camvid_without_a_held_out_part_is_divided(tmp_path):
    mask_folder(tmp_path, 5, ("train", "trainannot"))
    train, held = open_dataset(tmp_path)
    assert (len(train), len(held), train.classes, train.void_label) == (4, 1, 11, 11)


def test_the_folder_that_one_is_in_is_called_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(mask_folder(tmp_path / "cells", 3))
    train, _ = open_dataset(".")
    assert train.name == "cells (first 2 of 3)"
    assert "array" not in repr(train) and train.name in repr(train)
