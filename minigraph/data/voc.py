"""Pascal VOC 2012 segmentation, from the folder `VOCdevkit/VOC2012` as it is distributed.

ImageSets/Segmentation/train.txt   names, one a line (also val.txt, trainval.txt)
JPEGImages/<name>.jpg              pictures of many sizes, 500 pixels at the most a side
SegmentationClass/<name>.png       palette masks: 0 background, 1..20 things, 255 void
"""

from __future__ import annotations

from pathlib import Path

from minigraph.data.dataset import ArrayDataset
from minigraph.data.files import FileDataset, Report, Sample, open_files, raise_problem
from minigraph.data.framing import TopLeftOfFrame
from minigraph.data.labels import VOID_LABEL
from minigraph.data.pictures import Size, check_channels, check_size

VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus",
    "car", "cat", "chair", "cow", "diningtable", "dog", "horse",
    "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
VOC_VOID_LABEL = VOID_LABEL
VOC_SIZE = (500, 500)


def open_voc_segmentation(
    root: str | Path, split: str, *, size: Size = VOC_SIZE, channels: int = 3
) -> FileDataset:
    """One split of Pascal VOC 2012, all pictures in frames of one size.

    A picture lies at the top left of its frame; below and to the right of it the image is black
    and the mask void. A picture larger than the frame is first shrunk to fit, its proportions
    kept, the image bilinearly and the mask by the nearest index; none is enlarged. Scores of
    shrunk masks are not those of the official evaluation; the default frame shrinks none.

    The headers of all files are looked at here, their pixels when they are fetched. In memory a
    picture takes 1 MB at 500x500.

    Args:
        root: the folder `VOC2012`.
        split: ``train``, ``val`` or another list in `ImageSets/Segmentation`.
        size: (height, width) of the frames.
        channels: 3 for RGB, 1 for grey (colours become luminance).

    Returns:
        A data set of images uint8 ``(N, channels, height, width)`` and labels uint8 ``(N, height,
        width)``, void 255, in the order of the list.

    Raises:
        FileNotFoundError: the list, or a picture or mask that it names, is missing.
        ValueError: naming the file: the list is empty, an image and its mask differ in size, or the
            file cannot be read; when it is fetched: a value is neither a class nor void.
    """
    root = Path(root)
    (dataset,) = open_voc_splits(root, (split,), size=size, channels=channels)
    return dataset


def load_voc_segmentation(
    root: str | Path, split: str, *, size: Size = VOC_SIZE, channels: int = 3
) -> ArrayDataset:
    """`open_voc_segmentation`, read into memory."""
    return open_voc_segmentation(root, split, size=size, channels=channels).in_memory()


def open_voc_splits(
    root: Path,
    splits: tuple[str, ...],
    *,
    size: Size = VOC_SIZE,
    channels: int = 3,
    report: Report = raise_problem,
) -> list[FileDataset]:
    """`open_voc_segmentation` of several splits; `report` is told what is wrong with files."""
    check_size(size)
    check_channels(channels)
    return open_files(
        [(f"{root.name}/{split}", _list_samples(root, split, report)) for split in splits],
        VOC_CLASSES,
        void_label=VOC_VOID_LABEL,
        channels=channels,
        framing=TopLeftOfFrame(size, VOC_VOID_LABEL),
        way_out="",
        report=report,
    )


def _list_samples(root: Path, split: str, report: Report) -> list[Sample]:
    list_path = root / "ImageSets" / "Segmentation" / f"{split}.txt"
    if not list_path.is_file():
        raise FileNotFoundError(
            f"Expected a list of names as in Pascal VOC 2012, got no file: {list_path}"
        )
    names = list_path.read_text(encoding="utf-8", errors="replace").split()
    if not names:
        raise ValueError(f"Expected names, one a line, got an empty list: {list_path}")
    samples = []
    for name in names:
        image = root / "JPEGImages" / f"{name}.jpg"
        mask = root / "SegmentationClass" / f"{name}.png"
        missing = [path for path in (image, mask) if not path.is_file()]
        for path in missing:
            report(FileNotFoundError(f"Expected {path}, which {list_path} names, got no such file"))
        if not missing:
            samples.append(Sample(image, mask))
    return samples
