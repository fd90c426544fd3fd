"""Files of named arrays: safetensors and NumPy's npz. Nothing in them is run.

What a file says of shapes is read first; an array is read when it is asked for, and not before its
size has been compared with what the file holds.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from minigraph.ir.errors import LoadError
from minigraph.serialization import check_safetensors

_PICKLES = (".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt", ".tar")
_UNREADABLE = (zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError,
               NotImplementedError, RuntimeError, KeyError)  # fmt: skip
"""What zipfile and NumPy raise for damaged, encrypted and strange archives."""


class WeightsFile(Protocol):
    """Named arrays in a file.

    Attributes:
        shapes: the shape of each array.
    """

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]: ...

    def read(self, name: str) -> np.ndarray:
        """One array, of the shape that was said. Raises LoadError."""
        ...


def open_weights(path: Path) -> WeightsFile:
    """A file of weights by its ending. Raises LoadError; for a pickle with the way out."""
    if not path.is_file():
        raise LoadError(f"{path}: Expected a file, got {'a folder' if path.is_dir() else 'none'}")
    if path.suffix in _PICKLES:
        raise LoadError(_pickle_text(path))
    if path.suffix == ".npz":
        return _open_npz(path)
    if path.suffix == ".safetensors":
        return _open_safetensors(path)
    raise LoadError(f"{path}: Expected weights as .safetensors or .npz, got {path.suffix!r}")


@dataclass(frozen=True)
class _Safetensors:
    path: Path
    shapes: Mapping[str, tuple[int, ...]]

    def read(self, name: str) -> np.ndarray:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(self.path), framework="numpy") as file:
                return file.get_tensor(name)
        except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
            raise LoadError(
                f"{self.path}: Expected {name!r} in a dtype of NumPy, got {error}: save it as "
                "float32"
            ) from None


def _open_safetensors(path: Path) -> _Safetensors:
    """safetensors itself compares the sizes in the header with the file's."""
    from safetensors import SafetensorError, safe_open

    check_safetensors(path)
    try:
        with safe_open(str(path), framework="numpy") as file:
            names = list(file.keys())
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
    except (SafetensorError, OSError, ValueError) as error:
        raise LoadError(f"{path}: Expected a safetensors file, got {error}") from None
    return _Safetensors(path, shapes)


@dataclass(frozen=True)
class _Npz:
    path: Path
    shapes: Mapping[str, tuple[int, ...]]

    def read(self, name: str) -> np.ndarray:
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(f"{name}.npy") as member:
                return np.lib.format.read_array(member, allow_pickle=False)
        except _UNREADABLE as error:
            raise LoadError(f"{self.path}: Expected the array {name!r}, got {error}") from None


def _open_npz(path: Path) -> _Npz:
    shapes = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                name = info.filename.removesuffix(".npy")
                if name == info.filename:
                    raise LoadError(f"{path}: Expected arrays alone, got {info.filename!r}")
                shapes[name] = _shape_in_npz(path, archive, info)
    except LoadError:
        raise
    except _UNREADABLE as error:
        raise LoadError(f"{path}: Expected an npz file, got {error}") from None
    return _Npz(path, shapes)


def _shape_in_npz(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> tuple[int, ...]:
    """From the array's header, which is a few bytes; the array is not unpacked."""
    with archive.open(info) as member:
        first = np.lib.format.read_magic(member) == (1, 0)
        npy = np.lib.format
        read = npy.read_array_header_1_0 if first else npy.read_array_header_2_0
        shape, _, dtype = read(member)
        size = math.prod(shape) * dtype.itemsize + member.tell()
    if dtype.kind not in "fiub":
        raise LoadError(f"{path}: Expected numbers, got {dtype} in {info.filename!r}")
    if size != info.file_size or min(shape, default=0) < 0:
        raise LoadError(
            f"{path}: Expected {info.file_size:,} bytes in {info.filename!r} as the archive says, "
            f"got a header for {size:,}"
        )
    return shape


def _pickle_text(path: Path) -> str:
    target = path.with_suffix(".safetensors")
    return (
        f"{path}: Expected weights as .safetensors or .npz, got {path.suffix!r}, a pickle, which "
        "may run code when it is read. Where torch is installed, convert it in Python:\n"
        "import torch; from safetensors.torch import save_file;\n"
        f"save_file(torch.load({str(path)!r}, weights_only=True, map_location='cpu'), "
        f"{str(target)!r})"
    )
