"""What may be fed to an executable: arrays whose values the input's dtype can hold."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigraph.ir.errors import InputError
from minigraph.ir.spec import TensorSpec


def as_input(name: str, value: Any, spec: TensorSpec) -> np.ndarray:
    """An array of the spec's shape and dtype from an array or nested lists.

    The cast is lossless or refused: an integer must fit (exactly, where it becomes a float), and a
    float must not become an integer. The exception is float64 to float32, which rounds. Raises
    InputError.
    """
    array = np.asarray(value)
    if array.shape != spec.shape:
        raise InputError(f"Expected {spec} for {name!r}, got shape {list(array.shape)}")
    target = spec.dtype.numpy
    if array.dtype == target:
        return array
    if np.can_cast(array.dtype, target, "safe"):
        return array.astype(target)
    if array.dtype == np.float64 and target == np.float32:
        return _rounded(name, array, spec)
    if array.dtype.kind in "iu" and spec.dtype.is_integer:
        return _integers(name, array, spec)
    if array.dtype.kind in "iu" and spec.dtype.is_floating:
        exact = array.astype(target)
        if np.array_equal(exact.astype(np.float64), array):
            return exact
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


def _integers(name: str, array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    limits = np.iinfo(spec.dtype.numpy)
    if array.size and (array.min() < limits.min or array.max() > limits.max):
        raise InputError(
            f"Expected {spec} for {name!r}, got {array.dtype} with values from {array.min()} to "
            f"{array.max()}, which {spec.dtype} cannot hold"
        )
    return array.astype(spec.dtype.numpy)
