"""Training against a loop written by hand, and what it refuses."""

from __future__ import annotations

import math
import threading
from pathlib import Path

import numpy as np
import pytest
from small_run import (
    AUGMENT,
    compiled,
    network,
    run,
    state_bits,
)

import minigraph as mg
from minigraph.data import ArrayDataset, batches
from minigraph.training import (
    Callback,
    History,
    LabelTask,
    Training,
    TrainingError,
    evaluate,
    fit,
)


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
