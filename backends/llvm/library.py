"""Machine code by kernel: compiled once, kept on disk, loaded into this process."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable
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
            objects = {code: self._cache.read(keys[code]) for code in missing}
            unknown = [code for code in missing if objects[code] is None]
            for code, data in zip(unknown, self._compile(unknown), strict=True):
                objects[code] = data
                self._cache.write(keys[code], data)
            if unknown:
                self._cache.prune()
            for code in missing:
                machine_code = objects[code]
                assert machine_code is not None
                self._addresses[code] = self._link(machine_code, code.symbol)

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

    def _link(self, data: bytes, symbol: str) -> int:
        empty = llvm.parse_assembly("", llvm.create_context())
        engine = llvm.create_mcjit_compiler(empty, self.target.machine())
        engine.add_object_file(llvm.ObjectFileRef.from_data(data))
        engine.finalize_object()
        self._engines.append(engine)
        address = engine.get_function_address(symbol)
        if not address:
            raise RuntimeError(f"Expected the symbol {symbol} in its object file, got none")
        return address


def _close(engines: list[llvm.ExecutionEngine]) -> None:
    for engine in engines:
        engine.close()
