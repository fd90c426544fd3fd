"""``minigraph predict``: what it writes, and how it refuses."""

from __future__ import annotations

import csv
import shutil
from functools import partial
from pathlib import Path

import commands
import numpy as np
import pytest
from PIL import Image

import minigraph as mg
from minigraph import Tensor
from minigraph.model_card import ModelCard
from minigraph.models.unet import unet
from minigraph.prediction import Predictor
from minigraph.report import class_colours
from minigraph.training import LabelTask

CLASSES = ("sky", "road", "tree")


def save(path: Path, segmentation: bool, classes: int = 3, **card: object) -> None:
    def network(x: Tensor) -> Tensor:
        if segmentation:
            return unet(x, classes, base=2, depth=2)
        return mg.dense(mg.flatten(mg.max_pool2d(x, 4)), classes)

    task = LabelTask(network, [0.5] * 3, [0.25] * 3, 255)
    label = (1, 16, 16) if segmentation else (1,)
    exe = mg.compile(task, {"image": ((1, 3, 16, 16), "float32"), "label": (label, "int32")})
    names = CLASSES if classes == 3 else tuple(f"class {i}" for i in range(classes))
    fields = {
        "segmentation": segmentation, "class_names": names, "void_label": 255,
        "image_shape": (3, 16, 16), "dataset": "streets",
    }  # fmt: skip
    exe.save(path, metadata=ModelCard(**(fields | card)).to_metadata())  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save(folder / "segmentation.safetensors", True)
    save(folder / "classification.safetensors", False)
    save(folder / "many.safetensors", True, classes=40)
    save(folder / "wrong.safetensors", True, class_names=("sky", "road"))
    exe = mg.compile(lambda image: {"logits": image * 2.0}, {"image": "float32[1,3,16,16]"})
    exe.save(folder / "no-card.safetensors")
    (folder / "text.safetensors").write_text("not a model")
    (folder / "run").mkdir()
    shutil.copy(folder / "segmentation.safetensors", folder / "run" / "model.safetensors")
    (folder / "empty-run").mkdir()
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two pictures of odd sizes, one of one pixel, and one that is none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, size in (("a.png", (21, 34, 3)), ("b.jpg", (40, 19)), ("c.png", (1, 1, 3))):
        Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(folder / name)
    return folder


run, refused = (partial(command, "predict") for command in (commands.run, commands.refused))


