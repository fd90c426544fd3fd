"""The training loop against a loop written by hand."""

from __future__ import annotations

import numpy as np
import pytest

import minigraph as mg
from minigraph.data import ArrayDataset, batches
from minigraph.training import LabelTask, evaluate, train_epochs


class Silent:
    """Progress that keeps the losses."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def start_epoch(self, epoch: int, steps: int) -> None: ...

    def step(self, loss: float, images_per_second: float) -> None:
        self.losses.append(loss)

    def end_epoch(self, record: dict) -> None: ...


@pytest.fixture
def dataset() -> ArrayDataset:
    """22 small pictures with masks of three classes and void."""
    generator = np.random.default_rng(1)
    images = generator.integers(0, 256, (22, 3, 8, 8), dtype=np.uint8)
    labels = generator.integers(0, 3, (22, 8, 8), dtype=np.uint8)
    labels[:, 0] = 255
    return ArrayDataset(images, labels, ("a", "b", "c"), 255)


def network(x: mg.Tensor) -> mg.Tensor:
    return mg.conv2d(x, 3, 3, padding="same", name="head")


INPUTS = {"image": "float32[4,3,8,8]", "label": "int32[4,8,8]"}


def test_epochs_are_the_steps_of_all_full_batches(dataset: ArrayDataset) -> None:
    task = LabelTask(network, (0.5,) * 3, (0.25,) * 3, 255)
    step = mg.compile(task, INPUTS, optimizer=mg.SGD(0.1), outputs=["loss"])
    model = mg.compile(task, INPUTS, outputs=["loss", "prediction"], state=step.state)
    progress = Silent()
    records = list(
        train_epochs(step, model, dataset, dataset, epochs=2, batch_size=4, seed=3, augment=None,
                     progress=progress)
    )  # fmt: skip

    expected = mg.compile(task, INPUTS, optimizer=mg.SGD(0.1), outputs=["loss"])
    losses = [
        float(expected(batch)["loss"])
        for epoch in (1, 2)
        for batch in batches(dataset, 4, seed=3, epoch=epoch, shuffle=True, drop_last=True)
    ]
    assert progress.losses == losses
    assert len(losses) == 2 * 5
    assert records[0]["train_loss"] == pytest.approx(np.mean(losses[:5]))


def test_evaluation_is_over_the_data_set_not_over_batches(dataset: ArrayDataset) -> None:
    """The last batch has 2 of 4 pictures, and void differs from picture to picture."""
    dataset.labels[-1] = 255
    task = LabelTask(network, (0.5,) * 3, (0.25,) * 3, 255)
    model = mg.compile(task, INPUTS, outputs=["loss", "prediction"])
    result = evaluate(model, dataset, batch_size=4)

    whole = mg.compile(
        task, {"image": "float32[22,3,8,8]", "label": "int32[22,8,8]"}, state=model.state
    )
    (batch,) = batches(dataset, 22)
    out = whole(batch)
    assert result.loss == pytest.approx(float(out["loss"]), rel=1e-5)
    valid = dataset.labels != 255
    accuracy = (out["prediction"] == dataset.labels)[valid].mean()
    assert result.matrix.pixel_accuracy == pytest.approx(accuracy)


def test_normalisation_is_part_of_the_graph(dataset: ArrayDataset) -> None:
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    task = LabelTask(lambda x: x, mean, std, None)
    model = mg.compile(task, INPUTS, outputs=["logits"])
    image = np.random.default_rng(0).random((4, 3, 8, 8), np.float32)
    expected = (image - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    np.testing.assert_allclose(model(image=image)["logits"], expected, rtol=1e-5, atol=1e-6)
