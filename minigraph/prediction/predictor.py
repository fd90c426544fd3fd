"""From a saved model alone to what it says of an image.

Segmentation takes images of any size. They are padded at the bottom and the right, by mirroring, up
to the next multiple of the network's total stride; what is predicted there is cut off again. Large
images are run in tiles, which changes nothing but the rounding. Classifiers take images of any size
too: they are resized, bilinearly, to the size that the network was trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isqrt
from pathlib import Path

import numpy as np

import minigraph as mg
from minigraph.data.pictures import CHANNEL_MODES, resize_image
from minigraph.ir.graph import Graph
from minigraph.ir.spec import DTypeLike
from minigraph.model_card import ModelCard
from minigraph.prediction.padding import pad_to_multiple, size_multiple
from minigraph.prediction.reading import Picture, read_picture
from minigraph.prediction.tiles import (
    Piece,
    TilePlan,
    TileTooSmall,
    pixels_within,
    plan_tiles,
    run_tiles,
)
from minigraph.serialization import load_model

Array = np.ndarray
Size = tuple[int, int]  # (height, width) in pixels

IMAGE, LOGITS, PREDICTION = "image", "logits", "prediction"
DEFAULT_MEMORY = 2**29  # bytes for the values of one run; programs of several sizes are kept
MOST_CLASSES = 256  # labels are uint8


@dataclass(frozen=True)
class Segmentation:
    """What a model says of the pixels of one image.

    Attributes:
        labels: class of each pixel, uint8 ``(H, W)``.
        confidence: softmax probability of the likeliest class, float32 ``(H, W)``.
        class_names: the name of class ``i`` at place ``i``.
    """

    labels: Array
    confidence: Array
    class_names: tuple[str, ...]

    def shares(self) -> dict[str, float]:
        """The part of the pixels that each class has; they sum to 1."""
        counts = np.bincount(self.labels.ravel(), minlength=len(self.class_names))
        return dict(zip(self.class_names, (counts / self.labels.size).tolist(), strict=True))


@dataclass(frozen=True)
class Classification:
    """What a model says of one image.

    Attributes:
        label: the class.
        probabilities: softmax probability of each class, float32 ``(K,)``.
        class_names: the name of class ``i`` at place ``i``.
    """

    label: int
    probabilities: Array
    class_names: tuple[str, ...]

    @property
    def class_name(self) -> str:
        """The name of the class."""
        return self.class_names[self.label]

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The likeliest classes with their probabilities; of equal ones the lower class first."""
        order = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.class_names[i], float(self.probabilities[i])) for i in order]


class Predictor:
    """A saved model, ready to be asked::

        predictor = Predictor.load("runs/unet-shapes/model.safetensors")
        labels = predictor("street.jpg").labels  # uint8 (H, W)

    Attributes:
        card: task, class names, trained size.
        multiple: (height, width) to multiples of which images are padded.
    """

    def __init__(
        self,
        model: mg.Executable,
        card: ModelCard,
        *,
        tile: Size | None = None,
        memory: int = DEFAULT_MEMORY,
    ) -> None:
        """``model`` is inference, with the input ``image`` (1,C,H,W) and the outputs ``logits`` and
        ``prediction``; the rest is as in `load`."""
        if tile is not None and (len(tile) != 2 or min(tile) < 1):
            raise ValueError(f"Expected a tile of (height, width) pixels, got {tile}")
        if memory < 1:
            raise ValueError(f"Expected memory as a number of bytes, got {memory}")
        self.card = card
        self._model = model
        self._tile = tile
        self._memory = memory
        self._planned: tuple[tuple[int, ...], TilePlan | None] = ((), None)  # for the last shape

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        backend: str = "auto",
        threads: int | None = None,
        tile: Size | None = None,
        memory: int = DEFAULT_MEMORY,
        precision: DTypeLike | mg.MixedPrecision = "float32",
    ) -> Predictor:
        """Load a model that was saved with a model card; no model code is needed.

        ``tile`` (height, width) runs images in windows of at most so many pixels; a model that
        looks at the whole image at once refuses it. Without it, images that would take more than
        about ``memory`` bytes are run in tiles where the model allows, in the smallest that do
        where no tile takes so little. ``precision`` is that of ``mg.load``. Raises LoadError for a
        file that is no such model.
        """
        saved = load_model(path)
        shape = _image_shape(saved.graph, path)
        model = mg.load(
            path,
            inputs={IMAGE: ((1, *shape), "float32")},
            outputs=[name for name in (PREDICTION, LOGITS) if name in saved.graph.outputs] or None,
            backend=backend,
            threads=threads,
            precision=precision,
        )
        try:
            card = ModelCard.of(model)
        except mg.LoadError as error:
            raise mg.LoadError(f"{path}: {error}") from None
        _check(path, saved.graph, card, shape)
        return cls(model, card, tile=tile, memory=memory)

    def __call__(self, picture: Picture) -> Segmentation | Classification:
        """What the model says of a file, a Pillow image, or an array uint8 (1 or 3, H, W).

        Channels are converted to the model's. Raises ValueError for what is no picture.
        """
        return self.segment(picture) if self.card.segmentation else self.classify(picture)

    def segment(self, picture: Picture) -> Segmentation:
        """The class of every pixel. Raises ValueError for a model of whole images."""
        self._expect_segmentation(True)
        image = read_picture(picture, self.card.image_shape[0])
        height, width = image.shape[1:]
        padded = pad_to_multiple(image[None], self.multiple)
        labels = np.empty(padded.shape[2:], np.uint8)
        confidence = np.empty(padded.shape[2:], np.float32)
        for pieces in self._run(padded):
            place = pieces[PREDICTION].place[1:]
            labels[place] = pieces[PREDICTION].values[0]
            confidence[place] = _softmax(pieces[LOGITS].values)[0].max(axis=0)
        names = self.card.class_names
        return Segmentation(labels[:height, :width], confidence[:height, :width], names)

    def classify(self, picture: Picture) -> Classification:
        """The class of an image. Raises ValueError for a model of pixels."""
        self._expect_segmentation(False)
        channels, height, width = self.card.image_shape
        image = resize_image(read_picture(picture, channels), height, width)
        results = self._model(image=_scaled(image[None]))
        probabilities = _softmax(results[LOGITS])[0]
        return Classification(int(results[PREDICTION][0]), probabilities, self.card.class_names)

    @cached_property
    def multiple(self) -> Size:
        """(height, width) to multiples of which images are padded: the network's total stride."""
        return size_multiple(self._model, IMAGE)

    @cached_property
    def most_pixels(self) -> int:
        """Images of more pixels are run in tiles, where no tile was asked for."""
        return pixels_within(self._model, self._memory)

    def _run(self, padded: Array) -> Iterator[Mapping[str, Piece]]:
        """The outputs for one image uint8 (1,C,H,W): in one piece, or tile by tile."""
        plan = self._plan(padded.shape)
        if plan is None:
            results = self._model({IMAGE: _scaled(padded)})
            _check_size(results[PREDICTION].shape[1:], padded.shape[2:])
            yield {name: Piece((slice(None),) * a.ndim, a) for name, a in results.items()}
            return
        _check_size(plan.outputs[PREDICTION].shape[1:], padded.shape[2:])

        def crop(rows: slice, columns: slice) -> Array:
            return _scaled(padded[:, :, rows, columns])

        yield from run_tiles(self._model, crop, plan)

    def _plan(self, shape: tuple[int, ...]) -> TilePlan | None:
        """The tiles for images of a shape; None for the whole image at once."""
        if self._planned[0] != shape:
            self._planned = (shape, self._make_plan(shape))
        return self._planned[1]

    def _make_plan(self, shape: tuple[int, ...]) -> TilePlan | None:
        height, width = shape[2:]
        if self._tile is not None:
            fits = height <= self._tile[0] and width <= self._tile[1]
            return None if fits else plan_tiles(self._model, shape, self._tile)
        if height * width <= self.most_pixels:
            return None
        edge = isqrt(self.most_pixels)
        while edge < max(height, width):
            try:
                return plan_tiles(self._model, shape, (edge, edge))
            except TileTooSmall as error:  # more memory than was meant, but as little as can be
                edge = max(error.least, edge + 1)
            except mg.SpecError:  # it looks at the whole image at once: there is no other way
                break
        return None

    def _expect_segmentation(self, segmentation: bool) -> None:
        if self.card.segmentation != segmentation:
            kinds = {True: "pixels: use segment", False: "whole images: use classify"}
            raise ValueError(
                f"Expected a model of {kinds[segmentation].split(':')[0]}, got one of "
                f"{kinds[self.card.segmentation]}"
            )


