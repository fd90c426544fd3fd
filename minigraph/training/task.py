"""A task: a network with its loss and prediction, as the model function that is compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

import minigraph as mg
from minigraph import Tensor

Network = Callable[[Tensor], Tensor]
"""Images (N,C,H,W) to logits (N,K) or (N,K,H,W)."""


@dataclass(frozen=True)
class LabelTask:
    """Classify images, or their pixels: softmax cross-entropy, argmax as the prediction.

    Called with ``image`` (float32 (N,C,H,W) in [0,1]) and ``label`` (int32 (N,) or (N,H,W)).
    Normalisation by ``mean`` and ``std`` (per channel) is part of the graph, and so of a saved
    model.
    """

    network: Network
    mean: Sequence[float]
    std: Sequence[float]
    void_label: int | None

    def __call__(self, image: Tensor, label: Tensor) -> dict[str, Tensor]:
        mean = np.asarray(self.mean, np.float32).reshape(1, -1, 1, 1)
        scale = (1.0 / np.asarray(self.std)).astype(np.float32).reshape(1, -1, 1, 1)
        logits = self.network((image - mean) * scale)
        loss = mg.softmax_cross_entropy(logits, label, void_label=self.void_label)
        return {"loss": loss, "logits": logits, "prediction": mg.argmax(logits, 1)}
