"""Machine code by kernel: compiled once, kept on disk, loaded into this process."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

import llvmlite.binding as llvm

from minigraph.backends.llvm.language.code import KernelCode, assembly, compile_assembly
from minigraph.backends.llvm.object_cache import ObjectCache
from minigraph.backends.llvm.target import Target


class Library:
    """Addresses of kernels. What is not yet on disk is compiled."""

    def __init__(self, target: Target, cache: ObjectCache) -> None:
        self.target = target
        self._cache = cache
        self._lock = threading.Lock()
        self._addresses: dict[KernelCode, int] = {}
        self._engines: list[llvm.ExecutionEngine] = []  # they own the machine code
        # An engine must be closed before the context of its module. Python finalises the members
        # of a cycle in any order; what a finalizer holds is in no cycle.
        weakref.finalize(self, _close, self._engines).atexit = False
        self.compiled = 0  # kernels that neither this process nor the disk had

    def load(self, codes: Iterable[KernelCode]) -> None:
        """Make sure that all of these can be called."""
        with self._lock:
            missing = [code for code in dict.fromkeys(codes) if code not in self._addresses]
            keys = {code: code.key(self.target) for code in missing}
            found = {code: self._cache.read(keys[code]) for code in missing}
            objects = {code: data for code, data in found.items() if data is not None}
            unknown = [code for code in missing if code not in objects]
            for code, data in zip(unknown, self._compile(unknown), strict=True):
                objects[code] = data
                self._cache.write(keys[code], data)
            if unknown:
                self._cache.prune()
            if missing:
                self._link(objects)

    def address(self, code: KernelCode) -> int:
        """Where a loaded kernel starts."""
        return self._addresses[code]

    def __len__(self) -> int:
        """How many kernels can be called."""
        return len(self._addresses)

    def _compile(self, codes: list[KernelCode]) -> list[bytes]:
        """Assembly is written on this thread while another compiles what has been written.

        One other: llvmlite lets one thread into LLVM at a time.
        """
        self.compiled += len(codes)
        pool = ThreadPoolExecutor(1)
        try:
            futures = [
                pool.submit(compile_assembly, assembly(code, self.target), self.target)
                for code in codes
            ]
            return [future.result() for future in futures]
        finally:
            pool.shutdown(cancel_futures=True)  # Ctrl-C waits for what was begun alone

    def _link(self, objects: Mapping[KernelCode, bytes]) -> None:
        """All with one engine: to make one takes longer than to link a kernel."""
        empty = llvm.parse_assembly("", llvm.create_context())
        engine = llvm.create_mcjit_compiler(empty, self.target.machine())
        self._engines.append(engine)
        for data in objects.values():
            engine.add_object_file(llvm.ObjectFileRef.from_data(data))
        engine.finalize_object()
        addresses = {code: engine.get_function_address(code.symbol) for code in objects}
        for code, address in addresses.items():
            if not address:
                raise RuntimeError(f"Expected {code.symbol} in its object file, got none")
        self._addresses |= addresses


def _close(engines: list[llvm.ExecutionEngine]) -> None:
    for engine in engines:
        engine.close()
