"""The command line: what it prints, what it leaves behind, how it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import minigraph as mg
from minigraph.cli.main import app
from minigraph.data import FASHION_MNIST_CLASSES, generate_shapes

RUNNER = CliRunner()


def run(*arguments: object) -> str:
    """Run a command in this process; it must succeed."""
    result = RUNNER.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def refused(*arguments: object) -> str:
    """Run a command as a user would; it must end with exit code 1 and one line."""
    result = subprocess.run(
        [sys.executable, "-m", "minigraph.cli.main", *map(str, arguments)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    return result.stderr


@pytest.fixture
def camvid_like(tmp_path: Path) -> Path:
    """A folder laid out like CamVid: 8 training and 4 validation images, 36x40."""
    for split, count in (("train", 8), ("val", 4)):
        pictures = generate_shapes(count, (36, 40), seed=len(split))
        images = pictures.images.transpose(0, 2, 3, 1)
        for kind, arrays in (("", images), ("annot", pictures.labels)):
            folder = tmp_path / "street" / f"{split}{kind}"
            folder.mkdir(parents=True)
            for index, array in enumerate(arrays):
                pixels = np.where(array == 255, 11, array) if kind else array
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index}.png")
    return tmp_path / "street"


def test_train_leaves_a_complete_run_folder(camvid_like: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    output = run(
        "train", "unet", "--data", camvid_like, "--crop", "32x40", "--base", 4, "--depth", 2,
        "--epochs", 2, "--batch-size", 4, "--flip", "--runs", runs,
    )  # fmt: skip
    assert "11 classes" in output
    folder = runs / "unet-street"
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == [1, 2]
    assert records[1]["train_loss"] < records[0]["train_loss"]
    assert 0.0 <= records[-1]["val_mean_iou"] <= records[-1]["val_pixel_accuracy"] <= 1.0
    assert json.loads((folder / "settings.json").read_text())["crop"] == "32x40"
    assert Image.open(folder / "predictions.png").size[0] > 3 * 40
    assert Image.open(folder / "curves.png").size[0] > 100
    model = mg.load(folder / "model.safetensors", outputs=["prediction"])
    predicted = model(image=np.zeros((1, 3, 32, 16), np.float32))["prediction"]
    assert predicted.shape == (1, 32, 16)


def test_a_second_run_overwrites_nothing(camvid_like: Path, tmp_path: Path) -> None:
    arguments = (
        "train", "unet", "--data", camvid_like, "--crop", "32x40", "--base", 2, "--depth", 1,
        "--epochs", 1, "--batch-size", 4, "--runs", tmp_path / "runs",
    )  # fmt: skip
    run(*arguments)
    run(*arguments)
    first, second = (tmp_path / "runs" / name for name in ("unet-street", "unet-street-2"))
    assert [json.loads(line)["train_loss"] for line in (first / "metrics.jsonl").open()] == [
        json.loads(line)["train_loss"] for line in (second / "metrics.jsonl").open()
    ]


def test_train_classifier_on_idx_files(tmp_path: Path) -> None:
    folder = tmp_path / "fashion"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for split, count in (("train", 40), ("t10k", 10)):
        images = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = generator.integers(0, 10, count, dtype=np.uint8)
        for array, name in ((images, "images-idx3"), (labels, "labels-idx1")):
            sizes = np.array(array.shape, ">u4").tobytes()
            header = bytes([0, 0, 8, array.ndim]) + sizes
            (folder / f"{split}-{name}-ubyte").write_bytes(header + array.tobytes())
    for model in ("lenet", "small-classifier"):
        output = run("train", model, "--data", folder, "--epochs", 1, "--batch-size", 8,
                     "--runs", tmp_path / "runs")  # fmt: skip
        assert "accuracy" in output
        assert (tmp_path / "runs" / f"{model}-fashion" / "predictions.png").exists()
    assert len(FASHION_MNIST_CLASSES) == 10


def test_inspect_names_passes_algorithms_memory_and_nodes() -> None:
    output = run("inspect", "unet", "--training", "--graph", "--profile")
    told = ("FuseEpilogue", "Conv2dGradWeight", "not im2col", "fullest at", "GFLOP/s")
    for text in (*told, "update %head.weight"):
        assert text in output


def test_inspect_a_saved_model(tmp_path: Path) -> None:
    def model(x: mg.Tensor) -> mg.Tensor:
        return mg.relu(mg.dense(x, 3, name="layer"))

    path = tmp_path / "model.safetensors"
    mg.compile(model, {"x": "float32[2,5]"}).save(path)
    assert "output: float32[2,3]" in run("inspect", path)


def test_doctor_lists_versions_and_backends() -> None:
    output = run("doctor")
    assert mg.__version__ in output
    assert np.__version__ in output
    assert "numpy          available" in output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["train", "lenet"], "--data FOLDER"),
        (["train", "unet", "--data", "nowhere"], "'nowhere'"),
        (["train", "unet", "--crop", "big"], "HEIGHTxWIDTH"),
        (["train", "unet", "--optimizer", "magic"], "sgd, momentum, nesterov, adagrad"),
        (["train", "unet", "--backend", "abacus"], "abacus"),
        (["inspect", "nothing.safetensors"], "nothing.safetensors"),
        (["inspect", "unet", "--image", "3"], "NxCxHxW"),
    ],
)
def test_errors_are_one_line_with_the_way_out(
    arguments: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert told in refused(*arguments)
    assert not (tmp_path / "runs").exists()
