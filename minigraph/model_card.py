"""What a saved model says of itself, so that it can be used from its file alone."""

from __future__ import annotations

import json
from collections import Counter
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

    Raises:
        ValueError: a field of another type, no class, two of one name, or a void label that is a
            class.
    """

    segmentation: bool
    class_names: tuple[str, ...]
    void_label: int | None
    image_shape: tuple[int, int, int]
    dataset: str

    def __post_init__(self) -> None:
        if not isinstance(self.segmentation, bool) or not isinstance(self.dataset, str):
            raise ValueError(
                f"Expected segmentation as a bool and the name of a data set, got "
                f"{self.segmentation!r} and {self.dataset!r}"
            )
        self._check_classes()
        shape = self.image_shape
        if not isinstance(shape, tuple) or len(shape) != 3 or not all(map(_is_size, shape)):
            raise ValueError(f"Expected an image shape (C, H, W), got {shape}")

    def _check_classes(self) -> None:
        names, void = self.class_names, self.void_label
        if not isinstance(names, tuple) or not names or not all(isinstance(n, str) for n in names):
            raise ValueError(f"Expected a tuple of class names, got {names!r}")
        twice = next((name for name, count in Counter(names).items() if count > 1), None)
        if twice is not None:
            raise ValueError(f"Expected a name of its own for each class, got {twice!r} twice")
        if void is not None and (not _is_integer(void) or 0 <= void < len(names)):
            raise ValueError(
                f"Expected a void label that is no class (0..{len(names) - 1}), or None, got "
                f"{void!r}"
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
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise mg.LoadError(
                f"Expected a model card, got one that cannot be read: {error}"
            ) from None

    @classmethod
    def _parse(cls, fields: dict) -> ModelCard:
        names, shape = fields["class_names"], fields["image_shape"]
        return cls(
            segmentation=fields["segmentation"],
            class_names=tuple(names) if isinstance(names, list) else names,
            void_label=fields["void_label"],
            image_shape=tuple(shape) if isinstance(shape, list) else shape,
            dataset=fields["dataset"],
        )


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_size(value: object) -> bool:
    return _is_integer(value) and value >= 1  # type: ignore[operator]
