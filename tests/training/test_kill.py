"""SIGKILL at random moments of ``minigraph train``: no broken file, the same bits in the end."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import minigraph as mg
from minigraph.data import generate_shapes
from minigraph.report import read_records
from minigraph.training.history import History

TRAIN = (
    "unet", "--base", "2", "--depth", "2", "--epochs", "4", "--batch-size", "2", "--batch-norm",
    "--flip", "--colour-jitter", "0.2", "--schedule", "cosine", "--checkpoint-every", "3",
)  # fmt: skip
TIMES = ("seconds", "waiting_for_data", "images_per_second")


def train(*arguments: str, seconds: float | None = None) -> bool:
    """Run the command; kill it after so many seconds. True if it came to its end."""
    command = [sys.executable, "-m", "minigraph.cli.main", "train", *arguments, "--threads", "1"]
    try:
        done = subprocess.run(
            command, timeout=seconds, capture_output=True, text=True, check=False
        )  # on a timeout it sends SIGKILL
    except subprocess.TimeoutExpired:
        return False
    assert done.returncode == 0, done.stdout + done.stderr
    return True


def bits(path: Path) -> dict[str, bytes]:
    state = mg.load(path, outputs=["prediction"]).state
    return {name: state[name].tobytes() for name in state}


def records(folder: Path) -> list[dict]:
    return [
        {key: value for key, value in record.items() if key not in TIMES}
        for record in read_records(folder / "metrics.jsonl")
    ]


def kill_often(tmp_path: Path, kills: int) -> None:
    """Runs that are killed and resumed until they end, one after another, against a whole one."""
    generator = random.Random(kills)
    data = street(tmp_path / "street")
    assert train(*TRAIN, "--data", data, "--runs", str(tmp_path / "whole"))
    (whole,) = (tmp_path / "whole").iterdir()
    runs, killed = tmp_path / "runs0", 0
    while True:
        folders = list(runs.iterdir()) if runs.exists() else []
        check_files(folders)
        begun = bool(folders) and (folders[0] / "settings.json").exists()
        command = ["--resume", str(folders[0])] if begun else ["--runs", str(runs), "--data", data]
        seconds = generator.uniform(0.5, 6.0) if killed < kills else None
        if not train(*([] if begun else TRAIN), *command, seconds=seconds):
            killed += 1
            continue
        check_end(next(runs.iterdir()), whole)
        if killed == kills:
            return
        runs = runs.with_name(f"runs{killed}")


def check_end(folder: Path, whole: Path) -> None:
    for name in ("model.safetensors", "checkpoint.safetensors"):
        assert bits(folder / name) == bits(whole / name)
    assert records(folder) == records(whole)
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def street(folder: Path) -> str:
    """A small set of 80 and 8 images, laid out like CamVid."""
    for split, count in (("train", 80), ("val", 8)):
        shapes = generate_shapes(count, (32, 32), seed=count)
        for suffix, arrays in (("", shapes.images.transpose(0, 2, 3, 1)), ("annot", shapes.labels)):
            (folder / f"{split}{suffix}").mkdir(parents=True)
            for number, array in enumerate(arrays):
                pixels = np.where(array == 255, 11, array).astype(np.uint8) if suffix else array
                Image.fromarray(pixels).save(folder / f"{split}{suffix}" / f"{number:02}.png")
    return str(folder)


def check_files(folders: list[Path]) -> None:
    """Whatever file there is can be read."""
    for folder in folders:
        for path in folder.glob("*.safetensors"):
            state = mg.load(path, outputs=["prediction"]).state
            assert all(np.isfinite(array).all() for array in state.parameters().values())
        if (folder / "metrics.jsonl").exists():
            assert all(record["epoch"] for record in read_records(folder / "metrics.jsonl"))
        if (folder / "checkpoint.safetensors").exists():
            checkpoint = mg.load(folder / "checkpoint.safetensors", outputs=["prediction"])
            History.from_json(json.loads(checkpoint.metadata["training"]))


def test_three_kills(tmp_path: Path) -> None:
    kill_often(tmp_path, 3)


@pytest.mark.slow
def test_fifty_kills(tmp_path: Path) -> None:
    kill_often(tmp_path, 50)
