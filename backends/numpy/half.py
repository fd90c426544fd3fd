"""16-bit floats: computed in float32, where sums would otherwise lose all precision.

An adapter around a kernel: its workspace holds float32 copies of the 16-bit operands and results.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from minigraph.backends.numpy.kernel import Binding, Call, Kernel, aligned, carve, carved_bytes

from minigraph.backend import Algorithm
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
        arrays = (*binding.inputs, *binding.outputs)
        specs = [None if a is None else TensorSpec(a.shape, DType.of(a.dtype)) for a in arrays]
        if not any(spec is not None and is_half(spec) for spec in specs[: len(binding.inputs)]):
            return kernel.bind(binding)
        # A missing optional output still has its place in the workspace's size, at the end.
        copies = iter(carve(binding.workspace, *_copies([s for s in specs if s is not None])))
        wide = [next(copies) if s is not None and is_half(s) else a
                for a, s in zip(arrays, specs, strict=True)]  # fmt: skip
        used = carved_bytes(*_copies([s for s in specs if s is not None]))
        count = len(binding.inputs)
        inner = kernel.bind(
            replace(
                binding,
                inputs=tuple(a for a in wide[:count] if a is not None),
                outputs=tuple(wide[count:]),
                workspace=binding.workspace[used:],
            )
        )
        before = [partial(np.copyto, w, a) for w, a in zip(wide[:count], arrays, strict=False)
                  if w is not a and w is not None and a is not None]  # fmt: skip
        after = [partial(np.copyto, a, w, casting="unsafe")
                 for w, a in zip(wide[count:], arrays[count:], strict=True)
                 if w is not a and w is not None and a is not None]  # fmt: skip

        def run() -> None:
            for call in (*before, inner, *after):
                call()

        return run

    return Kernel(candidates, bind)


def _wide(spec: TensorSpec) -> TensorSpec:
    return spec.with_dtype(DType.FLOAT32) if is_half(spec) else spec


def _copies(specs: Any) -> list[tuple[tuple[int, ...], Any]]:
    return [(spec.shape, np.float32) for spec in specs if is_half(spec)]
