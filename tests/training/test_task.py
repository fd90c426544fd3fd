"""The task that a data set poses: normalisation, loss, prediction, the model's card."""

from __future__ import annotations

import numpy as np
import pytest

import minigraph as mg
from minigraph.data import ArrayDataset, generate_shapes
from minigraph.training import LabelTask, card_of

INPUTS = {"image": "float32[4,3,8,8]", "label": "int32[4,8,8]"}


def test_normalisation_is_part_of_the_graph() -> None:
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    task = LabelTask(lambda x: x, mean, std, None)
    model = mg.compile(task, INPUTS, outputs=["logits"])
    image = np.random.default_rng(0).random((4, 3, 8, 8), np.float32)
    expected = (image - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    np.testing.assert_allclose(model(image=image)["logits"], expected, rtol=1e-5, atol=1e-6)


def test_a_data_set_gives_its_own_statistics_and_void() -> None:
    dataset = generate_shapes(5, (32, 32), seed=1)
    task = LabelTask.for_dataset(lambda x: x, dataset)
    pixels = dataset.images / 255
    np.testing.assert_allclose(task.mean, pixels.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(task.std, pixels.std((0, 2, 3)), rtol=1e-12)
    assert task.void_label == 255


def test_images_of_one_value_stay_finite() -> None:
    dataset = ArrayDataset(np.full((4, 3, 8, 8), 9, np.uint8), np.zeros(4, np.uint8), ("a",))
    model = mg.compile(
        LabelTask.for_dataset(lambda x: x, dataset), {"image": INPUTS["image"],
                                                      "label": "int32[4,8,8]"},
        outputs=["logits"],
    )  # fmt: skip
    assert np.isfinite(model(image=np.ones((4, 3, 8, 8), np.float32))["logits"]).all()


def test_class_weights_weigh_the_loss_of_training() -> None:
    def same(x: mg.Tensor) -> mg.Tensor:
        return mg.conv2d(x, 3, 1, bias=False, name="same")

    weights = [0.0, 2.0, 1.0]
    task = LabelTask(same, [0.0] * 3, [1.0] * 3, 255, weights)
    step = mg.compile(task, INPUTS, outputs=["loss"], optimizer=mg.SGD(0.0))
    step.state["same.weight"] = np.eye(3).reshape(3, 3, 1, 1)
    rng = np.random.default_rng(3)
    image, label = rng.random((4, 3, 8, 8)).astype(np.float32), rng.integers(0, 3, (4, 8, 8))
    label[:, 0] = 255
    scores = image.astype(np.float64)
    logs = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    counted = label != 255
    known = np.where(counted, label, 0)
    own = -np.take_along_axis(logs, known[:, None], 1)[:, 0]
    weight = np.asarray(weights)[known] * counted
    expected = (own * weight).sum() / weight.sum()
    assert float(step(image=image, label=label.astype(np.int32))["loss"]) == pytest.approx(
        expected, rel=1e-5
    )


def test_the_card_says_what_was_trained_on() -> None:
    card = card_of(generate_shapes(2, (32, 40), seed=0), (16, 24))
    assert card.segmentation and card.void_label == 255 and card.image_shape == (3, 16, 24)
    assert card.class_names[0] == "background"