def _softmax(logits: Array) -> Array:
    """Probabilities along axis 1, float32."""
    powers = np.exp(logits.astype(np.float32) - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _scaled(images: Array) -> Array:
    """float32 in [0, 1], to the bit as `minigraph.data.batches` gives it in training."""
    return images * np.float32(1 / 255)


def _check_size(predicted: tuple[int, ...], image: tuple[int, ...]) -> None:
    if predicted != image:
        raise ValueError(
            f"Expected a prediction for each of {image[0]}x{image[1]} pixels, got "
            f"{'x'.join(map(str, predicted))}: the model gives another size than the image's"
        )


# ---- what a file must hold


def _image_shape(graph: Graph, path: str | Path) -> tuple[int, ...]:
    spec = next((value.spec for value in graph.inputs if value.name == IMAGE), None)
    if spec is None or spec.ndim != 4 or spec.dtype is not mg.DType.FLOAT32:
        raise mg.LoadError(
            f"{path}: Expected a model with an input '{IMAGE}' float32 (N,C,H,W), got "
            f"{', '.join(str(value) for value in graph.inputs) or 'none'}"
        )
    return spec.shape[1:]


def _check(path: str | Path, graph: Graph, card: ModelCard, shape: tuple[int, ...]) -> None:
    """Raise LoadError unless the card tells of this graph."""
    missing = [name for name in (LOGITS, PREDICTION) if name not in graph.outputs]
    if missing:
        raise mg.LoadError(
            f"{path}: Expected the outputs '{LOGITS}' and '{PREDICTION}', got "
            f"{', '.join(graph.outputs)}"
        )
    size = shape[1:] if card.segmentation else ()
    logits, labels = graph.outputs[LOGITS].spec, graph.outputs[PREDICTION].spec
    if logits.shape[1:] != (card.classes, *size) or labels.shape[1:] != size:
        raise mg.LoadError(
            f"{path}: Expected logits (N,{','.join(map(str, (card.classes, *size)))}) for the "
            f"{card.classes} classes of the model card, got {logits} and the prediction {labels}"
        )
    trained = card.image_shape[:1] if card.segmentation else card.image_shape
    if trained != shape[: len(trained)]:
        raise mg.LoadError(
            f"{path}: Expected images {card.image_shape} (C,H,W) as the model card says, got a "
            f"model for {shape}"
        )
    if shape[0] not in CHANNEL_MODES:
        raise mg.LoadError(
            f"{path}: Expected a model for grey or RGB images (1 or 3 channels), got {shape[0]}"
        )
    if card.classes > MOST_CLASSES:
        raise mg.LoadError(f"{path}: Expected at most {MOST_CLASSES} classes, got {card.classes}")
