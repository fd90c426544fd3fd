"""What may be fed to an executable: arrays whose values the input's dtype can hold."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from minigraph.device_array import is_on_device
from minigraph.ir.errors import InputError
from minigraph.ir.spec import TensorSpec

_HOST_DEVICES = (1, 3, 11, 13)  # DLPack: CPU, and memory of CUDA or ROCm that the CPU reads too
_DEVICES = {2: "CUDA", 7: "Vulkan", 8: "Metal", 10: "ROCm", 14: "oneAPI"}


def as_array(name: str, value: Any) -> np.ndarray:
    """NumPy's view of whatever holds an array: NumPy's own, nested lists, a tensor of another
    library (``__array__`` or ``__dlpack__``). Memory is shared where the value allows it.

    Raises InputError for a tensor on another device, one that requires a gradient, and a value
    that gives no array.
    """
    if isinstance(value, np.ndarray):
        return np.asarray(value)  # the array itself; of a subclass its data
    if getattr(value, "requires_grad", False) is True:
        raise InputError(
            f"Expected {name!r} without a gradient, got a {type(value).__name__} that requires "
            f"one: give {name}.detach()"
        )
    try:
        _check_device(name, value)
        if _is_torch_bfloat16(value):  # neither NumPy nor its DLPack knows the type
            return value.view(sys.modules["torch"].int16).numpy().view(ml_dtypes.bfloat16)
        if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
            return np.from_dlpack(value)
        return np.asarray(value)
    except InputError:
        raise
    except Exception as error:  # whatever another library raises where it has no array to give
        raise InputError(
            f"Expected an array for {name!r}, got a {type(value).__name__} that gives none: {error}"
        ) from None


def _check_device(name: str, value: Any) -> None:
    if is_on_device(value) and not hasattr(value, "__dlpack_device__"):
        raise InputError(
            f"Expected {name!r} in the CPU's memory, got a {type(value).__name__} in a GPU's: "
            f"copy it first"
        )
    if not hasattr(value, "__dlpack_device__"):
        return
    kind, number = value.__dlpack_device__()
    if kind not in _HOST_DEVICES:
        device = _DEVICES.get(int(kind), f"DLPack's type {int(kind)}")
        raise InputError(
            f"Expected {name!r} in the CPU's memory, got a {type(value).__name__} on device "
            f"{number} ({device}): copy it first, with {name}.cpu() in torch, {name}.get() in CuPy"
        )


def _is_torch_bfloat16(value: Any) -> bool:
    torch = sys.modules.get("torch")  # whoever gives a tensor has imported it
    return torch is not None and getattr(value, "dtype", None) is torch.bfloat16


def as_input(name: str, array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """The array in the spec's shape and dtype; the array itself where it has them.

    The cast is lossless or refused: an integer must fit (exactly, where it becomes a float), and a
    float must not become an integer. The exception is float64 to float32, which rounds. Raises
    InputError.
    """
    if array.shape != spec.shape:
        raise InputError(f"Expected {spec} for {name!r}, got shape {list(array.shape)}")
    target = spec.dtype.numpy
    if array.dtype == target:
        return array
    to_float = array.dtype.kind in "iu" and spec.dtype.is_floating
    wide = to_float and array.dtype.itemsize == 8  # NumPy calls int64 to float64 safe
    if np.can_cast(array.dtype, target, "safe") and not wide:
        return array.astype(target)
    if array.dtype == np.float64 and target == np.float32:
        return _rounded(name, array, spec)
    if array.dtype.kind in "iu" and spec.dtype.is_integer:
        return _integers(name, array, spec)
    if to_float:
        with np.errstate(over="ignore"):
            cast = array.astype(target)
        if _is_exact(array, cast):
            return cast
    raise InputError(
        f"Expected {spec} for {name!r}, got {array.dtype}: the cast would lose values. "
        f"Convert it yourself: {name}.astype({spec.dtype.value!r})"
    )


def _rounded(name: str, array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    with np.errstate(over="ignore"):
        rounded = array.astype(spec.dtype.numpy)
    if np.isinf(rounded).sum() != np.isinf(array).sum():
        raise InputError(
            f"Expected {spec} for {name!r}, got float64 with a value of "
            f"{np.abs(array[np.isfinite(array)]).max():.3g}, which {spec.dtype} cannot hold"
        )
    return rounded


def _is_exact(integers: np.ndarray, floats: np.ndarray) -> bool:
    """Whether the floats, all of them finite, are the integers, compared as integers."""
    limits, wide = np.iinfo(integers.dtype), floats.astype(np.float64)
    # Both bounds are powers of 2 or 0, hence exact; beyond them the cast back is undefined.
    if not ((wide >= float(limits.min)) & (wide < float(limits.max + 1))).all():
        return False
    return np.array_equal(wide.astype(integers.dtype), integers)


def _integers(name: str, array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    limits = np.iinfo(spec.dtype.numpy)
    if array.size and (array.min() < limits.min or array.max() > limits.max):
        raise InputError(
            f"Expected {spec} for {name!r}, got {array.dtype} with values from {array.min()} to "
            f"{array.max()}, which {spec.dtype} cannot hold"
        )
    return array.astype(spec.dtype.numpy)


def follow(
    declared: Mapping[str, TensorSpec], given: Mapping[str, TensorSpec]
) -> dict[str, TensorSpec]:
    """Specs of all inputs. One that is not given, because no output needs it, follows the others.

    The model function is run with all of them, so a label that is left out must have the batch,
    height and width of the image that is there: the first axes go together, and the others counted
    from the last.
    """
    if all(spec is declared[name] for name, spec in given.items()):
        return dict(declared)
    sizes: dict[tuple[int, int], set[int]] = {}
    for name, spec in given.items():
        for place, new in zip(_places(declared[name]), spec.shape, strict=True):
            sizes.setdefault(place, set()).add(new)

    def follow(spec: TensorSpec) -> TensorSpec:
        found = [sizes.get(place, set()) for place in _places(spec)]
        return spec.with_shape(
            tuple(
                next(iter(new)) if len(new) == 1 else size
                for new, size in zip(found, spec.shape, strict=True)
            )
        )

    return {name: given.get(name) or follow(spec) for name, spec in declared.items()}


def _places(spec: TensorSpec) -> list[tuple[int, int]]:
    """(axis, size) of each axis: the first axis is 0, the others count from the last, -1."""
    return [(axis and axis - spec.ndim, size) for axis, size in enumerate(spec.shape)]
