"""Callbacks: what they are told, keep and stop."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
from small_run import (
    At,
    Crash,
    crash,
    run,
    state_bits,
)

import minigraph as mg
from minigraph.data import ArrayDataset
from minigraph.metrics import ConfusionMatrix
from minigraph.training import (
    Callback,
    EarlyStopping,
    Evaluation,
    History,
    JsonLog,
    RunFolder,
    TensorBoardLog,
    Training,
    card_of,
)


def evaluated_as(scores: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the epochs have these scores."""
    left = iter(scores)

    def scored(*_: object, **__: object) -> Evaluation:
        matrix = ConfusionMatrix(3, 255)
        right = round(next(left) * 100)
        matrix.counts[0] = [right, 100 - right, 0]
        return Evaluation(1.0, matrix, True)

    monkeypatch.setattr(sys.modules["minigraph.training.fit"], "evaluate", scored)


@pytest.mark.parametrize(
    ("scores", "best"), [([0.1, 0.5, 0.3], 2), ([0.5, 0.5, 0.2], 1), ([0.1, 0.2, 0.3], 3)]
)
@pytest.mark.parametrize("dies", [False, True])
@pytest.mark.usefixtures("without_matplotlib")
def test_the_run_folder_keeps_the_best_epochs_model(
    dataset: ArrayDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scores: list[float],
    best: int, dies: bool,
) -> None:  # fmt: skip
    states: list[dict] = []

    class States(Callback):
        def on_start(self, training: Training, history: History) -> None:
            self.step = training.step

        def on_epoch_end(self, history: History) -> None:
            states.append(state_bits(self.step))

    folder = RunFolder.new(tmp_path, "run", card_of(dataset), {"seed": 7})
    options: dict = {"checkpoint": folder.checkpoint, "resume": True}
    if dies:
        evaluated_as(scores[:2], monkeypatch)
        with pytest.raises(Crash):
            run(dataset, callbacks=[folder, States(), At(3, 2, crash)], **options)
        scores = scores[2:]
    evaluated_as(scores, monkeypatch)
    resumed = RunFolder(folder.path, folder.card) if dies else folder
    run(dataset, callbacks=[resumed, States()], **options)
    assert state_bits(mg.load(folder.model, optimizer=mg.Adam(0.01))).items() >= {
        (name, bits) for name, bits in states[best - 1].items() if "learning_rate" not in name
    }
    assert json.loads((folder.path / "settings.json").read_text()) == {"seed": 7}


def history_of(*losses: float) -> History:
    return History([{"epoch": n, "val_loss": loss} for n, loss in enumerate(losses, start=1)])


@pytest.mark.parametrize(
    ("losses", "patience", "least", "stops"),
    [
        ((3.0, 2.0, 1.0), 1, 0.0, False),
        ((3.0, 3.0), 1, 0.0, True),
        ((3.0, 4.0), 2, 0.0, False),
        ((3.0, 4.0, 3.5), 2, 0.0, True),
        ((3.0, 2.95, 2.9), 2, 0.2, True),
        ((3.0, 2.9, 2.7), 2, 0.2, False),
        ((3.0, math.nan, math.nan), 2, 0.0, True),
        ((math.nan, 2.0, 1.0), 2, 0.0, False),
        ((math.nan, math.nan, math.nan), 2, 0.0, True),
    ],
)
def test_early_stopping(
    losses: tuple[float, ...], patience: int, least: float, stops: bool
) -> None:
    stopping = EarlyStopping("val_loss", patience, least)
    assert bool(stopping.reason_to_stop(history_of(*losses))) == stops
    rising = History([{"val_iou": -loss} for loss in losses])
    assert bool(EarlyStopping("val_iou", patience, least).reason_to_stop(rising)) == stops


def test_early_stopping_ends_a_run_and_resuming_does_not_forget_it(
    dataset: ArrayDataset, tmp_path: Path
) -> None:
    stopping = EarlyStopping("val_mean_iou", 1, least_improvement=1.0)
    options = {"checkpoint": tmp_path / "c.safetensors", "resume": True}
    step, history = run(dataset, callbacks=[stopping], **options)
    again, same = run(dataset, callbacks=[stopping], **options)
    assert state_bits(again) == state_bits(step)
    assert len(history.records) == len(same.records) == 2
    assert history.stopped == same.stopped == "val_mean_iou did not improve for 1 epochs"


def test_a_score_that_is_not_there(dataset: ArrayDataset) -> None:
    with pytest.raises(ValueError, match=r"Expected a score among .*val_mean_iou.*'val_acuracy'"):
        run(dataset, callbacks=[EarlyStopping("val_acuracy")])


def test_the_log_has_a_line_for_each_epoch(dataset: ArrayDataset, tmp_path: Path) -> None:
    from minigraph.report import read_records

    _, history = run(dataset, callbacks=[JsonLog(tmp_path / "metrics.jsonl")])
    assert read_records(tmp_path / "metrics.jsonl") == history.records


def test_the_best_record(dataset: ArrayDataset) -> None:
    history = history_of(math.nan, 3.0, 1.0, math.nan, 1.0)
    assert history.best("val_loss") is history.records[2]
    assert history.best("val_mean_iou") is None


def test_callbacks_are_closed_when_a_run_fails(dataset: ArrayDataset) -> None:
    calls: list[str] = []

    class Closing(Callback):
        def on_end(self, history: History) -> None:
            calls.append("end")

        def close(self) -> None:
            calls.append("close")

    with pytest.raises(Crash):
        run(dataset, callbacks=[Closing(), At(1, 1, crash)])
    assert calls == ["close"]
    run(dataset, callbacks=[Closing()], epochs=1)
    assert calls == ["close", "close", "end"]


def test_tensorboard_gets_every_number(dataset: ArrayDataset, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    _, history = run(dataset, callbacks=[TensorBoardLog(tmp_path)])
    data = next(tmp_path.glob("events*")).read_bytes()
    scalars = {}
    while data:  # length, its checksum, the event, its checksum
        length = int.from_bytes(data[:8], "little")
        event = Event.FromString(data[12 : 12 + length])
        data = data[16 + length :]
        scalars |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
    for record in history.records:
        for name in ("train_loss", "val_mean_iou", "learning_rate"):
            assert scalars[name, record["epoch"]] == pytest.approx(record[name], rel=1e-6)
