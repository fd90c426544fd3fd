"""A model from a file at other input shapes."""

from __future__ import annotations

import numpy as np
import pytest

import minigraph as mg
from minigraph.ir.errors import InputError
from minigraph.models.segnet import segnet


def test_a_saved_segnet_takes_images_of_other_sizes(tmp_path):
    """The unpooled sizes follow from those of the maps that were pooled."""

    def model(image):
        return {"logits": segnet(image, 3, base=2)}

    built = mg.compile(model, {"image": "float32[1,3,32,32]"}, backend="numpy")
    built.save(tmp_path / "segnet.safetensors")
    loaded = mg.load(tmp_path / "segnet.safetensors", backend="numpy")
    image = np.random.default_rng(0).standard_normal((2, 3, 64, 96), dtype=np.float32)
    np.testing.assert_array_equal(loaded(image=image)["logits"], built(image=image)["logits"])


def test_unpooling_to_a_size_of_its_own_stays_at_that_shape(tmp_path):
    def model(x):
        pooled, positions = mg.max_pool2d_with_positions(x, 2)
        return {"y": mg.max_unpool2d(pooled, positions, (9, 9))}

    mg.compile(model, {"x": "float32[1,1,8,8]"}, backend="numpy").save(tmp_path / "m.safetensors")
    loaded = mg.load(tmp_path / "m.safetensors", backend="numpy")
    with pytest.raises(InputError, match="MaxUnpool2d"):
        loaded(x=np.zeros((1, 1, 6, 6), np.float32))
