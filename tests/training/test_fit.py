"""Training against a loop written by hand; resumed runs against runs that nothing interrupted."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigraph as mg
from minigraph.data import ArrayDataset, Compose, RandomCrop, batches, random_horizontal_flip
from minigraph.metrics import ConfusionMatrix
from minigraph.training import (
    Callback,
    CheckpointError,
    EarlyStopping,
    Evaluation,
    History,
    JsonLog,
    LabelTask,
    RunFolder,
    TensorBoardLog,
    Training,
    TrainingError,
    card_of,
    evaluate,
    fit,
)

TIMES = ("seconds", "waiting_for_data", "images_per_second")
AUGMENT = Compose([RandomCrop(8, 8), random_horizontal_flip])


@pytest.fixture
def dataset() -> ArrayDataset:
    """22 small pictures with masks of three classes and void: five batches of four, two left."""
    generator = np.random.default_rng(1)
    images = generator.integers(0, 256, (22, 3, 12, 12), dtype=np.uint8)
    labels = generator.integers(0, 3, (22, 12, 12), dtype=np.uint8)
    labels[:, 0] = 255
    return ArrayDataset(images, labels, ("a", "b", "c"), 255)


def network(x: mg.Tensor) -> mg.Tensor:
    """Everything that has state: parameters, running statistics, a random key."""
    x = mg.relu(mg.batch_norm(mg.conv2d(x, 4, 3, padding="same", name="conv"), name="norm"))
    return mg.conv2d(mg.dropout(x, 0.3, name="drop"), 3, 1, name="head")


def compiled(dataset: ArrayDataset, optimizer: Any = None) -> tuple[mg.Executable, mg.Executable]:
    task = LabelTask.for_dataset(network, dataset)
    return task.compile(dataset, batch_size=4, optimizer=optimizer or mg.Adam(0.01), size=(8, 8))


def state_bits(step: mg.Executable) -> dict[str, bytes]:
    return {name: step.state[name].tobytes() for name in step.state}


def without_times(history: History) -> list[dict]:
    return [{k: v for k, v in record.items() if k not in TIMES} for record in history.records]


class At(Callback):
    """Does something after the given step of the given epoch."""

    def __init__(self, epoch: int, step: int, action: Callable[[], None]) -> None:
        self.place, self.action = (epoch, step), action

    def on_step_end(self, history: History, loss: float) -> None:
        if (history.position.epoch, history.position.step) == self.place:
            self.action()


class Crash(Exception):
    pass


def crash() -> None:
    raise Crash


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def run(dataset: ArrayDataset, **options: Any) -> tuple[mg.Executable, History]:
    """A whole run of three epochs on a newly compiled model."""
    step, model = compiled(dataset)
    options = {"epochs": 3, "seed": 7, "augment": AUGMENT, "progress": False,
               "schedule": mg.Cosine(0.02, 15), **options}  # fmt: skip
    return step, fit(step, dataset, dataset, model=model, **options)


def test_epochs_are_the_steps_of_all_full_batches(dataset: ArrayDataset) -> None:
    class Losses(Callback):
        def __init__(self) -> None:
            self.seen: list[float] = []

        def on_step_end(self, history: History, loss: float) -> None:
            self.seen.append(loss)

    step, model = compiled(dataset, mg.SGD(0.1))
    losses = Losses()
    history = fit(step, dataset, dataset, model=model, epochs=2, seed=3, augment=AUGMENT,
                  callbacks=[losses], progress=False)  # fmt: skip
    expected, twin = compiled(dataset, mg.SGD(0.1))
    by_hand, validation = [], []
    for epoch in (1, 2):
        for batch in batches(dataset, 4, seed=3, epoch=epoch, shuffle=True, drop_last=True,
                             augment=AUGMENT):  # fmt: skip
            by_hand.append(float(expected(batch)["loss"]))
        validation.append(evaluate(twin, dataset))
    assert losses.seen == by_hand
    assert state_bits(step) == state_bits(expected)
    assert [r["epoch"] for r in history.records] == [1, 2]
    for record, start, scores in zip(history.records, (0, 5), validation, strict=True):
        assert record["train_loss"] == pytest.approx(np.mean(by_hand[start : start + 5]))
        assert record["val_mean_iou"] == scores.matrix.mean_iou
        assert record["val_loss"] == scores.loss
        assert 0 <= record["waiting_for_data"] <= 1
    assert history.stopped is None and history.position.epoch == 3


def test_evaluation_is_the_mean_over_what_is_not_void(dataset: ArrayDataset) -> None:
    _, model = compiled(dataset)
    labels = dataset.labels.copy()
    labels[:7] = 255
    labels[:7, 3, 3] = 1
    uneven = ArrayDataset(dataset.images, labels, dataset.class_names, 255)
    one = evaluate(model, uneven, 1)
    assert evaluate(model, uneven, 4).loss == pytest.approx(one.loss, rel=1e-6)
    (whole,) = batches(uneven, 22)
    assert float(model(whole)["loss"]) == pytest.approx(one.loss, rel=1e-6)


def test_padded_evaluation_is_that_of_the_true_pixels(dataset: ArrayDataset) -> None:
    """12x12 images for a network of multiples of 8: NumPy pads, and looks at the rest alone."""

    def halving(x: mg.Tensor) -> mg.Tensor:
        x = mg.max_pool2d(mg.conv2d(x, 4, 3, padding="same", name="conv"), 8)
        return mg.conv_transpose2d(x, 3, 8, stride=8, name="up")

    _, model = LabelTask.for_dataset(halving, dataset).compile(
        dataset, batch_size=4, optimizer=mg.SGD(0.1), size=(8, 8)
    )
    found = evaluate(model, dataset)
    image = np.pad(dataset.images / 255, ((0, 0), (0, 0), (0, 4), (0, 4)), mode="reflect")
    task = LabelTask.for_dataset(halving, dataset)
    whole = mg.compile(task, {"image": "float32[22,3,16,16]", "label": "int32[22,16,16]"},
                       outputs=["logits"], state=model.state)  # fmt: skip
    logits = whole(image=image.astype(np.float32))["logits"][:, :, :12, :12].astype(np.float64)
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    known = dataset.labels != 255
    own = np.take_along_axis(logs, np.where(known, dataset.labels, 0)[:, None].astype(int), 1)
    assert found.loss == pytest.approx(-own[:, 0][known].mean(), rel=1e-5)
    assert found.matrix.accuracy == (logits.argmax(1) == dataset.labels)[known].mean()


def test_class_weights_are_of_training_and_evaluation_does_not_depend_on_batches(
    dataset: ArrayDataset,
) -> None:
    task = LabelTask.for_dataset(network, dataset, [1.0, 10.0, 0.1])
    step, model = task.compile(dataset, batch_size=4, optimizer=mg.SGD(0.0), size=(12, 12))
    (batch,) = batches(dataset.subset(range(4)), 4)
    assert float(step(batch)["loss"]) != pytest.approx(float(model(batch)["loss"]), rel=1e-3)
    losses = [evaluate(model, dataset, size).loss for size in (1, 3, 22)]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-6)


def test_nothing_to_evaluate(dataset: ArrayDataset) -> None:
    _, model = compiled(dataset)
    with pytest.raises(ValueError, match="Expected images to evaluate"):
        evaluate(model, dataset.subset([]))
    void = ArrayDataset(dataset.images, np.full_like(dataset.labels, 255), ("a", "b", "c"), 255)
    assert math.isnan(evaluate(model, void).loss)


def test_the_schedule_sets_each_steps_rate(dataset: ArrayDataset) -> None:
    rates: list[float] = []

    class Rates(Callback):
        def on_start(self, training: Training, history: History) -> None:
            self.state = training.step.state

        def on_step_end(self, history: History, loss: float) -> None:
            rates.append(float(self.state["optimizer.learning_rate"]))

    _, history = run(dataset, callbacks=[Rates()])
    assert rates == [mg.Cosine(0.02, 15)(number) for number in range(15)]
    assert [record["learning_rate"] for record in history.records] == rates[4::5]


@pytest.mark.parametrize("prefetched", [0, 1, 3])
def test_batches_made_ahead_change_nothing(dataset: ArrayDataset, prefetched: int) -> None:
    first, _ = run(dataset)
    second, _ = run(dataset, prefetched=prefetched)
    assert state_bits(first) == state_bits(second)
    assert not [t for t in threading.enumerate() if t.name == "minigraph-prefetch"]


# ---- checkpoints


@pytest.mark.parametrize(
    ("place", "every"), [((1, 1), None), ((1, 3), 2), ((2, 1), 2), ((2, 5), None), ((3, 4), 3)]
)
def test_a_run_that_died_goes_on_to_the_same_bits(
    dataset: ArrayDataset, tmp_path: Path, place: tuple[int, int], every: int | None
) -> None:
    whole, expected = run(dataset)
    checkpoint = tmp_path / "checkpoint.safetensors"
    options = {"checkpoint": checkpoint, "checkpoint_every": every, "resume": True}
    with pytest.raises(Crash):
        run(dataset, callbacks=[At(*place, crash)], **options)
    step, history = run(dataset, **options)
    assert state_bits(step) == state_bits(whole)
    assert without_times(history) == without_times(expected)
    assert mg.load(checkpoint, outputs=["prediction"]) is not None


def test_resuming_loses_at_most_the_steps_since_the_checkpoint(
    dataset: ArrayDataset, tmp_path: Path
) -> None:
    options = {"checkpoint": tmp_path / "c.safetensors", "checkpoint_every": 2, "resume": True}
    with pytest.raises(Crash):
        run(dataset, callbacks=[At(2, 3, crash)], **options)
    places = []

    class Places(Callback):
        def on_start(self, training: Training, history: History) -> None:
            places.append((history.position.epoch, history.position.step))

    run(dataset, callbacks=[Places()], **options)
    assert places == [(2, 2)]


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_with_a_checkpoint_of_this_very_step(
    dataset: ArrayDataset, tmp_path: Path, signal_number: int
) -> None:
    whole, expected = run(dataset)
    before = signal.getsignal(signal_number)
    checkpoint = tmp_path / "checkpoint.safetensors"
    interrupt = At(2, 3, lambda: os.kill(os.getpid(), signal_number))
    step, history = run(dataset, checkpoint=checkpoint, callbacks=[interrupt])
    assert history.interrupted and len(history.records) == 1
    assert (history.position.epoch, history.position.step) == (2, 3)
    assert signal.getsignal(signal_number) is before
    stopped = state_bits(step)
    step, history = run(dataset, checkpoint=checkpoint, resume=True)
    assert stopped != state_bits(step) == state_bits(whole)
    assert without_times(history) == without_times(expected)


def test_ctrl_c_in_an_evaluation_repeats_the_evaluation_alone(
    dataset: ArrayDataset, tmp_path: Path
) -> None:
    whole, expected = run(dataset)
    checkpoint = tmp_path / "checkpoint.safetensors"
    _, history = run(dataset, checkpoint=checkpoint, callbacks=[At(2, 5, press_ctrl_c)])
    assert (history.position.epoch, history.position.step) == (2, 5)
    step, history = run(dataset, checkpoint=checkpoint, resume=True)
    assert state_bits(step) == state_bits(whole)
    assert without_times(history) == without_times(expected)


def test_a_second_ctrl_c_ends_at_once(dataset: ArrayDataset, tmp_path: Path) -> None:
    def twice() -> None:
        press_ctrl_c()
        press_ctrl_c()

    with pytest.raises(KeyboardInterrupt):
        run(dataset, checkpoint=tmp_path / "c.safetensors", callbacks=[At(1, 2, twice)])


def test_without_a_checkpoint_ctrl_c_is_what_it_always_was(dataset: ArrayDataset) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(dataset, callbacks=[At(1, 2, press_ctrl_c)])


def test_a_signal_that_is_ignored_stays_ignored(dataset: ArrayDataset, tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        interrupt = At(1, 2, press_ctrl_c)
        _, history = run(dataset, checkpoint=tmp_path / "c", epochs=1, callbacks=[interrupt])
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert not history.interrupted


def test_more_epochs_can_be_added(dataset: ArrayDataset, tmp_path: Path) -> None:
    whole, _ = run(dataset, schedule=None)
    checkpoint = tmp_path / "checkpoint.safetensors"
    run(dataset, schedule=None, epochs=1, checkpoint=checkpoint)
    step, history = run(dataset, schedule=None, checkpoint=checkpoint, resume=True)
    assert state_bits(step) == state_bits(whole) and len(history.records) == 3
    _, again = run(dataset, schedule=None, checkpoint=checkpoint, resume=True)
    assert again.records == history.records


def test_a_full_disk_leaves_the_last_checkpoint(
    dataset: ArrayDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tmp_path / "checkpoint.safetensors"
    run(dataset, schedule=None, epochs=1, checkpoint=checkpoint)
    last = checkpoint.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(mg.WriteError, match=r"No space left on device.*unchanged.*epoch 3"):
        run(dataset, schedule=None, epochs=2, checkpoint=checkpoint, resume=True)
    assert checkpoint.read_bytes() == last
    assert list(tmp_path.iterdir()) == [checkpoint]
    monkeypatch.undo()
    whole, _ = run(dataset, schedule=None, epochs=2)
    step, _ = run(dataset, schedule=None, epochs=2, checkpoint=checkpoint, resume=True)
    assert state_bits(step) == state_bits(whole)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 8}, r"seed 7 \(now 8\)"),
        ({"augment": None}, r"augmentation .*RandomCrop.*\(now 'None'\)"),
        ({"schedule": None}, r"schedule 'Cosine.*\(now 'None'\)"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(
    dataset: ArrayDataset, tmp_path: Path, change: dict, said: str
) -> None:
    checkpoint = tmp_path / "checkpoint.safetensors"
    run(dataset, epochs=1, checkpoint=checkpoint)
    with pytest.raises(CheckpointError, match=said):
        run(dataset, checkpoint=checkpoint, resume=True, **change)


def test_a_checkpoint_of_another_model_is_refused_and_changes_nothing(
    dataset: ArrayDataset, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "checkpoint.safetensors"
    run(dataset, epochs=1, checkpoint=checkpoint, schedule=None, augment=None)
    step, _ = LabelTask.for_dataset(network, dataset).compile(
        dataset, batch_size=4, optimizer=mg.Momentum(0.1)
    )
    before = state_bits(step)
    with pytest.raises(CheckpointError, match=r"Expected a checkpoint of this model.*missing here"):
        fit(step, dataset, epochs=1, seed=7, checkpoint=checkpoint, resume=True, progress=False)
    assert state_bits(step) == before


def test_a_model_is_no_checkpoint(dataset: ArrayDataset, tmp_path: Path) -> None:
    step, _ = compiled(dataset)
    step.save(tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="Expected a checkpoint of a training run"):
        run(dataset, checkpoint=tmp_path / "model.safetensors", resume=True)


@pytest.mark.parametrize("what", ["pictures", "optimiser", "activation", "class weights"])
def test_a_checkpoint_of_other_data_or_another_graph_is_refused(
    dataset: ArrayDataset, tmp_path: Path, what: str
) -> None:
    def other(x: mg.Tensor) -> mg.Tensor:
        x = mg.tanh(mg.batch_norm(mg.conv2d(x, 4, 3, padding="same", name="conv"), name="norm"))
        return mg.conv2d(mg.dropout(x, 0.3, name="drop"), 3, 1, name="head")

    checkpoint = tmp_path / "checkpoint.safetensors"
    run(dataset, epochs=1, checkpoint=checkpoint, schedule=None, augment=None)
    pictures = ArrayDataset(dataset.images // 2, dataset.labels, dataset.class_names, 255)
    task = LabelTask.for_dataset(
        other if what == "activation" else network, pictures if what == "pictures" else dataset,
        [1.0, 2.0, 3.0] if what == "class weights" else None,
    )  # fmt: skip
    optimizer = mg.Adam(0.01, beta1=0.5) if what == "optimiser" else mg.Adam(0.01)
    step, _ = task.compile(dataset, batch_size=4, optimizer=optimizer, size=(8, 8))
    with pytest.raises(CheckpointError, match="model and optimiser"):
        fit(step, dataset, epochs=2, seed=7, checkpoint=checkpoint, resume=True, progress=False)


@pytest.mark.parametrize("keep", [0, 7, 2000])
def test_a_damaged_checkpoint_is_refused(dataset: ArrayDataset, tmp_path: Path, keep: int) -> None:
    checkpoint = tmp_path / "checkpoint.safetensors"
    run(dataset, epochs=1, checkpoint=checkpoint)
    checkpoint.write_bytes(checkpoint.read_bytes()[:keep])
    with pytest.raises(mg.LoadError, match=r"checkpoint\.safetensors"):
        run(dataset, checkpoint=checkpoint, resume=True)


# ---- callbacks


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


# ---- what is refused


def test_a_loss_that_is_no_number_ends_the_run(dataset: ArrayDataset, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.safetensors"

    def spoil(number: int) -> float:
        return 1e-3 if number < 6 else 1e30

    with np.errstate(all="ignore"), pytest.raises(TrainingError, match=r"epoch 2, step \d"):
        run(dataset, schedule=spoil, checkpoint=checkpoint)
    assert all(
        np.isfinite(array).all() for array in mg.load(checkpoint).state.parameters().values()
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epochs": 0}, "at least 1 epoch"),
        ({"prefetched": -1}, "0 prefetched batches"),
        ({"checkpoint_every": 2}, "Expected the file of a checkpoint"),
        ({"resume": True}, "Expected the file of a checkpoint"),
        ({"checkpoint": "c", "checkpoint_every": 0}, "1 step between checkpoints"),
    ],
)
def test_arguments_that_do_not_fit(dataset: ArrayDataset, options: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        run(dataset, **options)


def test_executables_that_do_not_fit(dataset: ArrayDataset) -> None:
    step, model = compiled(dataset)
    _, stranger = compiled(dataset)
    for arguments, said in [
        ((step, dataset, dataset, None), "validation without model"),
        ((step, dataset, None, model), "model without validation"),
        ((step, dataset, dataset, stranger), "state=step.state"),
        (
            (step, dataset.subset([0, 1, 2]), dataset, model),
            "at least one batch of 4 images, got 3",
        ),
    ]:
        with pytest.raises(ValueError, match=said):
            fit(*arguments[:3], model=arguments[3], epochs=1, progress=False)
    inference = mg.compile(lambda image: {"y": image}, {"image": "float32[4,3,8,8]"})
    with pytest.raises(ValueError, match="Expected a training step"):
        fit(inference, dataset, epochs=1)


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
