"""Segmentation sets in folders: pictures in one, masks of the same file names in another.

A mask says by the *value* of each pixel which class is there. Palette images are therefore read as
the indices that they store, never through their colours, and masks are never interpolated: between
road and sky (classes 3 and 0) there is no class 1.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from minigraph.data.dataset import ArrayDataset
from minigraph.data.files import FileDataset, Report, Sample, open_files, raise_problem
from minigraph.data.framing import Framing, TopLeft, TopLeftOfFrame
from minigraph.data.pictures import Size, check_channels, check_size, list_pictures

CAMVID_CLASSES = (
    "sky", "building", "pole", "road", "pavement", "tree",
    "sign", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip
CAMVID_VOID_LABEL = 11
MASK_SUFFIX = "_mask"
WAY_OUT = (
    "Give size (--size HEIGHTxWIDTH), a frame into which each is put, or crop (--crop), the part "
    "of each to keep"
)


def open_segmentation_folders(
    image_folder: str | Path,
    mask_folder: str | Path,
    class_names: Sequence[str],
    *,
    void_label: int | None = None,
    channels: int = 3,
    crop: Size | None = None,
    size: Size | None = None,
    name: str | None = None,
) -> FileDataset:
    """All pictures of one folder, in order of their names, with their masks from another.

    A picture and its mask have the same file name up to the ending (`a.jpg` and `a.png` do match,
    `a.jpg` and `a_mask.png` as well).
    The headers of all files are looked at here, their pixels when they are fetched.

    Args:
        image_folder: grey or coloured pictures of 8 bits, all of one size unless `crop` or `size`
            is given.
        mask_folder: palette, grey or black-and-white pictures whose values are class indices.
        class_names: the name of every class.
        void_label: the value of pixels that nobody labelled, outside the classes; None if none.
        channels: 3 for RGB (grey is copied to all three), 1 for grey (colours become luminance).
        crop: (height, width) to keep, from the top left corner; None keeps everything.
        size: (height, width) of a frame: pictures lie at its top left, larger ones shrunk to fit,
            and the rest of it is black and void.
        name: what reports call the set; by default the name of the folder of pictures.

    Returns:
        A data set of images uint8 ``(N, channels, H, W)`` and labels uint8 ``(N, H, W)``.

    Raises:
        FileNotFoundError: a folder or a partner file is missing, or there are no pictures.
        ValueError: naming the file: sizes differ, the mask is coloured or lossy, there is an EXIF
            orientation (nobody can tell whether the mask follows it), or the file cannot be read;
            when it is fetched: a value is neither a class nor void.
    """
    check_channels(channels)
    image_folder = Path(image_folder)
    (dataset,) = open_files(
        [(name or image_folder.name, pair_files(image_folder, Path(mask_folder)))],
        class_names,
        void_label=void_label,
        channels=channels,
        framing=choose_framing(crop, size, void_label),
        way_out=WAY_OUT,
    )
    return dataset


def load_segmentation_folders(
    image_folder: str | Path,
    mask_folder: str | Path,
    class_names: Sequence[str],
    *,
    void_label: int | None = None,
    channels: int = 3,
    crop: Size | None = None,
    size: Size | None = None,
    name: str | None = None,
) -> ArrayDataset:
    """`open_segmentation_folders`, read into memory."""
    return open_segmentation_folders(
        image_folder, mask_folder, class_names,
        void_label=void_label, channels=channels, crop=crop, size=size, name=name,
    ).in_memory()  # fmt: skip


def load_segmentation_split(
    root: str | Path,
    split: str,
    class_names: Sequence[str] = CAMVID_CLASSES,
    *,
    void_label: int | None = CAMVID_VOID_LABEL,
    channels: int = 3,
    crop: Size | None = None,
) -> ArrayDataset:
    """One split of a set laid out like CamVid: `<root>/<split>` and `<root>/<split>annot`.

    The arguments are those of `open_segmentation_folders`; the defaults are CamVid's 11 classes.
    """
    root = Path(root)
    return load_segmentation_folders(
        root / split,
        root / f"{split}annot",
        class_names,
        void_label=void_label,
        channels=channels,
        crop=crop,
        name=f"{root.name}/{split}",
    )


def pair_files(
    image_folder: Path, mask_folder: Path, report: Report = raise_problem
) -> list[Sample]:
    """Pictures with their masks, in order of their names; `report` is told what has no partner.

    The mask of `a.jpg` is `a.png` or, where there is none, `a_mask.png`.
    """
    images, masks = _by_stem(image_folder, report), _by_stem(mask_folder, report)
    for stem in images.keys() - masks.keys():
        if stem + MASK_SUFFIX not in images and stem + MASK_SUFFIX in masks:
            masks[stem] = masks.pop(stem + MASK_SUFFIX)
    if not images:
        raise FileNotFoundError(f"Expected pictures, got an empty folder: {image_folder}")
    for stem in sorted(images.keys() ^ masks.keys()):
        lonely, other = (images, mask_folder) if stem in images else (masks, image_folder)
        report(
            FileNotFoundError(
                f"Expected a partner of {lonely[stem]} named {stem}.* in {other}, got none"
            )
        )
    return [Sample(images[stem], masks[stem]) for stem in sorted(images.keys() & masks.keys())]


def choose_framing(crop: Size | None, size: Size | None, void_label: int | None) -> Framing | None:
    """What `crop` or `size` ask for of pictures with masks; None if neither is given."""
    check_size(crop, "crop")
    check_size(size)
    if crop is not None and size is not None:
        raise ValueError(f"Expected crop or size, got both: crop={crop}, size={size}")
    if crop is not None:
        return TopLeft(crop)
    if size is None:
        return None
    if void_label is None:
        raise ValueError("Expected void_label= for the rest of a frame, got size= without it")
    return TopLeftOfFrame(size, void_label)


def _by_stem(folder: Path, report: Report) -> dict[str, Path]:
    """The pictures of a folder by their names up to the ending, which must differ."""
    paths: dict[str, Path] = {}
    for path in list_pictures(folder):
        if path.stem in paths:
            report(
                ValueError(
                    f"Expected one picture named {path.stem}, got {paths[path.stem].name} and "
                    f"{path.name}: {folder}"
                )
            )
        paths.setdefault(path.stem, path)
    return paths
