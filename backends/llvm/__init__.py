"""The LLVM backend: fast CPU code, generated through llvmlite. Needs the extra ``llvm``."""

from minigraph.backends.llvm.backend import LlvmBackend

__all__ = ["LlvmBackend"]
