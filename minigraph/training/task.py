"""A task: a network with its loss and prediction, as the model function that is compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

import minigraph as mg
from minigraph import Tensor
from minigraph.data import Dataset
from minigraph.ir.spec import DTypeLike
from minigraph.model_card import ModelCard
from minigraph.optimizers import LossScale, Optimizer
from minigraph.training.evaluation import void_of

Network = Callable[[Tensor], Tensor]
"""Images (N,C,H,W) to logits (N,K) or (N,K,H,W)."""


@dataclass(frozen=True)
class LabelTask:
    """Classify images, or their pixels: softmax cross-entropy, argmax as the prediction.

    Called with ``image`` (float32 (N,C,H,W) in [0,1]) and ``label`` (int32 (N,) or (N,H,W)).
    Normalisation by ``mean`` and ``std`` (per channel) is part of the graph, and so of a saved
    model. ``class_weights`` (one per class) weigh the loss in training; that of inference is not
    weighted, so that it can be averaged over batches and compared between runs.
    """

    network: Network
    mean: Sequence[float]
    std: Sequence[float]
    void_label: int | None
    class_weights: Sequence[float] | None = None

    @classmethod
    def for_dataset(
        cls, network: Network, dataset: Dataset, class_weights: Sequence[float] | None = None
    ) -> LabelTask:
        """The task that a data set poses, normalised by its own mean and standard deviation."""
        mean, std = dataset.channel_statistics()
        floor = [max(value, 1e-3) for value in std]  # a channel of one value stays finite
        return cls(network, mean, floor, void_of(dataset), class_weights)

    def __call__(self, image: Tensor, label: Tensor) -> dict[str, Tensor]:
        mean = np.asarray(self.mean, np.float32).reshape(1, -1, 1, 1)
        scale = (1.0 / np.asarray(self.std)).astype(np.float32).reshape(1, -1, 1, 1)
        logits = self.network((image - mean) * scale)
        loss = mg.softmax_cross_entropy(logits, label, void_label=self.void_label)
        if self.class_weights is not None:
            weighted = mg.softmax_cross_entropy(
                logits, label, void_label=self.void_label, class_weights=self.class_weights
            )
            loss = mg.when_training(weighted, loss)
        return {"loss": loss, "logits": logits, "prediction": mg.argmax(logits, 1)}

    def compile(
        self,
        dataset: Dataset,
        *,
        batch_size: int,
        optimizer: Optimizer,
        size: tuple[int, int] | None = None,
        seed: int = 0,
        backend: str = "auto",
        threads: int | None = None,
        precision: DTypeLike | mg.MixedPrecision = "float32",
        loss_scale: LossScale | str | float | None = None,
    ) -> tuple[mg.Executable, mg.Executable]:
        """A training step and its inference twin, on one state.

        ``size`` is the (height, width) of what is trained on, where augmentation crops; by default
        that of the data set. The twin takes images of other sizes too. ``precision`` (of both) and
        ``loss_scale`` (of the step) are those of ``mg.compile``.
        """
        channels, height, width = dataset.image_shape
        height, width = size or (height, width)
        label = (batch_size, height, width) if dataset.is_segmentation else (batch_size,)
        inputs = {
            "image": ((batch_size, channels, height, width), "float32"),
            "label": (label, "int32"),
        }
        step = mg.compile(
            self, inputs, optimizer=optimizer, outputs=["loss"], seed=seed, backend=backend,
            threads=threads, precision=precision, loss_scale=loss_scale,
        )  # fmt: skip
        model = mg.compile(
            self, inputs, outputs=["loss", "prediction"], state=step.state, backend=backend,
            threads=threads, precision=precision,
        )  # fmt: skip
        return step, model


def card_of(dataset: Dataset, size: tuple[int, int] | None = None) -> ModelCard:
    """What a model that was trained on a data set says of itself; ``size`` as in training."""
    channels, height, width = dataset.image_shape
    height, width = size or (height, width)
    return ModelCard(
        segmentation=dataset.is_segmentation,
        class_names=dataset.class_names,
        void_label=dataset.void_label,
        image_shape=(channels, height, width),
        dataset=dataset.name,
    )
