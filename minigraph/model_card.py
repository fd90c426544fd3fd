"""What a saved model says of itself, so that it can be used from its file alone."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import minigraph as mg

METADATA_KEY = "model_card"


@dataclass(frozen=True)
class ModelCard:
    """The task of a model: classify images, or their pixels.

    Attributes:
        segmentation: True if every pixel gets a class, False if every image does.
        class_names: the name of class ``i`` at place ``i``.
        void_label: the label that counted nowhere in training; None if there was none.
        image_shape: ``(C, H, W)`` of the images that it was trained on; other heights and widths
            may do as well (see `minigraph.prediction`).
        dataset: the name of the set that it was trained on.
    """

    segmentation: bool
    class_names: tuple[str, ...]
    void_label: int | None
    image_shape: tuple[int, int, int]
    dataset: str

    def __post_init__(self) -> None:
        channels, height, width = self.image_shape
        if not self.class_names or min(channels, height, width) < 1:
            raise ValueError(
                f"Expected classes and an image shape (C, H, W), got {len(self.class_names)} "
                f"classes and {self.image_shape}"
            )

    @property
    def classes(self) -> int:
        """Number of classes (void is not one of them)."""
        return len(self.class_names)

    def to_metadata(self) -> dict[str, str]:
        """For ``executable.save(path, metadata=card.to_metadata())``."""
        return {METADATA_KEY: json.dumps(asdict(self))}

    @classmethod
    def of(cls, model: mg.Executable) -> ModelCard:
        """The card of a loaded model. Raises mg.LoadError where it has none that can be read."""
        text = model.metadata.get(METADATA_KEY)
        if text is None:
            raise mg.LoadError(
                "Expected a model with a model card (class names, void label), got one without: "
                "save it with step.save(path, metadata=ModelCard(...).to_metadata())"
            )
        try:
            return cls._parse(json.loads(text))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise mg.LoadError(
                f"Expected a model card, got one that cannot be read: {error}"
            ) from None

    @classmethod
    def _parse(cls, fields: dict) -> ModelCard:
        channels, height, width = (int(size) for size in fields["image_shape"])
        void = fields["void_label"]
        return cls(
            segmentation=bool(fields["segmentation"]),
            class_names=tuple(str(name) for name in fields["class_names"]),
            void_label=None if void is None else int(void),
            image_shape=(channels, height, width),
            dataset=str(fields["dataset"]),
        )
