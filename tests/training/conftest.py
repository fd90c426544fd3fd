"""The pictures that training is tested with."""

from __future__ import annotations

import numpy as np
import pytest

from minigraph.data import ArrayDataset


@pytest.fixture
def dataset() -> ArrayDataset:
    """22 small pictures with masks of three classes and void: five batches of four, two left."""
    generator = np.random.default_rng(1)
    images = generator.integers(0, 256, (22, 3, 12, 12), dtype=np.uint8)
    labels = generator.integers(0, 3, (22, 12, 12), dtype=np.uint8)
    labels[:, 0] = 255
    return ArrayDataset(images, labels, ("a", "b", "c"), 255)
