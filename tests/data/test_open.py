"""What a folder is taken for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minigraph.data import CAMVID_CLASSES, VOC_CLASSES
from minigraph.data.open import check_dataset, open_dataset


def save(path: Path, size: tuple[int, int] = (4, 6), channels: int = 3) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = size if channels == 1 else (*size, channels)
    Image.fromarray(np.zeros(shape, np.uint8)).save(path)


@pytest.mark.parametrize("held_out", ["val", "valid", "validation", "test"])
def test_class_folders_share_the_training_sets_classes(tmp_path, held_out):
    for place in ("train/ant/a.png", "train/bee/b.png", f"{held_out}/bee/c.png"):
        save(tmp_path / place)
    train, validation = open_dataset(str(tmp_path))
    assert train.class_names == validation.class_names == ("ant", "bee")
    assert (train.labels.tolist(), validation.labels.tolist()) == ([0, 1], [1])
    assert validation.name == f"{tmp_path.name}/{held_out}"
    save(tmp_path / held_out / "bee" / "c.png", (5, 5))
    with pytest.raises(ValueError, match=rf"4x6 pixels like .*train.*, got 5x5: .*{held_out}"):
        open_dataset(str(tmp_path))
    parts = open_dataset(str(tmp_path), size=(3, 3))
    assert [part.image_shape for part in parts] == [(3, 3, 3)] * 2
    with pytest.raises(ValueError, match=r"Expected no crop for class folders, got crop=\(3, 3\)"):
        open_dataset(str(tmp_path), crop=(3, 3))


def test_voc_and_camvid_are_told_apart(tmp_path):
    voc, camvid = tmp_path / "VOC2012", tmp_path / "camvid"
    for split in ("train", "val"):
        save(voc / "JPEGImages" / f"{split}.jpg")
        save(voc / "SegmentationClass" / f"{split}.png", channels=1)
        (voc / "ImageSets" / "Segmentation").mkdir(parents=True, exist_ok=True)
        (voc / "ImageSets" / "Segmentation" / f"{split}.txt").write_text(split)
        save(camvid / split / "a.png")
        save(camvid / f"{split}annot" / "a.png", channels=1)
    parts = open_dataset(str(voc), size=(8, 8))
    assert [part.name for part in parts] == ["VOC2012/train", "VOC2012/val"]
    assert all(part.class_names == VOC_CLASSES for part in parts)
    parts = open_dataset(str(camvid), crop=(4, 4))
    assert all(part.class_names == CAMVID_CLASSES for part in parts)
    assert parts[0].image_shape == (3, 4, 4)


def test_other_folders_are_refused_with_what_was_looked_for(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"IDX files, Pascal VOC 2012, CamVid, images with masks, class"
    ):
        open_dataset(str(tmp_path))


def test_shapes_is_refused_where_a_folder_has_that_name_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert check_dataset("shapes") == []
    for place in ("ant/a.png", "ant/b.png"):
        save(tmp_path / "shapes" / place)
    for call in (open_dataset, check_dataset):
        with pytest.raises(ValueError, match=r"and a folder .*shapes: write \./shapes"):
            call("shapes")
    for folder in ("./shapes", Path("shapes")):
        assert open_dataset(folder)[0].class_names == ("ant",)
