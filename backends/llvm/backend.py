"""What the compiler asks the LLVM backend: its kernels by op, its store, its runner."""

from __future__ import annotations

from minigraph.backend import Algorithm, Program, Refused, Supported, channels_last
from minigraph.backends.llvm import target as targets
from minigraph.backends.llvm.call import Context
from minigraph.backends.llvm.kernels.instructions import EMITTERS
from minigraph.backends.llvm.kernels.table import ANCHORS, LOWERINGS, WITH_SEVERAL_RESULTS
from minigraph.backends.llvm.language.code import version
from minigraph.backends.llvm.library import Library
from minigraph.backends.llvm.object_cache import ObjectCache
from minigraph.backends.llvm.runner import LlvmRunner
from minigraph.backends.llvm.workers import usable_cpus
from minigraph.cache_folder import cache_folder
from minigraph.host_store import HostStore
from minigraph.ir.constant import Constant
from minigraph.ir.op import Op
from minigraph.ir.spec import DType, TensorSpec
from minigraph.lowering.elementwise import can_fuse
from minigraph.ops.fused import Body


class LlvmBackend:
    """One table of native calls for a whole step, run by all threads at once.

    ``threads`` (default: the processors that this process may keep busy) share every kernel; each
    result is the same bit for bit whatever their number. ``target`` is the processor to generate
    code for: ``host``, or ``avx2`` or ``sse4`` for what older ones would run.
    """

    name = "llvm"
    priority = 10
    takes_gaps = True
    takes_device_arrays = False

    def __init__(self, threads: int | None = None, target: str = "host") -> None:
        self.threads = usable_cpus() if threads is None else threads
        self._target = targets.named(target)
        self.library = Library(self._target, ObjectCache(cache_folder("llvm")))

    @classmethod
    def available(cls) -> Supported | Refused:
        """Wherever llvmlite can be imported, which this module's import has shown."""
        return Supported()

    @property
    def fingerprint(self) -> str:
        """This backend's sources, LLVM, the processor, the threads."""
        return f"{version()} {self._target} {self.threads}"

    def axis_order(self, spec: TensorSpec) -> tuple[int, ...]:
        """Channels innermost for images and for weights; other values row by row."""
        return channels_last(spec)

    def candidates(self, op: Op, inputs: tuple[TensorSpec, ...]) -> tuple[Algorithm, ...] | Refused:
        """The algorithms for an op on inputs of these specs."""
        if isinstance(op, Constant):
            return (Algorithm("constant"),)
        lowering = LOWERINGS.get(type(op))
        if lowering is None:
            return Refused(f"no kernel for {op.name}")
        if not self._target.has_half:
            specs = (*inputs, *op.infer(*inputs))
            if any(spec.dtype is DType.FLOAT16 for spec in specs):
                return Refused("this processor has no conversion of float16")
        return lowering.candidates(op, inputs, Context(self.threads, self._target))

    def can_fuse(self, body: Body, inputs: tuple[TensorSpec, ...]) -> Supported | Refused:
        """Elementwise bodies, and anchors with what one kernel can do to their results."""
        return can_fuse(body, inputs, EMITTERS, ANCHORS, WITH_SEVERAL_RESULTS)

    def new_store(self) -> HostStore:
        return HostStore(self.axis_order)

    def build(self, program: Program, store: HostStore) -> LlvmRunner:
        """Bind a program to an arena of its own and to the store's variables."""
        return LlvmRunner(program, store, LOWERINGS, self.library, self.threads)
