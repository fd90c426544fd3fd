"""Reading ONNX files: nothing is executed, and sizes are checked before memory is taken."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from minigraph.ir.errors import LoadError, UnsupportedError
from minigraph.ir.spec import DType
from minigraph.onnx.dtypes import dtype_of
from minigraph.onnx.library import onnx_library

_MAX_FILE = 2**31 - 1  # bytes; protobuf's limit
_EXTERNAL = 1  # TensorProto.DataLocation

_FIELDS = {
    DType.FLOAT32: ("float_data", "<f4"), DType.FLOAT64: ("double_data", "<f8"),
    DType.INT64: ("int64_data", "<i8"), DType.INT32: ("int32_data", "<i4"),
    DType.UINT8: ("int32_data", "u1"), DType.BOOL: ("int32_data", "?"),
    DType.FLOAT16: ("int32_data", "<u2"), DType.BFLOAT16: ("int32_data", "<u2"),
}  # fmt: skip
"""Where a TensorProto keeps elements of a dtype that are not raw, and as what."""


def read_model(path: str | Path) -> Any:
    """The ModelProto of a file; weights in other files stay there. Raises LoadError."""
    onnx = onnx_library()
    path = Path(path)
    if not path.is_file():
        raise LoadError(f"{path}: Expected a file, got {'a folder' if path.is_dir() else 'none'}")
    size = path.stat().st_size
    if size > _MAX_FILE:
        raise LoadError(f"{path}: Expected at most {_MAX_FILE:,} bytes, got {size:,}")
    return parse_model(onnx, path.read_bytes(), path)


def parse_model(onnx: Any, data: bytes, path: str | Path) -> Any:
    """The ModelProto of bytes. Raises LoadError that names the path."""
    try:
        model = onnx.ModelProto.FromString(data)
    except Exception as error:  # whatever protobuf makes of hostile bytes
        raise LoadError(f"{path}: Expected an ONNX model, got {error}") from None
    if not model.HasField("graph") or not model.opset_import:
        raise LoadError(f"{path}: Expected an ONNX model with a graph and an opset, got none")
    _check_texts(model, path)
    return model


def _check_texts(model: Any, path: str | Path) -> None:
    """Names are UTF-8, which protobuf does not check: those that are not come as bytes."""
    waiting = [model]
    while waiting:
        for field, value in waiting.pop().ListFields():
            items = [value] if isinstance(value, str | bytes) or hasattr(value, "ListFields") else (
                value)  # fmt: skip
            if field.type == field.TYPE_MESSAGE:
                waiting.extend(items)
            elif field.type == field.TYPE_STRING and any(isinstance(i, bytes) for i in items):
                raise LoadError(f"{path}: Expected names in UTF-8, got {items[0]!r}")


def array_of(tensor: Any, folder: Path | None) -> np.ndarray:
    """The array of a TensorProto. External data is read from within ``folder`` alone.

    Raises LoadError where sizes disagree, UnsupportedError for a dtype that we lack.
    """
    dtype = dtype_of(tensor.data_type)
    shape = tuple(tensor.dims)
    what = f"tensor {tensor.name!r}"
    if any(size < 0 for size in shape) or len(shape) > 32:
        raise LoadError(f"Expected sizes of zero or more for {what}, got {list(shape)}")
    count = math.prod(shape)
    if tensor.data_location == _EXTERNAL:
        raw = _external(tensor, folder, count * dtype.itemsize)
    elif tensor.HasField("raw_data"):
        raw = tensor.raw_data
    else:
        return _typed(tensor, dtype, shape, count)
    if len(raw) != count * dtype.itemsize:
        raise LoadError(
            f"Expected {count * dtype.itemsize} bytes for {what} {dtype}{list(shape)}, "
            f"got {len(raw)}"
        )
    stored = dtype.numpy if dtype is DType.BFLOAT16 else np.dtype(_FIELDS[dtype][1])
    return _native(np.frombuffer(raw, stored), dtype).reshape(shape)


def _typed(tensor: Any, dtype: DType, shape: tuple[int, ...], count: int) -> np.ndarray:
    field, stored = _FIELDS[dtype]
    elements = getattr(tensor, field)
    if len(elements) != count:
        raise LoadError(
            f"Expected {count} elements for tensor {tensor.name!r} {dtype}{list(shape)}, "
            f"got {len(elements)}"
        )
    wide = np.array(elements, np.int64 if field == "int32_data" else stored).astype(stored)
    if dtype in (DType.FLOAT16, DType.BFLOAT16):
        wide = wide.view(dtype.numpy)  # their bits are kept as integers
    return _native(wide, dtype).reshape(shape)


def _native(array: np.ndarray, dtype: DType) -> np.ndarray:
    return array.astype(dtype.numpy, copy=False)


def _external(tensor: Any, folder: Path | None, nbytes: int) -> bytes:
    """Bytes of another file, which must lie in the model's folder. Raises LoadError."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    what = f"the external data of {tensor.name!r}"
    if folder is None:
        raise UnsupportedError(
            f"Expected {what} within the model, got the file {location!r}: load the model by path"
        )
    root = folder.resolve()
    if not location or "\0" in location:
        raise LoadError(f"Expected a file for {what}, got {location!r}")
    path = (root / location).resolve()  # of a symbolic link: what it points to
    if not path.is_relative_to(root) or not path.is_file():
        raise LoadError(f"Expected {what} as a file in {root}, got {location!r}")
    offset, length = _number(entries, "offset", 0), _number(entries, "length", nbytes)
    if length != nbytes or offset + length > path.stat().st_size:
        raise LoadError(
            f"Expected {nbytes} bytes for {what} in {location!r} ({path.stat().st_size} bytes), "
            f"got {length} from {offset} on"
        )
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)


def _number(entries: dict[str, str], key: str, start: int) -> int:
    text = entries.get(key, str(start))
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise LoadError(f"Expected a number as the {key} of external data, got {text[:40]!r}")
    return int(text)
