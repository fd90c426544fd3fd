"""Run an op's lowering on tensors that lie in memory as a test wants it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minigraph.backend import Memory, Slot, Strides, dense_strides
from minigraph.backends.llvm.backend import LlvmBackend
from minigraph.backends.llvm.call import Binding, Call
from minigraph.backends.llvm.kernels.table import LOWERINGS
from minigraph.backends.llvm.target import named
from minigraph.backends.llvm.workers import WORKERS
from minigraph.host_store import aligned_empty, as_strided_array
from minigraph.ir.spec import DType, TensorSpec
from minigraph.places import Table

UNTOUCHED = 0xA5  # every byte of memory that no tensor has


class Arena:
    """Memory for a few tensors, in which nothing else may be written."""

    def __init__(self, backend: LlvmBackend, size: int = 1 << 22) -> None:
        self.backend = backend
        self.memory = aligned_empty(size)
        self.memory[:] = UNTOUCHED
        self.end = 4096  # room before the first one, to see what is written there

    def slot(self, spec: TensorSpec, strides: Strides) -> Slot:
        reach = sum((n - 1) * s for n, s in zip(spec.shape, strides, strict=True)) + 1
        slot = Slot(Memory.WORK, spec, self.end, strides=strides)
        self.end += -(-(max(reach, 1) * spec.dtype.itemsize) // 64) * 64 + 64
        assert self.end < len(self.memory) - 4096
        return slot

    def put(self, array: np.ndarray, strides: Strides) -> Slot:
        slot = self.slot(TensorSpec(array.shape, DType.of(array.dtype)), strides)
        np.copyto(self.array(slot), array)
        return slot

    def array(self, slot: Slot) -> np.ndarray:
        return as_strided_array(self.memory[slot.offset :], slot.spec, slot.strides)

    def run(self, calls: Sequence[Call]) -> None:
        """One call after the other; nothing may be refused."""
        self.backend.library.load(call.code for call in calls)
        refused = np.array([0, np.iinfo(np.int64).max])
        words = [refused.ctypes.data, refused.ctypes.data + 8]
        for call in calls:
            addresses = [self._address(place) for place in (*call.reads, *call.writes)]
            arguments = np.array([*words, *addresses, *call.sizes], np.int64)
            address = self.backend.library.address(call.code)
            rows = np.array([[address, arguments.ctypes.data, 1]], np.int64)
            WORKERS.run(rows, self.backend.threads, refused.ctypes.data)
            assert not refused[0]

    def _address(self, place: Any) -> int:
        if isinstance(place, Table):
            return place.array.ctypes.data
        return self.memory.ctypes.data + place.offset

    def run_op(self, op: Any, inputs: Sequence[Slot], outputs: Sequence[Slot]) -> None:
        """The op's first algorithm, with a workspace of its own."""
        algorithms = self.backend.candidates(op, tuple(slot.spec for slot in inputs))
        assert isinstance(algorithms, tuple), algorithms
        workspace = self.slot(TensorSpec((algorithms[0].workspace,), DType.UINT8), (1,))
        binding = Binding(
            op=op,
            algorithm=algorithms[0].name,
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            workspace=workspace,
            prepared=None,
            threads=self.backend.threads,
            target=named("host"),
        )
        self.run(LOWERINGS[type(op)].calls(binding))
        self.memory[workspace.offset : workspace.offset + algorithms[0].workspace] = UNTOUCHED

    def erase(self, slot: Slot) -> None:
        """Give a tensor's bytes back; the gaps between its elements stay as they are."""
        size = slot.spec.dtype.itemsize
        steps = tuple(step * size for step in slot.strides)
        memory = self.memory[slot.offset :]
        raw = np.ndarray((*slot.spec.shape, size), np.uint8, memory, strides=(*steps, 1))
        raw[...] = UNTOUCHED

    @property
    def is_untouched(self) -> bool:
        return bool((self.memory == UNTOUCHED).all())


def memory_strides(spec: TensorSpec, gap: int = 0) -> Strides:
    """As the backend lays tensors out; images with ``gap`` more channels, columns and rows."""
    if spec.ndim != 4:
        return dense_strides(spec, tuple(range(spec.ndim)))
    n, c, height, width = spec.shape
    wider = TensorSpec((n, c + gap, height + gap, width + gap), spec.dtype)
    return dense_strides(wider, (0, 2, 3, 1))
