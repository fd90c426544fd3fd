"""What the compiler asks the NumPy backend: its kernels by op, its store, its runner."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping

import numpy as np

from minigraph.backend import Algorithm, Program, Refused, Supported, row_major
from minigraph.backends.numpy import (
    activation,
    axis_map,
    conv,
    elementwise,
    group_norm,
    indexing,
    loss,
    median,
    norm,
    pool,
    random,
    reduce,
    shape,
    softmax,
    unfold,
    unpool,
)
from minigraph.backends.numpy.half import through_float32
from minigraph.backends.numpy.kernel import Kernel
from minigraph.backends.numpy.matmul import MATMUL
from minigraph.backends.numpy.runner import NumpyRunner
from minigraph.backends.numpy.workers import Workers
from minigraph.host_store import HostStore
from minigraph.ir.constant import Constant
from minigraph.ir.op import Op
from minigraph.ir.spec import TensorSpec
from minigraph.ops.fused import Body, Fused
from minigraph.ops.matmul import MatMul

_SUMMING = {
    **reduce.KERNELS,
    **softmax.KERNELS,
    **norm.KERNELS,
    **group_norm.KERNELS,
    **indexing.SUMMING,
    **loss.KERNELS,
    **conv.KERNELS,
    MatMul: MATMUL,
}

_SPATIAL = {
    **pool.KERNELS,
    **unpool.KERNELS,
    **median.KERNELS,
    **unfold.KERNELS,
    **axis_map.KERNELS,
}

KERNELS: Mapping[type, Kernel] = {
    **elementwise.KERNELS,
    **activation.KERNELS,
    **indexing.KERNELS,
    **shape.KERNELS,
    **random.KERNELS,
    **{op: through_float32(kernel) for op, kernel in {**_SUMMING, **_SPATIAL}.items()},
}
"""Every op with a kernel. Kernels that add up many elements do so in float32 at least."""


class NumpyBackend:
    """Kernels are NumPy calls with ``out=``, bound once to views of one arena; GEMM is BLAS.

    ``threads`` (default: the CPUs that this process may use) share the work of large kernels; each
    result is the same bit for bit whatever their number.
    """

    name = "numpy"
    priority = 0
    takes_gaps = False
    takes_device_arrays = False

    def __init__(self, threads: int | None = None) -> None:
        self._workers = Workers(usable_cpus() if threads is None else threads)

    @classmethod
    def available(cls) -> Supported | Refused:
        """Always: NumPy is a dependency."""
        return Supported()

    @property
    def threads(self) -> int:
        return self._workers.threads

    @property
    def fingerprint(self) -> str:
        """NumPy, the processor, the threads."""
        return f"numpy {np.__version__} {platform.processor()} {os.cpu_count()} {self.threads}"

    def axis_order(self, spec: TensorSpec) -> tuple[int, ...]:
        """Plain arrays: the last axis innermost."""
        return row_major(spec)

    def candidates(self, op: Op, inputs: tuple[TensorSpec, ...]) -> tuple[Algorithm, ...] | Refused:
        """The algorithms for an op on inputs of these specs."""
        if isinstance(op, Constant):
            return (Algorithm("constant"),)
        kernel = KERNELS.get(type(op))
        if kernel is None:
            return Refused(f"no kernel for {op.name}")
        if isinstance(op, Fused):
            answer = conv.can_fuse(op.body, inputs)
            if isinstance(answer, Refused):
                return answer
        return kernel.candidates(op, inputs, self.threads)

    def can_fuse(self, body: Body, inputs: tuple[TensorSpec, ...]) -> Supported | Refused:
        """Bodies that the convolution kernels can finish block by block."""
        return conv.can_fuse(body, inputs)

    def new_store(self) -> HostStore:
        return HostStore(self.axis_order)

    def build(self, program: Program, store: HostStore) -> NumpyRunner:
        """Bind a program to an arena of its own and to the store's variables."""
        return NumpyRunner(program, store, KERNELS, self._workers)


def usable_cpus() -> int:
    """CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
