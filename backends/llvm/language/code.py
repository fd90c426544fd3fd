"""What a kernel's machine code depends on, and how it is written and compiled."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import fields
from functools import lru_cache
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm
import llvmlite.ir as ir

from minigraph.backends.llvm.language.kernel import Kernel
from minigraph.backends.llvm.target import Target
from minigraph.lowering.sources import hash_of_sources


class KernelCode(ABC):
    """One kernel: a frozen dataclass whose fields are all that its machine code depends on.

    Equal codes share their machine code: between layers, models, and runs (on disk). So what only
    some instances need specialised (tile sizes, an epilogue) is a field, and all else is an
    argument of the call.
    """

    @property
    @abstractmethod
    def pointers(self) -> int:
        """How many pointers a call passes."""

    @property
    @abstractmethod
    def sizes(self) -> int:
        """How many sizes a call passes."""

    @abstractmethod
    def emit(self, k: Kernel) -> None:
        """Write the body. Its arguments are ``k.pointers`` and ``k.sizes``."""

    @property
    def symbol(self) -> str:
        """The function's name, which no other kernel has: many are linked at once."""
        return f"{type(self).__name__}_{_digest(self._identity)[:16]}"

    def key(self, target: Target) -> str:
        """A name for the machine code: a hash of all that it depends on."""
        return _digest((*self._identity, target, version()))

    @property
    def _identity(self) -> tuple:
        attributes = [(field.name, repr(getattr(self, field.name))) for field in fields(self)]  # type: ignore[arg-type]
        return type(self).__module__, type(self).__qualname__, attributes


def _digest(parts: tuple) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def assembly(code: KernelCode, target: Target) -> str:
    """The kernel as LLVM's assembly text."""
    module = ir.Module(code.symbol)
    module.triple = target.triple
    kernel = Kernel(module, code.symbol, target, code.pointers, code.sizes)
    code.emit(kernel)
    kernel.finish()
    return str(module)


def compile_assembly(text: str, target: Target) -> bytes:
    """Assembly text to an object file. Runs beside other threads: it shares nothing with them."""
    machine = target.machine()
    with llvm.parse_assembly(text, llvm.create_context()) as module:
        module.verify()
        return machine.emit_object(module)


@lru_cache(maxsize=1)
def version() -> str:
    """LLVM's version and a hash of this backend's sources."""
    sources = hash_of_sources(Path(__file__).parents[1])
    return f"{llvmlite.__version__} {llvm.llvm_version_info} {sources}"
