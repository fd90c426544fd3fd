"""The machine that code is generated for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import llvmlite.binding as llvm

_AVX512 = ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")


@dataclass(frozen=True)
class Target:
    """A processor as LLVM names it, and what kernels need to know of it."""

    triple: str
    cpu: str
    features: str  # LLVM's list: "+avx2,+fma,..."
    vector_bytes: int  # the widest vector that is quick
    vector_registers: int
    has_half: bool  # converts float16 in hardware

    def lanes(self, itemsize: int) -> int:
        """Elements of ``itemsize`` bytes in a vector."""
        return self.vector_bytes // itemsize

    @property
    def is_x86(self) -> bool:
        return self.triple.startswith(("x86_64", "i686", "i386"))

    def machine(self) -> llvm.TargetMachine:
        """A fresh target machine. Each execution engine takes one of its own and keeps it."""
        initialize()
        target = llvm.Target.from_triple(self.triple)
        # Code generation at level 2 is quick and good; kernels are emitted as they should run,
        # so that LLVM's middle end (its pass pipeline) has little left to do and is not run.
        return target.create_target_machine(cpu=self.cpu, features=self.features, opt=2, jit=True)


@lru_cache(maxsize=1)
def initialize() -> None:
    """LLVM's part for this machine's processors; once a process."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()


@lru_cache(maxsize=1)
def host() -> Target:
    """This machine, with all that it can."""
    initialize()
    present = {name for name, there in llvm.get_host_cpu_features().items() if there}
    features = ",".join(f"+{name}" for name in sorted(present))
    # LLVM holds back 512-bit vectors on some processors that are quicker with them.
    features += ",-prefer-256-bit"
    triple = llvm.get_process_triple()
    cpu = llvm.get_host_cpu_name()
    if "avx512f" in present and present.issuperset(_AVX512):
        return Target(triple, cpu, features, 64, 32, has_half=True)
    if present.issuperset(("avx2", "fma")):
        return Target(triple, cpu, features, 32, 16, has_half="f16c" in present)
    is_arm = triple.startswith(("aarch64", "arm64"))
    return Target(triple, cpu, features, 16, 32 if is_arm else 16, has_half=is_arm)


def named(name: str) -> Target:
    """``host``, or an older x86 processor: ``avx2`` (2013 on) or ``sse4`` (2008 on).

    Code for the older ones runs on newer ones too. Raises ValueError for another name.
    """
    if name == "host":
        return host()
    if name == "avx2":
        return Target(host().triple, "haswell", "", 32, 16, has_half=True)
    if name == "sse4":
        return Target(host().triple, "nehalem", "", 16, 16, has_half=False)
    raise ValueError(f"Expected a target of host, avx2 or sse4, got {name!r}")
