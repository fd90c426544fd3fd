"""One op by one of its algorithms, on operands of random numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigraph.backend import Memory, Slot, aligned, channels_last, dense_strides
from minigraph.backends.llvm.backend import LOWERINGS
from minigraph.backends.llvm.call import Binding, Context
from minigraph.backends.llvm.library import Library
from minigraph.backends.llvm.native import ROW, THEN_WAIT
from minigraph.backends.llvm.workers import WORKERS
from minigraph.host_store import aligned_empty, as_strided_array
from minigraph.ir.spec import DType, TensorSpec
from minigraph.ops.elementwise import Add, Relu, ReluGrad
from minigraph.ops.fused import Body, Fused, Instruction
from minigraph.places import External

BOUND = 2e-6  # of the largest element: plain rounding of float32


class Step:
    """One op on operands of random numbers, in memory full of what is not a number."""

    def __init__(
        self,
        library: Library,
        op: Any,
        *shapes: tuple[int, ...],
        algorithm: str,
        threads: int = 2,
        gap: int = 0,
        dtype: DType = DType.FLOAT32,
        over: tuple[int, ...] = (),  # the operands that results are written over
    ) -> None:
        self.library, self.threads = library, threads
        specs = tuple(TensorSpec(shape, dtype) for shape in shapes)
        found = LOWERINGS[type(op)].candidates(op, specs, Context(threads, library.target))
        choice = next(one for one in found if one.name == algorithm)
        self._size = 0
        slots = [self._slot(spec, gap) for spec in specs]
        outputs = [slots[n] for n in over] or [self._slot(spec, gap) for spec in op.infer(*specs)]
        scratch = [
            self._slot(TensorSpec((size,), DType.UINT8), 0) if size else None
            for size in (choice.workspace, choice.prepared)
        ]
        self.memory = aligned_empty(self._size)
        self.memory[:] = 255
        rng = np.random.default_rng([len(shapes), *(n for shape in shapes for n in shape)])
        self.operands = [self._array(slot) for slot in slots]
        for array in self.operands:
            array[...] = rng.standard_normal(array.shape)
        binding = Binding(
            op, algorithm, tuple(slots), tuple(outputs), *scratch, threads, library.target
        )
        self.calls = LOWERINGS[type(op)].calls(binding)
        self.results = [self._array(slot) for slot in outputs]

    def _slot(self, spec: TensorSpec, gap: int) -> Slot:
        """Room for a tensor; pixels of images lie ``gap`` further apart than they need."""
        strides = dense_strides(spec, channels_last(spec))
        if gap and spec.ndim == 4:
            wide = spec.with_shape((spec.shape[0], spec.shape[1] + gap, *spec.shape[2:]))
            strides = dense_strides(wide, channels_last(wide))
        slot = Slot(Memory.WORK, spec, self._size, "", strides)
        reach = sum((n - 1) * step for n, step in zip(spec.shape, strides, strict=True)) + 1
        self._size += aligned(reach * spec.dtype.itemsize) + 64
        return slot

    def _array(self, slot: Slot) -> np.ndarray:
        return as_strided_array(self.memory[slot.offset :], slot.spec, slot.strides)

    def run(self) -> np.ndarray:
        """The first result, as the calls give it."""
        self.library.load(call.code for call in self.calls)
        base = self.memory.ctypes.data
        rows, kept = np.zeros((len(self.calls), ROW), np.int64), []
        refused = np.zeros(2, np.int64)
        for row, call in zip(rows, self.calls, strict=True):
            places = [p for p in (*call.reads, *call.writes) if not isinstance(p, External)]
            flags = [refused.ctypes.data, refused.ctypes.data + 8]
            kept.append(np.array([*flags, *(base + p.offset for p in places), *call.sizes]))
            row[:] = self.library.address(call.code), kept[-1].ctypes.data, THEN_WAIT
        WORKERS.run(rows, self.threads, refused.ctypes.data)
        return self.results[0].copy()


def check(got: np.ndarray, expected: np.ndarray, bound: float = BOUND) -> None:
    assert got.shape == expected.shape
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(got, expected, rtol=0, atol=bound * scale)


def wide(arrays: list[np.ndarray]) -> list[np.ndarray]:
    return [array.astype(np.float64) for array in arrays]


def fused(anchor: Any) -> Fused:
    """ReLU(anchor + bias), where another tensor is positive, plus a residual."""
    steps = (
        Instruction(anchor, (0, 1)),
        Instruction(Add(), (5, 2)),
        Instruction(Relu(), (6,)),
        Instruction(ReluGrad(), (3, 7)),
        Instruction(Add(), (8, 4)),
    )
    return Fused(Body(5, steps, (9,)))


def finished(y: np.ndarray, bias: np.ndarray, mask: np.ndarray, more: np.ndarray) -> np.ndarray:
    return np.where(mask > 0, np.maximum(y + bias, 0), 0) + more
