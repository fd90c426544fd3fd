"""Where in a folder the pictures are and where their masks, part by part."""

from __future__ import annotations

from pathlib import Path

Pairs = dict[str, tuple[Path, Path]]
"""Folder of pictures and folder of masks of each part; "" if the set is not divided."""

# Capitals do not matter.
IMAGE_FOLDERS = ("images", "image", "img")
MASK_FOLDERS = ("masks", "mask", "labels", "label", "annotations")
HELD_OUT_FOLDERS = ("val", "valid", "validation", "test")  # the first that is there


def camvid_pairs(root: Path) -> Pairs:
    """CamVid: masks in a folder named like that of the pictures, and `annot`."""
    if not ((root / "train").is_dir() and (root / "trainannot").is_dir()):
        return {}
    parts = ("train", *held_out_folder(root))
    return {part: (root / part, root / f"{part}annot") for part in parts}


def mask_pairs(root: Path) -> Pairs:
    """`images` and `masks` in the root, with parts in them or in folders of the parts."""
    if (pair := _pair(root)) is not None:
        images, masks = pair
        if not (images / "train").is_dir():
            return {"": pair}
        parts = ("train", *held_out_folder(images))
        return {part: (images / part, masks / part) for part in parts}
    if (train := _pair(root / "train")) is None:
        return {}
    pairs = {"train": train}
    for part in held_out_folder(root):
        pair = _pair(root / part)
        if pair is None:
            raise FileNotFoundError(
                f"Expected folders of pictures and masks as in {root / 'train'}, got none: "
                f"{root / part}"
            )
        pairs[part] = pair
    return pairs


def _pair(folder: Path) -> tuple[Path, Path] | None:
    """The folders of pictures and of masks in a folder; None unless it has both."""
    if not folder.is_dir():
        return None
    entries = sorted(folder.iterdir())
    found = [
        [path for path in entries if path.name.lower() in names and path.is_dir()]
        for names in (IMAGE_FOLDERS, MASK_FOLDERS)
    ]
    if not all(found):
        return None
    for there in found:
        if len(there) > 1:
            raise ValueError(
                f"Expected one folder of its kind, got {' and '.join(map(str, there))}: rename "
                f"the one that is not meant"
            )
    return found[0][0], found[1][0]


def held_out_folder(root: Path) -> tuple[str, ...]:
    """The name of the held-out part in a tuple; an empty one if there is none."""
    return tuple(name for name in HELD_OUT_FOLDERS if (root / name).is_dir())[:1]
