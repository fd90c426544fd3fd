"""Padding to a network's total stride, against indices worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

import minigraph as mg
from minigraph.models.unet import unet
from minigraph.prediction import pad_labels_to_multiple, pad_to_multiple, size_multiple


def mirrored(index: int, size: int) -> int:
    """Where position ``index`` of an endless mirror of ``size`` pixels comes from."""
    if size == 1:
        return 0
    index %= 2 * (size - 1)
    return index if index < size else 2 * (size - 1) - index


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("size", [(5, 7), (8, 8), (1, 1), (2, 3), (9, 16)])
def test_images_are_mirrored(size: tuple[int, int], dtype: type) -> None:
    images = np.random.default_rng(0).integers(0, 255, (2, 3, *size)).astype(dtype)
    padded = pad_to_multiple(images, (8, 4))
    assert padded.dtype == dtype
    assert padded.shape == (2, 3, -(-size[0] // 8) * 8, -(-size[1] // 4) * 4)
    for i in range(padded.shape[2]):
        for j in range(padded.shape[3]):
            expected = images[:, :, mirrored(i, size[0]), mirrored(j, size[1])]
            assert np.array_equal(padded[:, :, i, j], expected)


def test_what_fits_is_left_alone() -> None:
    images, labels = np.zeros((1, 3, 16, 8), np.uint8), np.zeros((1, 16, 8), np.int32)
    assert pad_to_multiple(images, 8) is images
    assert pad_labels_to_multiple(labels, 8, 255) is labels


def test_labels_are_padded_with_void() -> None:
    labels = np.ones((2, 5, 8), np.int32)
    padded = pad_labels_to_multiple(labels, 4, 11)
    assert padded.dtype == np.int32
    assert (padded[:, :5] == 1).all()
    assert padded.shape == (2, 8, 8)
    assert (padded[:, 5:] == 11).all()


@pytest.mark.parametrize(
    ("shape", "multiple", "told"),
    [((1, 3, 0, 4), 4, "width last"), ((3, 4, 4), 4, "4 axes"), ((1, 3, 4, 4), 0, "one")],
)  # fmt: skip
def test_wrong_arguments(shape: tuple[int, ...], multiple: int, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        pad_to_multiple(np.zeros(shape), multiple)


def test_the_multiple_comes_from_the_graph() -> None:
    def model(image):
        return mg.max_pool2d(unet(image, 3, base=2, depth=2), (1, 3))

    exe = mg.compile(model, {"image": "float32[1,3,24,24]"})
    assert size_multiple(exe) == (4, 12)


def test_the_multiple_of_a_step_with_its_loss() -> None:
    """As evaluation compiles it: the loss takes all pixels together and has no stride."""

    def model(image, label):
        logits = unet(image, 3, base=2, depth=3)
        return {"loss": mg.softmax_cross_entropy(logits, label), "prediction": mg.argmax(logits)}

    exe = mg.compile(model, {"image": "float32[2,3,24,24]", "label": "int32[2,24,24]"})
    assert size_multiple(exe) == (8, 8)
