"""Resumed runs against runs that nothing interrupted; checkpoints that do not fit."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from small_run import (
    At,
    Crash,
    compiled,
    crash,
    network,
    press_ctrl_c,
    run,
    state_bits,
    without_times,
)

import minigraph as mg
from minigraph.data import ArrayDataset
from minigraph.training import (
    Callback,
    CheckpointError,
    History,
    LabelTask,
    Training,
    TrainingError,
    fit,
)


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


def test_a_second_sigterm_changes_nothing(dataset: ArrayDataset, tmp_path: Path) -> None:
    """The command ``timeout`` sends two."""

    def twice() -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)

    checkpoint = tmp_path / "c.safetensors"
    _, history = run(dataset, checkpoint=checkpoint, callbacks=[At(1, 2, twice)])
    assert history.interrupted and (history.position.epoch, history.position.step) == (1, 2)
    assert checkpoint.exists()


def test_a_signal_in_the_last_moment_is_told(dataset: ArrayDataset, tmp_path: Path) -> None:
    class LastMoment(Callback):
        def on_epoch_end(self, history: History) -> None:
            if len(history.records) == 3:
                press_ctrl_c()

    checkpoint = tmp_path / "c.safetensors"
    whole, expected = run(dataset)
    step, history = run(dataset, checkpoint=checkpoint, callbacks=[LastMoment()])
    assert history.interrupted and len(history.records) == len(expected.records)
    assert state_bits(step) == state_bits(whole)
    _, history = run(dataset, checkpoint=checkpoint, resume=True)
    assert not history.interrupted and len(history.records) == 3


@pytest.mark.parametrize("every", [1, None])
def test_parameters_that_are_not_finite_replace_no_checkpoint(
    dataset: ArrayDataset, tmp_path: Path, every: int | None
) -> None:
    checkpoint = tmp_path / "c.safetensors"
    step, model = compiled(dataset)
    fit(step, dataset, dataset, model=model, epochs=1, checkpoint=checkpoint, progress=False)
    good = checkpoint.read_bytes()

    def spoil() -> None:
        step.state["head.weight"] = step.state["head.weight"] * np.nan

    last = len(dataset) // 4
    place = At(2, 1 if every else last, spoil)  # after a step whose loss is finite
    expected = pytest.raises(TrainingError, match=r"finite parameters.*'head.weight' at epoch")
    with expected, np.errstate(all="ignore"):
        fit(step, dataset, epochs=2, checkpoint=checkpoint, checkpoint_every=every, resume=True,
            callbacks=[place], progress=False)  # fmt: skip
    assert checkpoint.read_bytes() == good


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
