"""Pascal VOC 2012 segmentation, from the folder `VOCdevkit/VOC2012` as it is distributed.

ImageSets/Segmentation/train.txt   names, one a line (also val.txt, trainval.txt)
JPEGImages/<name>.jpg              pictures of many sizes, 500 pixels at the most a side
SegmentationClass/<name>.png       palette masks: 0 background, 1..20 things, 255 void
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from minigraph.data.batches import ArrayDataset
from minigraph.data.pictures import (
    check_size,
    read_image,
    read_mask,
    resize_image,
    resize_mask,
    size_of,
)

Array = np.ndarray

VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus",
    "car", "cat", "chair", "cow", "diningtable", "dog", "horse",
    "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
VOC_VOID_LABEL = 255
VOC_SIZE = (500, 500)


def load_voc_segmentation(
    root: str | Path, split: str, *, size: tuple[int, int] = VOC_SIZE
) -> ArrayDataset:
    """One split of Pascal VOC 2012, all pictures in frames of one size.

    A picture lies at the top left of its frame; below and to the right of it the image is black
    and the mask void. A picture larger than the frame is first shrunk to fit, its proportions
    kept, the image bilinearly and the mask by the nearest index; none is enlarged. Scores of
    shrunk masks are not those of the official evaluation; the default frame shrinks none.

    All is held in memory: 1 MB a picture at 500x500.

    Args:
        root: the folder `VOC2012`.
        split: ``train``, ``val`` or another list in `ImageSets/Segmentation`.
        size: (height, width) of the frames.

    Returns:
        A data set of images uint8 ``(N, 3, height, width)`` and labels uint8 ``(N, height,
        width)``, void 255, in the order of the list.

    Raises:
        FileNotFoundError: the list, or a picture or mask that it names, is missing.
        ValueError: naming the file: the list is empty, an image and its mask differ in size, a
            value is neither a class nor void, or the file cannot be read.
    """
    check_size(size)
    root = Path(root)
    list_path = root / "ImageSets" / "Segmentation" / f"{split}.txt"
    names = _read_list(list_path)
    images = np.zeros((len(names), 3, *size), np.uint8)
    labels = np.full((len(names), *size), VOC_VOID_LABEL, np.uint8)
    for index, name in enumerate(names):
        image_path = _member(root / "JPEGImages" / f"{name}.jpg", list_path)
        mask_path = _member(root / "SegmentationClass" / f"{name}.png", list_path)
        image = read_image(image_path, channels=3)
        mask = read_mask(mask_path, len(VOC_CLASSES), VOC_VOID_LABEL)
        if image.shape[1:] != mask.shape:
            raise ValueError(
                f"Expected a mask of {size_of(image)} pixels like its picture {image_path}, got "
                f"{size_of(mask)}: {mask_path}"
            )
        height, width = _fit(mask.shape, size)
        images[index, :, :height, :width] = resize_image(image, height, width)
        labels[index, :height, :width] = resize_mask(mask, height, width)
    return ArrayDataset(images, labels, VOC_CLASSES, VOC_VOID_LABEL, f"{root.name}/{split}")


def _read_list(path: Path) -> list[str]:
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected a list of names as in Pascal VOC 2012, got no file: {path}"
        )
    names = path.read_text(encoding="utf-8", errors="replace").split()
    if not names:
        raise ValueError(f"Expected names, one a line, got an empty list: {path}")
    return names


def _member(path: Path, list_path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"Expected {path}, which {list_path} names, got no such file")
    return path


def _fit(shape: tuple[int, ...], frame: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a picture of `shape` once it is shrunk, if it has to be, to `frame`."""
    factor = min(1.0, frame[0] / shape[0], frame[1] / shape[1])
    height, width = (max(1, round(factor * side)) for side in shape)
    return height, width
