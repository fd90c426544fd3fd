"""The command line: what it prints, what it leaves behind, how it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
from commands import refused, run
from PIL import Image

import minigraph as mg
from minigraph.cli.main import app
from minigraph.data import FASHION_MNIST_CLASSES, generate_shapes
from minigraph.model_card import ModelCard
from minigraph.state import ModelState
from minigraph.training import LabelTask

without_pictures = pytest.mark.usefixtures("without_matplotlib")


def metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


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
    for name in ("curves", "confusion", "filters", "feature-maps"):
        assert Image.open(folder / f"{name}.png").size[0] > 100
    assert "data:image/png;base64" in (folder / "report.html").read_text()
    model = mg.load(folder / "model.safetensors", outputs=["prediction"])
    predicted = model(image=np.zeros((1, 3, 32, 16), np.float32))["prediction"]
    assert predicted.shape == (1, 32, 16)


@without_pictures
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


SMALL = ("--crop", "32x40", "--base", 2, "--depth", 1, "--batch-size", 4)


@without_pictures
def test_a_run_is_repeated_by_its_settings(camvid_like: Path, tmp_path: Path) -> None:
    options = (
        "--random-scale", "0.8-1.5", "--random-crop", "16x24", "--colour-jitter", 0.1, "--flip",
        "--class-weights", "median", "--schedule", "cosine", "--warm-up", 1, "--clip-norm", 1.0,
        "--accumulate", 2, "--weight-decay", 1e-4, "--freeze", "head*", "--epochs", 2,
    )  # fmt: skip
    first, second = tmp_path / "first", tmp_path / "second"
    run("train", "unet", "--data", camvid_like, *SMALL, *options, "--runs", first)
    run("train", "--config", first / "unet-street" / "settings.json", "--runs", second)
    one, two = (
        mg.load(runs / "unet-street" / "checkpoint.safetensors", outputs=["logits"]).state
        for runs in (first, second)
    )
    assert {name: one[name].tobytes() for name in one} == {n: two[n].tobytes() for n in two}


@without_pictures
def test_precision_is_a_setting_and_an_option_of_all_that_runs_models(
    camvid_like: Path, tmp_path: Path
) -> None:
    runs, folder = tmp_path / "runs", tmp_path / "runs" / "unet-street"
    options = ("--precision", "float16", "--epochs", 1, "--runs", runs)
    run("train", "unet", "--data", camvid_like, *SMALL, *options)
    assert json.loads((folder / "settings.json").read_text())["precision"] == "float16"
    run("train", "--resume", folder, "--epochs", 2)
    assert len(metrics(folder)) == 2
    assert "got precision" in refused("train", "--resume", folder, "--precision", "float32")
    saved = mg.load(folder / "checkpoint.safetensors", outputs=["logits"])
    assert "optimizer.loss_scale" in saved.state
    assert saved.state["head.weight"].dtype == np.float32
    assert "MixedPrecision" in run("inspect", folder, "--precision", "bfloat16")
    assert "loss" in run("evaluate", folder, "--precision", "bfloat16")
    image = next((camvid_like / "val").iterdir())
    run("predict", folder, image, "--output", tmp_path / "out", "--precision", "bfloat16")
    wrong = ("--precision", "half")
    assert "got 'half'" in refused("train", "unet", "--data", camvid_like, *SMALL, *wrong)
    assert "got 'half'" in refused("evaluate", folder, *wrong)


FCN = ("--crop", "32x32", "--base", 2, "--batch-size", 4, "--learning-rate", 0)


def best(run_folder: Path) -> ModelState:
    return mg.load(run_folder / "model.safetensors", outputs=["logits"]).state


@without_pictures
def test_fcn_is_trained_stage_by_stage(camvid_like: Path, tmp_path: Path) -> None:
    """At a rate of 0, what a run started from is what it leaves. Resumed, it starts from none."""
    runs = tmp_path / "runs"
    run("train", "fcn32s", "--data", camvid_like, *FCN, "--epochs", 1, "--seed", 7, "--runs", runs)
    output = run(
        "train", "fcn16s", "--data", camvid_like, *FCN, "--epochs", 1, "--runs", runs,
        "--weights", runs / "fcn32s-street",
    )  # fmt: skip
    assert "fcn32s-street/model.safetensors: 84 variables loaded" in output
    assert "1 start afresh, the file has them in other shapes: up.weight" in output
    assert "3 start afresh, the file has none for them: up_pool4.weight" in output
    coarse, fine = best(runs / "fcn32s-street"), best(runs / "fcn16s-street")
    for name in ("conv1_1.weight", "conv5_3.weight", "fc7.weight"):
        np.testing.assert_array_equal(fine[name], coarse[name])
    (runs / "fcn32s-street" / "model.safetensors").unlink()
    output = run("train", "--resume", runs / "fcn16s-street", "--epochs", 2)
    assert "variables loaded" not in output
    np.testing.assert_array_equal(best(runs / "fcn16s-street")["fc7.weight"], coarse["fc7.weight"])
    assert "got weights" in refused("train", "--resume", runs / "fcn16s-street", "--weights", "w")


def test_weights_that_do_not_fit_are_told_before_or_with_the_options_they_need(
    camvid_like: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("vgg16.npz", **{"features.0.weight": np.zeros((64, 3, 3, 3), np.float32)})
    Path("vgg16.pth").write_bytes(b"")
    train = ("train", "fcn32s", "--data", camvid_like, *FCN, "--weights")
    said = refused(*train, "vgg16.npz")
    assert "Torchvision's files need --base 64 in place of 2 and --no-batch-norm, unless" in said
    assert "a pickle" in refused("train", "fcn32s", "--data", "nowhere", "--weights", "vgg16.pth")
    assert "got none" in refused("train", "fcn32s", "--data", "nowhere", "--weights", "vgg.npz")
    assert not Path("runs").exists()


@without_pictures
def test_a_run_without_matplotlib_says_what_is_missing(camvid_like: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    output = run("train", "unet", "--data", camvid_like, *SMALL, "--epochs", 1, "--runs", runs)
    assert 'pip install "minigraph[plot]"' in output
    folder = runs / "unet-street"
    assert not (folder / "curves.png").exists()
    for name in ("predictions.png", "feature-maps.png", "scores.csv", "report.html"):
        assert (folder / name).exists()


@without_pictures
def test_a_run_can_be_given_more_epochs(camvid_like: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    run("train", "unet", "--data", camvid_like, *SMALL, "--epochs", 1, "--runs", runs)
    output = run("train", "--resume", runs / "unet-street", "--epochs", 2)
    assert "epoch 2/2" in output and "epoch 1/2" not in output
    metrics = (runs / "unet-street" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in metrics] == [1, 2]
    assert json.loads((runs / "unet-street" / "settings.json").read_text())["epochs"] == 2
    assert "a run goes on as it began" in refused(
        "train", "--resume", runs / "unet-street", "--base", 4
    )
    assert "settings.json" in refused("train", "--resume", tmp_path)


def test_a_saved_model_is_scored_from_its_file_alone(camvid_like: Path, tmp_path: Path) -> None:
    """Images of 36x40 for a network that takes multiples of 8: the rest is mirrored, and void."""
    runs = tmp_path / "runs"
    run("train", "unet", "--data", camvid_like, "--random-crop", "32x32", "--base", 2, "--depth", 3,
        "--epochs", 1, "--batch-size", 4, "--runs", runs)  # fmt: skip
    folder = runs / "unet-street"
    (record,) = (json.loads(line) for line in (folder / "metrics.jsonl").open())
    (tmp_path / "alone").mkdir()
    alone = tmp_path / "alone" / "any.safetensors"
    alone.write_bytes((folder / "model.safetensors").read_bytes())
    for arguments in ((folder,), (alone, "--data", camvid_like, "--output", tmp_path / "scores")):
        output = run("evaluate", *arguments)
        assert f"accuracy {100 * record['val_pixel_accuracy']:.2f} %" in output
        assert f"loss {record['val_loss']:.4f}" in output
    for name in ("scores.csv", "confusion.png", "predictions.png"):
        assert (tmp_path / "scores" / name).read_bytes() == (folder / name).read_bytes()
    assert "--data" in refused("evaluate", alone)
    assert "got masks" in refused("evaluate", classifier(tmp_path), "--data", "shapes")


def classifier(tmp_path: Path) -> Path:
    card = ModelCard(False, ("a", "b"), None, (3, 8, 8), "letters")
    step = mg.compile(
        LabelTask(lambda x: mg.dense(mg.flatten(x), 2), [0.0] * 3, [1.0] * 3, None),
        {"image": "float32[2,3,8,8]", "label": "int32[2]"},
    )
    step.save(tmp_path / "classifier.safetensors", card.to_metadata())
    return tmp_path / "classifier.safetensors"


def test_models_lists_all_networks() -> None:
    output = run("models")
    for text in ("unet", "small-classifier", "lenet", "61,706"):
        assert text in output


@without_pictures
def test_a_refused_resumption_changes_nothing(camvid_like: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    run("train", "unet", "--data", camvid_like, *SMALL, "--epochs", 1, "--schedule", "cosine",
        "--flip", "--colour-jitter", 0.1, "--runs", runs)  # fmt: skip
    folder = runs / "unet-street"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert "cosine" in refused("train", "--resume", folder, "--epochs", 2)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert "epoch 1/1" not in run("train", "--resume", folder)


def test_one_class_is_none(tmp_path: Path) -> None:
    (tmp_path / "pets" / "images").mkdir(parents=True)
    for name in "abcdef":
        Image.new("RGB", (8, 8)).save(tmp_path / "pets" / "images" / f"{name}.png")
    data = tmp_path / "pets"
    assert "got images" in refused("train", "lenet", "--data", data, "--batch-size", 1)


@without_pictures
def test_names_that_look_like_markup(camvid_like: Path, tmp_path: Path) -> None:
    data = camvid_like.rename(camvid_like.with_name("st[red]reet[bold]"))
    output = run("train", "unet", "--data", data, *SMALL, "--epochs", 1, "--runs", tmp_path / "r")
    assert f"written to {tmp_path / 'r' / 'unet-st[red]reet[bold]'}/" in output


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"batch_size": 0}', "Expected batch_size of 1 or more, got 0"),
        ('{"early_stopping": 0}', "Expected early_stopping of 1 or more, got 0"),
        ('{"held_out": 2}', "Expected held_out of 0 to 1, got 2"),
    ],
)
def test_numbers_of_a_file_have_limits_as_well(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "s.json").write_text(text)
    assert told in refused("train", "unet", "--config", tmp_path / "s.json")


def test_ctrl_c_ends_a_run_with_130_and_says_how_to_go_on(
    camvid_like: Path, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    command = ("train", "unet", "--data", camvid_like, *SMALL, "--epochs", 10_000, "--runs", runs)
    process = subprocess.Popen(
        [sys.executable, "-m", "minigraph.cli.main", *map(str, command)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not (runs / "unet-street" / "checkpoint.safetensors").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "minigraph train --resume" in output and not errors
    assert (runs / "unet-street" / "curves.png").exists()


def test_an_error_is_one_line_on_standard_error(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "minigraph.cli.main", "train", "unet", "--data", "nowhere"],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    assert "'nowhere'" in done.stderr and len(done.stderr.splitlines()) == 1


def test_completion_knows_commands_and_networks() -> None:
    def completed(*words: str) -> str:
        environment = {
            **os.environ, "_MINIGRAPH_COMPLETE": "complete_bash",
            "COMP_WORDS": " ".join(("minigraph", *words)), "COMP_CWORD": str(len(words)),
        }  # fmt: skip
        program = Path(sys.executable).with_name("minigraph")
        done = subprocess.run([program], env=environment, capture_output=True, text=True)
        return done.stdout

    assert "train" in completed("tr").split()
    assert "small-classifier" in completed("train", "sm").split()
    assert "--random-crop" in completed("train", "unet", "--random").split()


@without_pictures
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
        accuracy = f"{100 * metrics(tmp_path / 'runs' / f'{model}-fashion')[0]['val_accuracy']:.2f}"
        assert f"accuracy {accuracy} %" in run("evaluate", tmp_path / "runs" / f"{model}-fashion")
    assert len(FASHION_MNIST_CLASSES) == 10


@pytest.mark.parametrize(("backend", "slower"), [("numpy", "im2col"), ("llvm", "winograd-f2")])
def test_inspect_names_passes_algorithms_memory_and_nodes(backend: str, slower: str) -> None:
    if backend == "llvm":
        pytest.importorskip("llvmlite")
    output = run("inspect", "unet", "--training", "--graph", "--profile", "--backend", backend)
    told = ("FuseEpilogue", "Conv2dGradWeight", f"not {slower}", "fullest at", "GFLOP/s")
    for text in (*told, "update %head.weight"):
        assert text in output


def test_inspect_a_saved_model(tmp_path: Path) -> None:
    def model(x: mg.Tensor) -> mg.Tensor:
        return mg.relu(mg.dense(x, 3, name="layer"))

    path = tmp_path / "model.safetensors"
    mg.compile(model, {"x": "float32[2,5]"}).save(path)
    assert "output: float32[2,3]" in run("inspect", path)


def test_the_version() -> None:
    assert run("--version") == f"minigraph {mg.__version__}\n"


@pytest.mark.parametrize("command", [c.callback.__name__ for c in app.registered_commands])
def test_help_on_80_columns_cuts_no_option(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = run(command, "--help")
    assert "--help" in shown and "…" not in shown and "..." not in shown.split("Options")[1]


def test_doctor_lists_versions_and_backends() -> None:
    output = run("doctor")
    assert mg.__version__ in output
    assert np.__version__ in output
    assert "numpy          available" in output


def test_doctor_says_how_to_install_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr("minigraph.cli.doctor.version", missing)
    lines = run("doctor").splitlines()
    assert '  llvmlite       not installed: pip install "minigraph[llvm]"' in lines
    assert '  matplotlib     not installed: pip install "minigraph[plot]"' in lines
    assert "  numpy          not installed" in lines


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["train", "lenet"], "--data FOLDER"),
        (["train", "unet", "--data", "nowhere"], "'nowhere'"),
        (["train", "unet", "--crop", "big"], "HEIGHTxWIDTH"),
        (["train", "unet", "--optimizer", "magic"], "sgd, momentum, nesterov, adagrad"),
        (["train", "unet", "--backend", "abacus"], "abacus"),
        (["train"], "minigraph train NETWORK"),
        (["train", "unet", "--schedule", "wild"], "constant, step, cosine, poly, one-cycle"),
        (["train", "unet", "--class-weights", "all"], "median, inverse"),
        (["train", "unet", "--random-crop", "0x4"], "HEIGHTxWIDTH"),
        (["train", "unet", "--random-scale", "big"], "LOW-HIGH"),
        (["train", "unet", "--freeze", "nobody*"], "'nobody*'"),
        (["train", "unet", "--random-crop", "20x20"], "divisible by 8"),
        (["train", "lenet", "--data", "shapes", "--random-crop", "8x8"], "use --size"),
        (["evaluate", "nothing.safetensors"], "nothing.safetensors"),
        (["train", "unet", "--config", "none.json"], "none.json"),
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
