"""How pictures and masks, of whatever size their files are, come to be of the one size of a set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from minigraph.data.pictures import Size, resize_image, resize_mask, size_text

Array = np.ndarray


class Framing(Protocol):
    """One way to do it; it treats a picture and its mask alike."""

    @property
    def size(self) -> Size:
        """(height, width) of every picture of the set."""
        ...

    def check(self, size: Size, path: Path) -> None:
        """Raise ValueError if a file of that size does not serve."""
        ...

    def image(self, image: Array) -> Array:
        """uint8 ``(C, h, w)`` to uint8 ``(C, *size)``."""
        ...

    def mask(self, mask: Array) -> Array:
        """uint8 ``(h, w)`` to uint8 ``size``."""
        ...


@dataclass(frozen=True)
class Unchanged:
    """All files are of one size already, that of the `first`."""

    size: Size
    first: Path
    way_out: str

    def check(self, size: Size, path: Path) -> None:
        """Raise ValueError for another size."""
        if size != self.size:
            raise ValueError(
                f"Expected {size_text(self.size)} pixels like {self.first}, got "
                f"{size_text(size)}: {path}. {self.way_out}"
            )

    def image(self, image: Array) -> Array:
        """As it is."""
        return image

    def mask(self, mask: Array) -> Array:
        """As it is."""
        return mask


@dataclass(frozen=True)
class TopLeft:
    """The top left corner of each, cut out."""

    size: Size

    def check(self, size: Size, path: Path) -> None:
        """Raise ValueError for a smaller picture."""
        if size[0] < self.size[0] or size[1] < self.size[1]:
            raise ValueError(
                f"Expected at least the crop of {size_text(self.size)} pixels, got "
                f"{size_text(size)}: {path}"
            )

    def image(self, image: Array) -> Array:
        """The corner."""
        return image[:, : self.size[0], : self.size[1]]

    def mask(self, mask: Array) -> Array:
        """The corner."""
        return mask[: self.size[0], : self.size[1]]


@dataclass(frozen=True)
class Resized:
    """Each resized without regard to its proportions."""

    size: Size

    def check(self, size: Size, path: Path) -> None:
        """Any size serves."""

    def image(self, image: Array) -> Array:
        """Bilinearly."""
        return resize_image(image, *self.size)

    def mask(self, mask: Array) -> Array:
        """By the nearest index."""
        return resize_mask(mask, *self.size)


@dataclass(frozen=True)
class TopLeftOfFrame:
    """Each at the top left of a frame; beyond it the image is black and the mask void.

    A picture larger than the frame is first shrunk to fit, its proportions kept: the image
    bilinearly, the mask by the nearest index. None is enlarged.
    """

    size: Size
    void_label: int

    def check(self, size: Size, path: Path) -> None:
        """Any size serves."""

    def image(self, image: Array) -> Array:
        """In its frame."""
        height, width = self._fit(image.shape[1:])
        framed = np.zeros((len(image), *self.size), np.uint8)
        framed[:, :height, :width] = resize_image(image, height, width)
        return framed

    def mask(self, mask: Array) -> Array:
        """In its frame."""
        height, width = self._fit(mask.shape)
        framed = np.full(self.size, self.void_label, np.uint8)
        framed[:height, :width] = resize_mask(mask, height, width)
        return framed

    def _fit(self, shape: tuple[int, ...]) -> Size:
        factor = min(1.0, self.size[0] / shape[0], self.size[1] / shape[1])
        height, width = (max(1, round(factor * side)) for side in shape)
        return height, width
