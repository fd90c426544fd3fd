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
     {"image_shape": None}],
)  # fmt: skip
def test_a_damaged_card_is_refused(tmp_path, change):
    fields = json.loads(CARD.to_metadata()[METADATA_KEY]) | change
    with pytest.raises(mg.LoadError, match="Expected a model card"):
        ModelCard.of(saved(tmp_path / "m.safetensors", {METADATA_KEY: json.dumps(fields)}))


@pytest.mark.parametrize("text", ["", "[]", "{}", "null"])
def test_a_card_that_is_none_is_refused(tmp_path, text):
    with pytest.raises(mg.LoadError, match="Expected a model card"):
        ModelCard.of(saved(tmp_path / "m.safetensors", {METADATA_KEY: text}))
