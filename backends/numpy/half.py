"""16-bit floats: computed in float32, where sums would otherwise lose all precision.

An adapter around a kernel: its workspace holds float32 copies of the 16-bit operands and results.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from minigraph.backend import Algorithm, aligned
from minigraph.backends.numpy.kernel import (
    Binding,
    Call,
    Kernel,
    carve,
    carved_bytes,
    in_sequence,
)
from minigraph.ir.spec import DType, TensorSpec

_HALF = (DType.FLOAT16, DType.BFLOAT16)


def is_half(spec: TensorSpec) -> bool:
    return spec.dtype in _HALF


def through_float32(kernel: Kernel) -> Kernel:
    """The kernel for 16-bit operands, with the same algorithms."""

    def candidates(op: Any, inputs: tuple[TensorSpec, ...], threads: int) -> tuple[Algorithm, ...]:
        if not any(map(is_half, inputs)):
            return kernel.candidates(op, inputs, threads)
        wide = tuple(_wide(spec) for spec in inputs)
        extra = carved_bytes(*_copies((*inputs, *op.infer(*inputs))))
        return tuple(
            replace(a, workspace=aligned(a.workspace) + extra, overwrites=())
            for a in kernel.candidates(op, wide, threads)
        )

    def bind(binding: Binding) -> Call:
        if not any(_is_half_array(array) for array in binding.inputs):
            return kernel.bind(binding)
        given = [a for a in (*binding.inputs, *binding.outputs) if a is not None]
        half = [array for array in given if _is_half_array(array)]
        parts = [(array.shape, np.float32) for array in half]
        copies = carve(binding.workspace, *parts)
        wide = {id(array): copy for array, copy in zip(half, copies, strict=True)}
        call = kernel.bind(
            replace(
                binding,
                inputs=tuple(wide.get(id(a), a) for a in binding.inputs),
                outputs=tuple(None if a is None else wide.get(id(a), a) for a in binding.outputs),
                workspace=binding.workspace[carved_bytes(*parts) :],
            )
        )
        widen: list[Call] = [
            partial(np.copyto, wide[id(a)], a) for a in binding.inputs if id(a) in wide
        ]
        narrow: list[Call] = [
            partial(np.copyto, a, wide[id(a)], casting="unsafe")
            for a in binding.outputs
            if a is not None and id(a) in wide
        ]
        return in_sequence([*widen, call, *narrow])

    return Kernel(candidates, bind)


def _is_half_array(array: np.ndarray) -> bool:
    return DType.of(array.dtype) in _HALF


def _wide(spec: TensorSpec) -> TensorSpec:
    return spec.with_dtype(DType.FLOAT32) if is_half(spec) else spec


def _copies(specs: Any) -> list[tuple[tuple[int, ...], Any]]:
    return [(spec.shape, np.float32) for spec in specs if is_half(spec)]
