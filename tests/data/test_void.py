"""One rule for void and for illegal labels, whoever looks at them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from data_folders import picture, save

import minigraph as mg
from minigraph.data import (
    VOC_VOID_LABEL,
    VOID_LABEL,
    ArrayDataset,
    RandomCrop,
    RandomScale,
    batches,
    count_labels,
    generate_shapes,
    load_segmentation_folders,
)
from minigraph.data import labels as rule
from minigraph.metrics import ConfusionMatrix, TopKAccuracy
from minigraph.report import colour_labels, segmentation_picture

NAMES = ("ground", "thing", "other")
SHAPE = (3, 4, 5)  # images, rows, columns
Look = Callable[[np.ndarray, int | None, Path], object]
"""Shows labels ``SHAPE`` of three classes to one of the parts; gives what void must not change."""


def images() -> np.ndarray:
    return np.stack([picture(i, SHAPE[1:]).transpose(2, 0, 1) for i in range(SHAPE[0])])


def logits(labels: np.ndarray) -> np.ndarray:
    """Scores in favour of the label where it is a class; wild ones elsewhere."""
    scores = np.random.default_rng(0).normal(0, 1, (SHAPE[0], 3, *SHAPE[1:])).astype(np.float32)
    return np.where((labels < 3)[:, None], scores, 1e3 * scores).astype(np.float32)


def in_memory(labels, void, folder):
    return count_labels(ArrayDataset(images(), labels, NAMES, void)).labels.tolist()


def in_files(labels, void, folder):
    for index, (image, mask) in enumerate(zip(images(), labels, strict=True)):
        save(folder / "images" / f"image {index}.png", image.transpose(1, 2, 0))
        save(folder / "masks" / f"image {index}.png", mask)
    places = folder / "images", folder / "masks"
    dataset = load_segmentation_folders(*places, NAMES, void_label=void)
    return count_labels(dataset).labels.tolist()


def augmented(labels, void, folder):
    dataset = ArrayDataset(images(), np.zeros_like(labels), NAMES, void)
    (batch,) = batches(dataset, SHAPE[0], augment=lambda i, old, generator: (i, labels))
    return np.bincount(batch["label"].reshape(-1))[:3].tolist()


def loss(labels, void, folder):
    def model(logits, label):
        return {"loss": mg.softmax_cross_entropy(logits, label, void_label=void)}

    scores = logits(labels)
    inputs = {"logits": (scores.shape, "float32"), "label": (labels.shape, "int32")}
    compiled = mg.compile(model, inputs, outputs=["loss"])
    return float(compiled(logits=scores, label=labels.astype(np.int32))["loss"])


def confusion(labels, void, folder):
    matrix = ConfusionMatrix(3, void)
    matrix.update(logits(labels).argmax(axis=1), labels)
    return matrix.counts.tolist()


def top_k(labels, void, folder):
    accuracy = TopKAccuracy(2, void)
    accuracy.update(logits(labels), labels)
    return accuracy.right, accuracy.counted


def palette(labels, void, folder):
    shown = [colour_labels(mask, 3, void) for mask in labels]
    return [picture[mask < 3].tolist() for picture, mask in zip(shown, labels, strict=True)]


def picture_sheet(labels, void, folder):
    segmentation_picture(images(), labels, np.zeros_like(labels), NAMES, void_label=void)


EVERY: list[Look] = [
    in_memory, in_files, augmented, loss, confusion, top_k, palette, picture_sheet
]  # fmt: skip


def legal_labels(void: int) -> np.ndarray:
    labels = np.random.default_rng(2).integers(0, 4, SHAPE, dtype=np.uint8)
    return np.where(labels == 3, void, labels).astype(np.uint8)


@pytest.mark.parametrize("look", EVERY, ids=lambda look: look.__name__)
def test_any_number_that_is_no_class_can_be_void(look, tmp_path):
    results = [look(legal_labels(void), void, tmp_path / str(void)) for void in (255, 3, 77)]
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize(("void", "bad"), [(255, 7), (255, 3), (11, 255), (None, 255)])
@pytest.mark.parametrize("look", EVERY, ids=lambda look: look.__name__)
def test_any_other_label_is_an_error_at_its_image_and_pixel(look, void, bad, tmp_path):
    labels = legal_labels(0 if void is None else void)
    labels[2, 1, 3] = bad
    with pytest.raises(ValueError, match=rf"got {bad}\b") as caught:
        look(labels, void, tmp_path)
    text = str(caught.value)
    assert "row 1, column 3" in text or "at [1, 3]" in text
    if look not in (palette, picture_sheet):  # they are shown one mask at a time
        assert "image 2" in text


@pytest.mark.parametrize(
    "use",
    [
        lambda: ArrayDataset(images(), np.zeros(SHAPE, np.uint8), NAMES, 2),
        lambda: ConfusionMatrix(3, 2),
        lambda: TopKAccuracy(1, 2).update(logits(np.zeros(SHAPE)), np.zeros(SHAPE, int)),
        lambda: loss(np.zeros(SHAPE, np.uint8), 2, Path()),
    ],
    ids=["data set", "confusion", "top-k", "loss"],
)
def test_void_is_never_a_class(use):
    with pytest.raises(ValueError, match="outside"):
        use()


def test_void_is_255_unless_said_otherwise():
    assert VOID_LABEL == VOC_VOID_LABEL == generate_shapes(1, (32, 32)).void_label == 255
    for takes in (mg.softmax_cross_entropy, ConfusionMatrix, TopKAccuracy, RandomCrop, RandomScale,
                  segmentation_picture):  # fmt: skip
        assert inspect.signature(takes).parameters["void_label"].default == VOID_LABEL


@pytest.mark.parametrize("block", [1, 7, 10**6])
def test_illegal_labels_are_found_in_any_block(block, monkeypatch):
    monkeypatch.setattr(rule, "BLOCK", block)
    labels = legal_labels(255)
    assert rule.find_illegal(labels, 3, 255) is None
    for place in [(0, 0, 0), (1, 3, 2), (2, 3, 4)]:
        spoilt = labels.copy()
        spoilt[place] = spoilt[2, 3, 4] = 9
        assert rule.find_illegal(spoilt, 3, 255) == place
