"""IDX files, the format of MNIST and of the sets that follow it: sizes in a header, then numbers.

    bytes 0, 1   zero
    byte 2       type of the numbers, such as 0x08 for unsigned bytes
    byte 3       number of dimensions d
    4 d bytes    the sizes, each a big-endian uint32
    the rest     the numbers, big-endian, the last dimension fastest

The sizes are held against the length of the file before any memory is taken, so neither a damaged
header nor a crafted archive can make the reader ask for more than the file can hold.
"""

from __future__ import annotations

import gzip
import io
import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from minigraph.data.dataset import ArrayDataset

Array = np.ndarray

DTYPES: Mapping[int, np.dtype] = MappingProxyType(
    {
        0x08: np.dtype("u1"),
        0x09: np.dtype("i1"),
        0x0B: np.dtype(">i2"),
        0x0C: np.dtype(">i4"),
        0x0D: np.dtype(">f4"),
        0x0E: np.dtype(">f8"),
    }
)
MOST_DIMENSIONS = 32  # the format has up to 255, NumPy 32 in all of its versions
GZIP_MAGIC = b"\x1f\x8b"
LARGEST_DEFLATE_RATIO = 1032  # one bit pair of deflate stands for 258 bytes at the most

FASHION_MNIST_CLASSES = (
    "T-shirt", "trouser", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
MNIST_CLASSES = tuple("0123456789")
SPLIT_PREFIXES: Mapping[str, str] = MappingProxyType({"train": "train", "test": "t10k"})


def read_idx(path: str | Path, max_bytes: int = 2**31) -> Array:
    """The array in an IDX file, plain or gzip-compressed (told apart by content, not by name).

    Args:
        path: the file.
        max_bytes: refuse arrays larger than this, whatever the file claims.

    Returns:
        An array of the header's sizes and type, in the byte order of this machine.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an IDX file, damaged, too short, too long, or larger than `max_bytes`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Expected an IDX file, got no file at all: {path}")
    with path.open("rb") as file:
        compressed = file.read(2) == GZIP_MAGIC
        file.seek(0)
        file_bytes = path.stat().st_size
        if not compressed:
            return _read(file, path, max_bytes, shortest=file_bytes, longest=file_bytes)
        try:
            with gzip.GzipFile(fileobj=file) as unpacked:
                longest = file_bytes * LARGEST_DEFLATE_RATIO
                return _read(unpacked, path, max_bytes, shortest=0, longest=longest)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"Expected a whole gzip archive, got '{error}': {path}") from error


def _read(
    stream: io.BufferedIOBase, path: Path, max_bytes: int, shortest: int, longest: int
) -> Array:
    """The array in `stream`, whose length is known to lie between `shortest` and `longest`."""
    dtype, shape, header_bytes = _read_header(stream, path)
    data_bytes = math.prod(shape) * dtype.itemsize
    sizes = "x".join(map(str, shape))
    whole = f"Expected {header_bytes + data_bytes} bytes ({sizes} {dtype.name} and a header)"
    # NumPy bounds the other sizes of an array of no numbers too.
    spanned_bytes = math.prod(size or 1 for size in shape) * dtype.itemsize
    if spanned_bytes > max_bytes:
        raise ValueError(
            f"Expected at most {max_bytes} bytes of data, got a header that spans {spanned_bytes} "
            f"({sizes} {dtype.name}): {path}. Pass max_bytes= if that is right"
        )
    if header_bytes + data_bytes > longest:
        raise ValueError(f"{whole}, got {longest} at the most: {path} is cut off or damaged")
    if header_bytes + data_bytes < shortest:
        raise ValueError(f"{whole}, got {shortest}: {path} is damaged")

    array = np.empty(shape, dtype)
    view = array.reshape(-1).view(np.uint8).data
    got = 0
    while got < data_bytes and (step := stream.readinto(view[got : got + 2**24])):
        got += step
    if got < data_bytes:
        raise ValueError(f"{whole}, got {header_bytes + got}: {path} is cut off")
    if stream.read(1):  # also has gzip compare its checksum
        raise ValueError(f"{whole}, got more: {path} is damaged")
    return array.astype(dtype.newbyteorder("="), copy=False)


def _read_header(stream: io.BufferedIOBase, path: Path) -> tuple[np.dtype, tuple[int, ...], int]:
    """(type, sizes, length of the header in bytes)."""
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in DTYPES or magic[3] == 0:
        raise ValueError(
            f"Expected an IDX header (two zero bytes, a type, a number of dimensions), got "
            f"'{magic.hex(' ')}': {path} is no IDX file"
        )
    dimensions = magic[3]
    if dimensions > MOST_DIMENSIONS:
        raise ValueError(
            f"Expected up to {MOST_DIMENSIONS} dimensions, got a header of {dimensions}: {path} is "
            f"damaged"
        )
    sizes = stream.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise ValueError(
            f"Expected {dimensions} sizes of 4 bytes, got {len(sizes)} bytes: {path} is cut off"
        )
    shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
    return DTYPES[magic[2]], shape, 4 + 4 * dimensions


def load_idx_classification(
    folder: str | Path, split: str, class_names: Sequence[str] = MNIST_CLASSES
) -> ArrayDataset:
    """One split of a set in the four files of MNIST, such as `train-images-idx3-ubyte.gz`.

    Args:
        folder: where the files are, each plain or with `.gz`.
        split: `train`, or `test` for the files that begin with `t10k`.
        class_names: the name of every class; by default the ten digits.

    Returns:
        A data set of images uint8 ``(N, 1, H, W)`` and labels uint8 ``(N,)``.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a damaged file, or images and labels that do not belong together.
    """
    if split not in SPLIT_PREFIXES:
        raise ValueError(f"Expected split 'train' or 'test', got '{split}'")
    folder = Path(folder)
    images_path = _find(folder, f"{SPLIT_PREFIXES[split]}-images-idx3-ubyte")
    labels_path = _find(folder, f"{SPLIT_PREFIXES[split]}-labels-idx1-ubyte")
    images, labels = read_idx(images_path), read_idx(labels_path)
    for array, dimensions, path in ((images, 3, images_path), (labels, 1, labels_path)):
        if array.ndim != dimensions or array.dtype != np.uint8:
            raise ValueError(
                f"Expected {dimensions} dimensions of uint8, got {array.ndim} of {array.dtype}: "
                f"{path}"
            )
    if len(images) != len(labels):
        raise ValueError(
            f"Expected as many labels as images, got {len(labels)} in {labels_path.name} and "
            f"{len(images)} in {images_path.name}: {folder}"
        )
    return ArrayDataset(images[:, None], labels, tuple(class_names), name=f"{folder.name}/{split}")


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise FileNotFoundError(f"Expected {name} or {name}.gz, got neither: {folder}")
