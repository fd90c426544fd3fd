"""Model cards: written with a model, read from its file alone."""

from __future__ import annotations

import json

import pytest

import minigraph as mg
from minigraph.model_card import METADATA_KEY, ModelCard

CARD = ModelCard(True, ("sky", "road"), 255, (3, 8, 8), "streets")


def model(image):
    return {"logits": mg.conv2d(image, 2, 1, name="head")}


def saved(path, metadata):
    mg.compile(model, {"image": "float32[1,3,8,8]"}).save(path, metadata=metadata)
    return mg.load(path)


def test_a_card_comes_back(tmp_path):
    assert ModelCard.of(saved(tmp_path / "m.safetensors", CARD.to_metadata())) == CARD


def test_a_model_without_a_card_is_refused(tmp_path):
    with pytest.raises(mg.LoadError, match="Expected a model with a model card"):
        ModelCard.of(saved(tmp_path / "m.safetensors", {}))


@pytest.mark.parametrize(
    "change",
    [{"image_shape": [3, 8]}, {"image_shape": [3, 8, 0]}, {"class_names": []}, {"void_label": "x"},
     {"image_shape": None}, {"image_shape": [3, 8, True]}, {"image_shape": [3, 8, 8.5]},
     {"image_shape": [3, 8, float("inf")]}, {"segmentation": "false"}, {"segmentation": 1},
     {"class_names": "ab"}, {"class_names": ["sky", 7]}, {"class_names": ["sky", "sky"]},
     {"class_names": {"sky": 1, "road": 2}}, {"void_label": 1}, {"void_label": True},
     {"void_label": 2.5}, {"void_label": float("inf")}, {"dataset": None}],
)  # fmt: skip
def test_a_damaged_card_is_refused(tmp_path, change):
    fields = json.loads(CARD.to_metadata()[METADATA_KEY]) | change
    with pytest.raises(mg.LoadError, match="Expected a model card"):
        ModelCard.of(saved(tmp_path / "m.safetensors", {METADATA_KEY: json.dumps(fields)}))


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"a":' * 100_000])
def test_a_card_that_is_none_is_refused(tmp_path, text):
    with pytest.raises(mg.LoadError, match="Expected a model card"):
        ModelCard.of(saved(tmp_path / "m.safetensors", {METADATA_KEY: text}))


def test_two_classes_of_one_name_are_refused():
    with pytest.raises(ValueError, match="got 'sky' twice"):
        ModelCard(True, ("sky", "road", "sky"), 255, (3, 8, 8), "streets")


def test_a_void_label_that_is_a_class_is_refused():
    with pytest.raises(ValueError, match=r"no class \(0\.\.1\), or None, got 1"):
        ModelCard(True, ("sky", "road"), 1, (3, 8, 8), "streets")
    assert ModelCard(True, ("sky", "road"), -1, (3, 8, 8), "streets").void_label == -1