def table(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_segmentation_writes_masks_overlays_and_shares(
    models: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    printed = run(models / "run", photos, "--output", out)
    assert "3 images done" in printed
    predictor = Predictor.load(models / "run" / "model.safetensors")
    rows = table(out / "classes.csv")
    assert rows[0] == ["image", "mask", *CLASSES]
    for row, name in zip(rows[1:], ("a.png", "b.jpg", "c.png"), strict=True):
        expected = predictor(photos / name)
        assert row[0] == str(photos / name)
        with Image.open(out / row[1]) as mask:
            assert mask.mode == "P"
            assert np.array_equal(np.asarray(mask), expected.labels)
            colours = np.asarray(mask.convert("RGB"))
        assert np.array_equal(colours, class_colours(3)[expected.labels])
        shares = [float(share) for share in row[2:]]
        assert shares == pytest.approx([(expected.labels == i).mean() for i in range(3)], abs=1e-6)
        with Image.open(out / "overlays" / Path(row[1]).name) as overlay:
            height, width = expected.labels.shape
            assert overlay.size[0] == max(width, 160)
            assert overlay.size[1] > height
            drawn = np.asarray(overlay)[:height, :width].astype(int)
        grey = np.asarray(Image.open(photos / name).convert("RGB").convert("L")).astype(int)
        half = (grey[..., None] + class_colours(3)[expected.labels]) / 2
        assert np.abs(drawn - half).max() <= 1


def test_tiles_and_no_overlay(models: Path, photos: Path, tmp_path: Path) -> None:
    model = models / "segmentation.safetensors"
    big = np.random.default_rng(1).integers(0, 256, (97, 130, 3), dtype=np.uint8)
    Image.fromarray(big).save(photos / "big.png")
    run(model, photos / "big.png", "--output", tmp_path / "whole")
    run(model, photos / "big.png", "--output", tmp_path / "tiled", "--tile", "64x72",
        "--no-overlay", "--threads", 1)  # fmt: skip
    whole, tiled = (
        np.asarray(Image.open(tmp_path / kind / "masks" / "big.png")) for kind in ("whole", "tiled")
    )
    assert (whole != tiled).mean() < 1e-3
    assert not (tmp_path / "tiled" / "overlays").exists()


def test_classification_writes_the_likeliest_classes(
    models: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    model = models / "classification.safetensors"
    printed = run(model, f"{photos}/*.png", "--output", out)
    rows = table(out / "predictions.csv")
    places = ("class_1", "probability_1", "class_2", "probability_2", "class_3", "probability_3")
    assert rows[0] == ["image", *places]
    assert [Path(row[0]).name for row in rows[1:]] == ["a.png", "c.png"]
    expected = Predictor.load(model)(photos / "a.png").top()
    assert rows[1][1::2] == [name for name, _ in expected]
    assert [float(p) for p in rows[1][2::2]] == pytest.approx([p for _, p in expected], abs=1e-6)
    assert f"a.png: {expected[0][0]}" in printed
    assert sorted(path.name for path in out.iterdir()) == ["predictions.csv"]


def test_names_that_collide_are_kept_apart(models: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "more").mkdir()
    for path in ("a.jpg", "more/a.png"):
        Image.open(photos / "a.png").save(photos / path)
    out = tmp_path / "out"
    run(models / "run", photos, photos / "more", "--output", out)
    masks = {path.stem for path in (out / "masks").iterdir()}
    assert masks == {"a-jpg", "photos-a-png", "more-a-png", "b", "c"}
    told = {row[0]: row[1] for row in table(out / "classes.csv")[1:]}
    assert told[str(photos / "more" / "a.png")] == "masks/more-a-png.png"


def test_nothing_is_overwritten_unless_asked(models: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(models / "run", photos / "a.png", "--output", out)
    before = (out / "classes.csv").read_bytes()
    told = refused(models / "run", photos, "--output", out)
    assert "classes.csv, which is there already (and 2 more)" in told
    assert "--force" in told
    assert (out / "classes.csv").read_bytes() == before
    assert not (out / "masks" / "b.png").exists()
    run(models / "run", photos, "--output", out, "--force")
    assert len(table(out / "classes.csv")) == 4


def test_unreadable_images_are_named_and_the_others_done(
    models: Path, photos: Path, tmp_path: Path
) -> None:
    whole = (photos / "a.png").read_bytes()
    (photos / "cut.png").write_bytes(whole[: len(whole) // 2])
    (photos / "text.jpg").write_text("no picture")
    Image.new("I;16", (4, 4)).save(photos / "deep.png")
    out = tmp_path / "out"
    told = refused(models / "run", photos, "--output", out)
    assert "Expected 6 images that can be predicted, got 3 that cannot" in told
    assert {path.name for path in (out / "masks").iterdir()} == {"a.png", "b.png", "c.png"}
    assert len(table(out / "classes.csv")) == 4
    printed = run(models / "run", photos, "--output", out, "--force", code=1)
    for name in ("cut.png", "text.jpg", "deep.png"):
        assert f"left out {photos / name}: " in printed


@pytest.mark.parametrize(
    ("model", "arguments", "told"),
    [
        ("text", ["a.png"], "Expected a safetensors file"),
        ("nowhere", ["a.png"], "nowhere.safetensors: Expected a file, got none"),
        ("no-card", ["a.png"], "no-card.safetensors: Expected a model with a model card"),
        ("wrong", ["a.png"], "2 classes of the model card"),
        ("segmentation", ["empty"], "got none: empty"),
        ("segmentation", ["*.tiff"], "got none: *.tiff"),
        ("segmentation", ["nobody.png"], "got none: nobody.png"),
        ("segmentation", ["a.png", "--tile", "big"], "--tile HEIGHTxWIDTH such as 176x240"),
        ("segmentation", ["a.png", "--tile", "8x8"], "Expected a tile of at least"),
        ("classification", ["a.png", "--backend", "abacus"], "abacus"),
    ],
)
def test_errors_are_one_line_with_the_way_out(
    models: Path, photos: Path, monkeypatch: pytest.MonkeyPatch,
    model: str, arguments: list[str], told: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(photos)
    (photos / "empty").mkdir()
    path = models / f"{model}.safetensors"
    assert told in refused(path, *arguments, "--output", "out")
    assert not (photos / "out" / "masks").exists()


def test_a_run_folder_without_a_model(models: Path, photos: Path, tmp_path: Path) -> None:
    told = refused(models / "empty-run", photos, "--output", tmp_path / "out")
    assert "model.safetensors: Expected a file, got none" in told


def test_an_output_that_cannot_be_written_to(models: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told = refused(models / "run", photos, "--output", tmp_path / "file" / "out")
    assert "file" in told


def test_more_classes_than_chosen_colours(models: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(models / "many.safetensors", photos / "a.png", "--output", out)
    labels = Predictor.load(models / "many.safetensors")(photos / "a.png").labels
    with Image.open(out / "masks" / "a.png") as mask:
        assert np.array_equal(np.asarray(mask), labels)
        assert np.array_equal(np.asarray(mask.convert("RGB")), class_colours(40)[labels])
    assert (out / "overlays" / "a.png").is_file()
    assert {len(row) for row in table(out / "classes.csv")} == {42}


def test_a_mask_that_cannot_be_written_leaves_the_others(
    models: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / "masks" / "b.png").mkdir(parents=True)
    printed = run(models / "run", photos, "--output", out, "--force", code=1)
    assert "2 images done" in printed and f"left out {photos / 'b.jpg'}: " in printed
    rows = table(out / "classes.csv")
    assert [row[1] for row in rows[1:]] == ["masks/a.png", "masks/c.png"]


@pytest.mark.parametrize("segmentation", [True, False])
def test_formulas_in_names_are_text(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, segmentation: bool
) -> None:
    monkeypatch.chdir(photos)
    (photos / "a.png").rename(photos / "=a.png")
    save(tmp_path / "m.safetensors", segmentation, class_names=("=1+1", "@b", "-c"))
    run(tmp_path / "m.safetensors", "=a.png", "--output", tmp_path / "out")
    (written,) = (tmp_path / "out").glob("*.csv")
    head, row = table(written)
    assert row[0] == "'=a.png" and len(row) == len(head)
    assert {"'=1+1", "'@b", "'-c"} <= {*head, *row}
