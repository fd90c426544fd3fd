"""The layouts of folders that `open_dataset` knows. A new one is an entry of `LAYOUTS`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from minigraph.data.class_folders import WAY_OUT as RESIZE
from minigraph.data.class_folders import class_folders, list_classes
from minigraph.data.dataset import Dataset
from minigraph.data.files import Report, Sample, open_files, raise_problem
from minigraph.data.folder import (
    CAMVID_CLASSES,
    CAMVID_VOID_LABEL,
    WAY_OUT,
    choose_framing,
    pair_files,
)
from minigraph.data.framing import Resized
from minigraph.data.hold_out import hold_out_block, hold_out_of_each_class
from minigraph.data.idx import FASHION_MNIST_CLASSES, MNIST_CLASSES, load_idx_classification
from minigraph.data.label_names import choose_classes, read_class_list
from minigraph.data.labels import VOID_LABEL
from minigraph.data.mask_folders import Pairs, camvid_pairs, held_out_folder, mask_pairs
from minigraph.data.pictures import Size, check_size, is_picture
from minigraph.data.voc import VOC_SIZE, open_voc_splits

Parts = tuple[Dataset, Dataset]


@dataclass(frozen=True)
class Options:
    """What the user of `open_dataset` asks for; None where nothing was said."""

    crop: Size | None = None
    size: Size | None = None
    channels: int | None = None
    class_names: tuple[str, ...] | None = None
    void_label: int | None = None
    held_out: float | None = None

    def given(self) -> Iterator[tuple[str, object]]:
        """(name, value) of those that are asked for."""
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None:
                yield field.name, value


@dataclass(frozen=True)
class Layout:
    """One way to keep a data set in a folder.

    Attributes:
        name: what it is called.
        files: what the folder holds, in words.
        options: which of `Options` it takes; others are refused.
        matches: does a folder look like it?
        open: the training and the held-out part of a folder that does; `Report` is told what is
            wrong with single files.
    """

    name: str
    files: str
    options: tuple[str, ...]
    matches: Callable[[Path], bool]
    open: Callable[[Path, Options, Report], Parts]

    def check(self, options: Options, folder: Path) -> None:
        """Raise ValueError for an option that this layout does not take."""
        for option, value in options.given():
            if option not in self.options:
                raise ValueError(
                    f"Expected no {option} for {self.name}, got {option}={value}: {folder}. It "
                    f"takes {', '.join(self.options) or 'none'}"
                )


# --- IDX ------------------------------------------------------------------------------------------


def _has_idx(folder: Path) -> bool:
    return any(folder.glob("train-images-idx3-ubyte*"))


def _open_idx(folder: Path, options: Options, report: Report) -> Parts:
    usual = FASHION_MNIST_CLASSES if "fashion" in folder.resolve().name else MNIST_CLASSES
    names = options.class_names or read_class_list(folder) or usual
    train, test = (load_idx_classification(folder, split, names) for split in ("train", "test"))
    if train.image_shape != test.image_shape:
        raise ValueError(
            f"Expected test images of {train.image_shape[1:]} pixels like the training images, got "
            f"{test.image_shape[1:]}: {folder}"
        )
    return train, test


# --- Pascal VOC -----------------------------------------------------------------------------------


def _voc_root(folder: Path) -> Path | None:
    for root in (folder, folder / "VOC2012", folder / "VOCdevkit" / "VOC2012"):
        if (root / "ImageSets" / "Segmentation").is_dir():
            return root
    return None


def _open_voc(folder: Path, options: Options, report: Report) -> Parts:
    root = _voc_root(folder)
    assert root is not None  # the layout matches
    channels = 3 if options.channels is None else options.channels
    train, validation = open_voc_splits(
        root, ("train", "val"), size=options.size or VOC_SIZE, channels=channels, report=report
    )
    return train, validation


# --- pictures with masks --------------------------------------------------------------------------


def _open_camvid(folder: Path, options: Options, report: Report) -> Parts:
    return _open_pairs(folder, camvid_pairs(folder), options, report, CAMVID_CLASSES)


def _open_masks(folder: Path, options: Options, report: Report) -> Parts:
    return _open_pairs(folder, mask_pairs(folder), options, report, None)


def _open_pairs(
    root: Path,
    pairs: Pairs,
    options: Options,
    report: Report,
    usual_names: tuple[str, ...] | None,
) -> Parts:
    check_size(options.crop, "crop")
    check_size(options.size)
    parts = [
        (f"{root.name}/{part}" if part else root.name, pair_files(images, masks, report))
        for part, (images, masks) in pairs.items()
    ]
    parts = _divide(parts, options, hold_out_block)
    names, void_label = options.class_names or read_class_list(root), options.void_label
    if usual_names is not None:  # CamVid, by other names perhaps
        names = names or usual_names
        if void_label is None and len(names) == len(usual_names):
            void_label = CAMVID_VOID_LABEL
    masks = [s.label for _, samples in parts for s in samples if isinstance(s.label, Path)]
    names, void_label = choose_classes(masks, names, void_label, root, report)
    if options.size is not None and void_label is None:
        void_label = VOID_LABEL
    train, validation = open_files(
        parts,
        names,
        void_label=void_label,
        channels=options.channels,
        framing=choose_framing(options.crop, options.size, void_label),
        way_out=WAY_OUT,
        report=report,
    )
    return train, validation


# --- folders of classes ---------------------------------------------------------------------------


def _has_class_folders(folder: Path) -> bool:
    """Does a folder in it hold a picture?"""
    if not folder.is_dir():
        return False
    return any(
        any(is_picture(path) for path in inner.iterdir())
        for inner in folder.iterdir()
        if inner.is_dir() and not inner.name.startswith(".")
    )


def _open_classes(folder: Path, options: Options, report: Report) -> Parts:
    check_size(options.size)
    names = options.class_names or read_class_list(folder)
    train_root = folder / "train"
    if _has_class_folders(train_root):
        names, samples = list_classes(train_root, names or tuple(class_folders(train_root)))
        parts = [(f"{folder.name}/train", samples)]
        for part in held_out_folder(folder):
            _, samples = list_classes(folder / part, names)
            parts.append((f"{folder.name}/{part}", samples))
    else:
        names, samples = list_classes(folder, names)
        parts = [(folder.name, samples)]
    train, validation = open_files(
        _divide(parts, options, hold_out_of_each_class),
        names,
        channels=options.channels,
        framing=None if options.size is None else Resized(options.size),
        way_out=RESIZE,
        report=report,
    )
    return train, validation


def _divide(
    parts: list[tuple[str, list[Sample]]],
    options: Options,
    hold_out: Callable[[str, Sequence[Sample], float | None], list[tuple[str, list[Sample]]]],
) -> list[tuple[str, list[Sample]]]:
    """Two parts, whether or not the folder has a held-out one."""
    if len(parts) == 1:
        name, samples = parts[0]
        return hold_out(name, samples, options.held_out)
    if options.held_out is not None:
        raise ValueError(
            f"Expected no held_out where there is a held-out part, got held_out="
            f"{options.held_out}: {parts[1][0]}"
        )
    return parts


LAYOUTS = (
    Layout(
        "IDX files",
        "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-..., t10k-labels-..., "
        "each plain or .gz",
        ("class_names",),
        _has_idx,
        _open_idx,
    ),
    Layout(
        "Pascal VOC 2012",
        "ImageSets/Segmentation/train.txt and val.txt, JPEGImages, SegmentationClass",
        ("size", "channels"),
        lambda folder: _voc_root(folder) is not None,
        _open_voc,
    ),
    Layout(
        "CamVid",
        "train, trainannot; val (or test), valannot",
        ("crop", "size", "channels", "class_names", "void_label", "held_out"),
        lambda folder: bool(camvid_pairs(folder)),
        _open_camvid,
    ),
    Layout(
        "images with masks",
        "images and masks; or images/train, masks/train, images/val, ...; or train/images, "
        "train/masks, val/images, ...",
        ("crop", "size", "channels", "class_names", "void_label", "held_out"),
        lambda folder: bool(mask_pairs(folder)),
        _open_masks,
    ),
    Layout(
        "class folders",
        "train/<class>/<image>, val/<class>/<image>; or <class>/<image>",
        ("size", "channels", "class_names", "held_out"),
        lambda folder: _has_class_folders(folder / "train") or _has_class_folders(folder),
        _open_classes,
    ),
)
"""In the order in which they are tried."""


def find_layout(folder: Path) -> Layout:
    """The first layout that a folder matches. Raises FileNotFoundError if none does."""
    for layout in LAYOUTS:
        if layout.matches(folder):
            return layout
    known = ", ".join(layout.name for layout in LAYOUTS)
    raise FileNotFoundError(
        f"Expected a folder of {known}, got one that looks like none of them: {folder}. "
        f"`minigraph datasets` says what each of them holds"
    )


def open_folder(folder: Path, options: Options, report: Report = raise_problem) -> Parts:
    """The training and the held-out part of a folder, whatever its layout."""
    layout = find_layout(folder)
    layout.check(options, folder)
    return layout.open(folder, options, report)
