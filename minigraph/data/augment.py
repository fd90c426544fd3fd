"""Random changes of pictures, and of their masks along with them.

Each one is called with ``(images, labels, generator)`` and gives new images and labels; all that is
random comes from the generator, and each picture of the batch has its own draw. `Compose` puts
several in a row for ``batches(..., augment=...)``. Masks are indices: they are moved, cut and
scaled by the nearest one, never interpolated; where a picture has no pixels to show, the mask says
void. Labels ``(N,)`` of whole pictures pass through.

The void label given here has to be the data set's (`batches` refuses any other).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minigraph.data.batches import Augmentation
from minigraph.data.labels import VOID_LABEL
from minigraph.data.pictures import resize_image, resize_mask

Array = np.ndarray

LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)
PADDINGS = ("void", "reflect")


def random_horizontal_flip(
    images: Array, labels: Array, generator: np.random.Generator
) -> tuple[Array, Array]:
    """Mirror each picture left to right with probability 1/2, its mask along with it.

    Args:
        images: ``(N, C, H, W)``.
        labels: ``(N,)`` (left alone) or ``(N, H, W)`` (mirrored with their pictures).
        generator: where the coin tosses come from.

    Returns:
        New arrays of the same shapes and dtypes.
    """
    flip = generator.random(len(images)) < 0.5
    flipped_images = np.where(flip[:, None, None, None], images[..., ::-1], images)
    if labels.ndim == 1:
        return flipped_images, labels
    return flipped_images, np.where(flip[:, None, None], labels[..., ::-1], labels)


@dataclass(frozen=True)
class Compose:
    """One augmentation after another, such as ``Compose([RandomScale(), RandomCrop(96, 96)])``."""

    augmentations: Sequence[Augmentation]

    def __post_init__(self) -> None:
        object.__setattr__(self, "augmentations", tuple(self.augmentations))

    def __call__(
        self, images: Array, labels: Array, generator: np.random.Generator
    ) -> tuple[Array, Array]:
        """The batch after all of them, in order."""
        for augmentation in self.augmentations:
            images, labels = augmentation(images, labels, generator)
        return images, labels


@dataclass(frozen=True)
class RandomCrop:
    """A window of fixed size at a random place of each picture, all places alike.

    Along a side on which the picture is smaller than the window, the whole picture is kept, at a
    random place of the window.

    Attributes:
        height: of the window, in pixels.
        width: of the window, in pixels.
        padding: what lies outside of a smaller picture: ``void`` (images `fill`, masks void), or
            ``reflect`` (image and mask mirrored at the outermost pixel, which is not repeated).
        fill: value of every channel of padded pixels.
        void_label: label of padded pixels.
    """

    height: int
    width: int
    padding: str = "void"
    fill: int = 0
    void_label: int = VOID_LABEL

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError(f"Expected a crop of 1x1 or more, got {self.height}x{self.width}")
        if self.padding not in PADDINGS:
            raise ValueError(f"Expected padding among {', '.join(PADDINGS)}, got '{self.padding}'")
        _check_bytes(fill=self.fill, void_label=self.void_label)

    def __call__(
        self, images: Array, labels: Array, generator: np.random.Generator
    ) -> tuple[Array, Array]:
        """The windows: images ``(N, C, height, width)``, masks ``(N, height, width)``."""
        tops = _random_starts(generator, images.shape[2], self.height, len(images))
        lefts = _random_starts(generator, images.shape[3], self.width, len(images))
        cropped = self._cut_all(images, tops, lefts, self.fill)
        if labels.ndim == 1:
            return cropped, labels
        return cropped, self._cut_all(labels, tops, lefts, self.void_label)

    def _cut_all(self, arrays: Array, tops: Array, lefts: Array, fill: int) -> Array:
        shape = (self.height, self.width)
        cut = np.empty((*arrays.shape[:-2], *shape), arrays.dtype)
        for index, (top, left) in enumerate(zip(tops.tolist(), lefts.tolist(), strict=True)):
            if self.padding == "reflect":
                cut[index] = _cut_reflected(arrays[index], (top, left), shape)
            else:
                cut[index] = _cut_filled(arrays[index], (top, left), shape, fill)
        return cut


@dataclass(frozen=True)
class RandomScale:
    """Each picture enlarged or shrunk by its own factor, in a frame of unchanged size.

    Of an enlarged picture a random window is kept; a shrunk one lies at a random place of the
    frame, and the rest of the frame is `fill` in the image and void in the mask. Images are
    interpolated bilinearly, masks take the nearest index.

    Attributes:
        low: the smallest factor.
        high: the largest factor; all between are alike.
        fill: value of every channel of pixels outside of a shrunk picture.
        void_label: label of pixels outside of a shrunk picture.
    """

    low: float = 0.5
    high: float = 2.0
    fill: int = 0
    void_label: int = VOID_LABEL

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high < float("inf"):
            raise ValueError(f"Expected factors 0 < low <= high, got {self.low} and {self.high}")
        _check_bytes(fill=self.fill, void_label=self.void_label)

    def __call__(
        self, images: Array, labels: Array, generator: np.random.Generator
    ) -> tuple[Array, Array]:
        """Arrays of the same shapes."""
        factors = generator.uniform(self.low, self.high, len(images))
        frame = images.shape[2:]
        heights, widths = (np.maximum(1, np.rint(factors * side).astype(int)) for side in frame)
        tops = _random_starts(generator, heights, frame[0], len(images))
        lefts = _random_starts(generator, widths, frame[1], len(images))
        scaled_images, scaled_labels = np.empty_like(images), np.empty_like(labels)
        for index in range(len(images)):
            size = int(heights[index]), int(widths[index])
            start = int(tops[index]), int(lefts[index])
            image = resize_image(images[index], *size)
            scaled_images[index] = _cut_filled(image, start, frame, self.fill)
            if labels.ndim == 3:
                mask = resize_mask(labels[index], *size)
                scaled_labels[index] = _cut_filled(mask, start, frame, self.void_label)
        return scaled_images, labels if labels.ndim == 1 else scaled_labels


@dataclass(frozen=True)
class ColourJitter:
    """Random brightness, contrast and saturation of each picture; labels are left alone.

    Each is a factor drawn evenly from ``[1 - x, 1 + x]``, in this order: brightness multiplies the
    picture; contrast multiplies its difference from its own mean luminance; saturation multiplies
    the difference of each pixel from its luminance (pictures of other than three channels have
    none, and are left alone by it). The result is rounded, and clipped to 0..255 once, at the end.

    Attributes:
        brightness: ``x`` of brightness, 0 (none) to 1.
        contrast: ``x`` of contrast, 0 (none) to 1.
        saturation: ``x`` of saturation, 0 (none) to 1.
    """

    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"Expected {name} of 0 to 1, got {getattr(self, name)}")

    def __call__(
        self, images: Array, labels: Array, generator: np.random.Generator
    ) -> tuple[Array, Array]:
        """New images of the same shape, and the labels given."""
        reach = np.array([self.brightness, self.contrast, self.saturation])
        factors = 1 + reach * generator.uniform(-1, 1, (len(images), 3))
        jittered = np.empty_like(images)
        for index, (brightness, contrast, saturation) in enumerate(factors.tolist()):
            picture = images[index].astype(np.float32)
            picture *= brightness
            mean = _luminance(picture).mean()
            picture = mean + contrast * (picture - mean)
            if len(picture) == 3:
                grey = _luminance(picture)
                picture = grey + saturation * (picture - grey)
            jittered[index] = np.clip(np.rint(picture), 0, 255)
        return jittered, labels


def _luminance(picture: Array) -> Array:
    """``(H, W)`` of a picture ``(C, H, W)``: weighted for three channels, else the mean."""
    if len(picture) == 3:
        return np.tensordot(np.array(LUMINANCE, picture.dtype), picture, 1)
    return picture.mean(axis=0)


def _random_starts(
    generator: np.random.Generator, size: int | Array, window: int, count: int
) -> Array:
    """Where windows begin on sides of `size` pixels; negative where the side is the shorter one."""
    room = np.asarray(size) - window
    return generator.integers(np.minimum(room, 0), np.maximum(room, 0), count, endpoint=True)


def _cut_filled(pixels: Array, start: tuple[int, int], shape: tuple[int, ...], fill: int) -> Array:
    """The window ``pixels[..., top:, left:]`` of `shape`, `fill` where it reaches beyond them."""
    cut = np.full((*pixels.shape[:-2], *shape), fill, pixels.dtype)
    source, target = [], []
    for side, first, length in zip(pixels.shape[-2:], start, shape, strict=True):
        begin, end = max(first, 0), min(first + length, side)
        source.append(slice(begin, end))
        target.append(slice(begin - first, end - first))
    cut[..., target[0], target[1]] = pixels[..., source[0], source[1]]
    return cut


def _cut_reflected(pixels: Array, start: tuple[int, int], shape: tuple[int, int]) -> Array:
    """The window ``pixels[..., top:, left:]`` of `shape`, mirrored where it reaches beyond them."""
    rows, columns = (
        _reflect(np.arange(first, first + length), side)
        for side, first, length in zip(pixels.shape[-2:], start, shape, strict=True)
    )
    return pixels[..., rows[:, None], columns]


def _reflect(places: Array, side: int) -> Array:
    """Each place folded back into ``0..side - 1``, to and fro: ``... 2 1 0 1 2 ...``."""
    period = max(1, 2 * (side - 1))
    folded = places % period
    return np.where(folded < side, folded, period - folded)


def _check_bytes(**values: int) -> None:
    for name, value in values.items():
        if not 0 <= value <= 255:
            raise ValueError(f"Expected {name} in 0..255, got {value}")
