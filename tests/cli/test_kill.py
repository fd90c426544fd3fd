"""SIGKILL at random moments of ``minigraph train``: no broken file, the same bits in the end."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
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


def train(*arguments: str, kill_after: Callable[[], float] | None = None, runs: Path) -> bool:
    """Run the command. With ``kill_after``: SIGKILL so many seconds after a new checkpoint.

    True if it came to its end.
    """
    command = [sys.executable, "-m", "minigraph.cli.main", "train", *arguments, "--threads", "1"]
    before = checkpoints(runs)
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "PYTHONPATH": str(without_matplotlib(runs.parent))},
    )  # fmt: skip
    if kill_after is not None:
        while checkpoints(runs) == before and process.poll() is None:
            time.sleep(0.005)
        with suppress(subprocess.TimeoutExpired):
            process.wait(kill_after())
        process.kill()
    output, _ = process.communicate()
    if process.returncode == -signal.SIGKILL:
        return False
    assert process.returncode == 0, output
    return True


def without_matplotlib(folder: Path) -> Path:
    """A folder that hides matplotlib: pictures would take most of a run's time."""
    hiding = folder / "hiding"
    hiding.mkdir(exist_ok=True)
    (hiding / "matplotlib.py").write_text("raise ImportError('hidden')\n")
    return hiding


def checkpoints(runs: Path) -> list[tuple[Path, int]]:
    """Which ones there are, and when they were written."""
    return [(path, path.stat().st_mtime_ns) for path in runs.glob("*/checkpoint.safetensors")]


def bits(path: Path) -> dict[str, bytes]:
    state = mg.load(path, outputs=["prediction"]).state
    return {name: state[name].tobytes() for name in state}


def records(folder: Path) -> list[dict]:
    return [
        {key: value for key, value in record.items() if key not in TIMES}
        for record in read_records(folder / "metrics.jsonl")
    ]


def kill_often(tmp_path: Path, kills: int, longest: float) -> None:
    """A run that is killed again and again while it trains, and one that is not."""
    generator = random.Random(kills)
    data = street(tmp_path / "street")
    assert train(*TRAIN, "--data", data, "--runs", str(tmp_path / "whole"), runs=tmp_path / "whole")
    (whole,) = (tmp_path / "whole").iterdir()
    runs, killed, places = tmp_path / "runs0", 0, set()
    arguments = [*TRAIN, "--data", data, "--runs", str(runs)]
    while killed < kills:
        if not train(*arguments, kill_after=lambda: generator.uniform(0, longest), runs=runs):
            killed += 1
            (folder,) = runs.iterdir()
            places.add(check_files(folder))
            arguments = ["--resume", str(folder)]
            continue
        check_end(next(runs.iterdir()), whole)
        runs = tmp_path / f"runs{killed}"
        arguments = [*TRAIN, "--data", data, "--runs", str(runs)]
    if arguments[0] == "--resume":
        assert train(*arguments, runs=runs)
        check_end(next(runs.iterdir()), whole)
    assert len(places) >= min(kills, 5) - 1  # killed here and there, not at one place


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


def check_files(folder: Path) -> tuple[int, int]:
    """Whatever file there is can be read. Gives the place that the run has come to."""
    for path in folder.glob("*.safetensors"):
        state = mg.load(path, outputs=["prediction"]).state
        assert all(np.isfinite(array).all() for array in state.parameters().values())
    if (folder / "metrics.jsonl").exists():
        assert all(record["epoch"] for record in read_records(folder / "metrics.jsonl"))
    checkpoint = mg.load(folder / "checkpoint.safetensors", outputs=["prediction"])
    position = History.from_json(json.loads(checkpoint.metadata["training"])).position
    return position.epoch, position.step


def test_three_kills(tmp_path: Path) -> None:
    kill_often(tmp_path, 3, 0.3)


@pytest.mark.slow
def test_fifty_kills(tmp_path: Path) -> None:
    kill_often(tmp_path, 50, 1.0)
