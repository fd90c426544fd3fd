"""`minigraph datasets`: what it lists, how it describes a set, what it finds wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_folders import class_folder, mask, mask_folder, save
from typer.testing import CliRunner

import minigraph.cli.datasets as module
from minigraph.cli.main import app
from minigraph.data import median_frequency_weights, open_dataset
from minigraph.data.download import CACHE_VARIABLE, DOWNLOADS
from minigraph.data.layouts import LAYOUTS

RUNNER = CliRunner()


def run(*arguments: object) -> str:
    result = RUNNER.invoke(app, ["datasets", *map(str, arguments)])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def refused(*arguments: object) -> str:
    result = RUNNER.invoke(app, ["datasets", *map(str, arguments)])
    assert result.exit_code == 1
    assert isinstance(result.exception, ValueError | OSError), result.exception
    return str(result.exception)


def test_the_list_has_everything_that_can_be_opened(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    output = run()
    for name in ("shapes", *DOWNLOADS, *(layout.name for layout in LAYOUTS)):
        assert name in output
    assert str(tmp_path) in output
    assert output.count("not there: --download") == len(DOWNLOADS)
    folder = tmp_path / "mnist"
    folder.mkdir()
    for file in DOWNLOADS["mnist"].files:
        with (folder / file.name).open("wb") as sparse:
            sparse.truncate(file.size)
    assert run().count("not there: --download") == len(DOWNLOADS) - 1


def test_a_set_with_masks_is_described_by_its_training_part(tmp_path):
    root = mask_folder(tmp_path / "cells", 10)
    labels = mask(0)
    labels[0] = 255
    save(root / "masks" / "00.png", labels)
    lines = run(root).splitlines()
    assert lines[0] == f"{root}: images with masks"
    assert lines[1].split() == ["training", "8", "images", *["cells", "(first", "8", "of", "10)"]]
    assert lines[2].split() == ["held", "out", "2", "images", *["cells", "(last", "2", "of", "10)"]]
    assert "3x6x8 (C,H,W), files of 6x8" in lines[3]
    assert "in memory" in lines[4]
    assert lines[5].split()[1:4] == ["255,", f"{100 * 8 / 384:.2f}", "%"]
    train, _ = open_dataset(root)
    valid = train.labels[train.labels != 255]
    weights = median_frequency_weights(train).values
    for label in range(3):
        row = next(line.split() for line in lines if line.split()[:1] == [str(label)])
        share = 100 * (valid == label).mean()
        assert row == [
            str(label), "class", str(label), f"{share:.3f}", "8", f"{weights[label]:.4f}"
        ]  # fmt: skip


def test_class_folders_and_their_options(tmp_path):
    root = class_folder(tmp_path / "pets", {"ant": 4, "bee": 2})
    output = run(
        root,
        "--size",
        "4x4",
        "--channels",
        1,
        "--held-out",
        0.5,
        "--class",
        "bee",
        "--class",
        "ant",
    )
    assert "1x4x4 (C,H,W), files of 6x8" in output and "class folders" in output
    assert [
        line.split()[1] for line in output.splitlines() if line[:7] in ("      0", "      1")
    ] == [
        "bee",
        "ant",
    ]


def test_generated_shapes_are_described(monkeypatch):
    assert "generated" in run("shapes", "--size", "32x32", "--check")


def test_check_tells_all_problems_and_fails(tmp_path):
    root = mask_folder(tmp_path / "cells", 6)
    assert "nothing is wrong" in run(root, "--check")
    (root / "masks" / "01.png").unlink()
    (root / "images" / "02.png").write_bytes(b"no picture")
    result = RUNNER.invoke(app, ["datasets", str(root), "--check"])
    assert result.exit_code == 1
    assert "01.png" in result.output and "02.png" in result.output
    assert result.output.splitlines()[-1] == "2 problems"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "Expected a folder or one of shapes, fashion-mnist"),
        (["--check"], "name of a data set"),
        (["mnist"], "minigraph datasets mnist --download"),
        (["shapes", "--download"], "Expected one of fashion-mnist, mnist, voc2012 to download"),
        (["cells", "--crop", "big"], "--crop HEIGHTxWIDTH such as 176x240, got 'big'"),
        (["cells", "--crop", "60x8"], "Expected at least the crop of 60x8 pixels, got 6x8"),
        (["cells", "--held-out", "3"], "held_out as a share"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(arguments, message, tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    mask_folder(tmp_path / "cells", 3)
    text = refused(*arguments)
    assert message in text and "\n" not in text


def test_downloads_go_to_the_cache_and_are_described(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    fetched: list[tuple[str, Path]] = []

    def download(source, cache, progress):
        fetched.append((source.name, cache))
        progress.total = 100
        progress.update(60)
        progress.reset()
        progress.close()
        return class_folder(cache / source.name, {"a": 2, "b": 2})

    monkeypatch.setattr(module, "download", download)
    output = run("mnist", "--download")
    assert fetched == [("mnist", tmp_path)]
    assert f"mnist is in {tmp_path / 'mnist'}" in output and "class folders" in output


def test_many_sizes_are_summed_up(tmp_path):
    root = class_folder(tmp_path / "pets", {"a": 3, "b": 3})
    for height in range(10, 15):
        save(root / "a" / f"{height}.png", np.zeros((height, 5, 3), np.uint8))
    output = run(root, "--size", "8x8")
    assert "files of 6 sizes, 6 to 14 high and 5 to 8 wide" in output
