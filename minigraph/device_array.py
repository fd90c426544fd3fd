"""Arrays in a GPU's memory: what ``__cuda_array_interface__`` tells of those of CuPy, torch, ..."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigraph.ir.errors import InputError
from minigraph.ir.spec import TensorSpec

UNKNOWN_STREAM = 0
"""Of an array that does not tell its stream. The interface itself never gives this number."""

_TELLS_STREAM = 3  # version of the interface


@dataclass(frozen=True, eq=False, slots=True)
class DeviceArray:
    """An array without gaps, row by row, in memory that a GPU reads."""

    address: int
    shape: tuple[int, ...]
    typestr: str  # as NumPy's ``dtype.str``
    is_read_only: bool
    stream: int | None  # what was queued on this one comes first; None: nothing to wait for
    owner: Any  # whose memory it is

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __str__(self) -> str:
        return f"{np.dtype(self.typestr)}{list(self.shape)} on the GPU"


def is_on_device(value: Any) -> bool:
    """Whether a value says that it lies in a GPU's memory.

    torch's tensors that require a gradient do not say: ``as_array`` refuses them.
    """
    if getattr(value, "requires_grad", False) is True:
        return False
    return getattr(value, "__cuda_array_interface__", None) is not None


def device_array(label: str, value: Any) -> DeviceArray:
    """What a value that ``is_on_device`` says. Raises InputError for one with gaps."""
    interface = value.__cuda_array_interface__
    shape, typestr = tuple(interface["shape"]), interface["typestr"]
    strides, (address, is_read_only) = interface.get("strides"), interface["data"]
    if strides is not None and not _adjoin(shape, strides, np.dtype(typestr).itemsize):
        raise InputError(
            f"Expected {label} row by row in the GPU's memory, got strides of {list(strides)} "
            f"bytes for shape {list(shape)}: cupy.ascontiguousarray makes such an array"
        )
    if interface.get("mask") is not None:
        raise InputError(f"Expected {label} without a mask, got a masked array")
    # Before version 3 (torch's) work on the array may be queued on any stream.
    tells_stream = interface.get("version", 0) >= _TELLS_STREAM
    stream = interface.get("stream") if tells_stream else UNKNOWN_STREAM
    return DeviceArray(address, shape, typestr, is_read_only, stream, value)


def _adjoin(shape: Sequence[int], strides: Sequence[int], itemsize: int) -> bool:
    """Whether elements lie one after the other in logical order."""
    if 0 in shape:
        return True
    step = itemsize
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1 and stride != step:
            return False
        step *= size
    return True


def check_device_array(label: str, array: DeviceArray, spec: TensorSpec) -> None:
    """Raise InputError unless it has the spec's shape and dtype: nothing is cast on the way."""
    if array.shape != spec.shape or array.typestr != spec.dtype.numpy.str:
        raise InputError(
            f"Expected {spec} for {label}, got {array}; there nothing is cast: give it as "
            f"{spec.dtype.value}"
        )
