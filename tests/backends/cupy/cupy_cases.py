"""What the tests of the CuPy backend share: backends on emulated devices, and programs of rows."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

import pytest
from emulated_device import COMPILER, EmulatedDevice
from op_table import Differentiated, Row, compile_forward

from minigraph.backends.cupy import CupyBackend
from minigraph.backends.cupy.kernels.table import LOWERINGS
from minigraph.executable import Executable
from minigraph.ir.errors import UnsupportedError
from minigraph.ops import ALL_OPS

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="needs g++ to compile CUDA C for CPUs")

NO_KERNEL = {"Constant", "WhenTraining"}
"""What never reaches a backend."""

NOT_YET = {op.__name__ for op in ALL_OPS if op not in LOWERINGS} - NO_KERNEL


@cache
def emulated(backward: bool = False) -> CupyBackend:
    """The backend on a CPU; ``backward``: with the threads of each block in reverse order."""
    return CupyBackend(device=EmulatedDevice(backward))


def forward(row: Row, dtype: str, backend: CupyBackend) -> Executable:
    """The row on this backend; skips the test where a family of kernels is still to come."""
    return _or_skip(lambda: compile_forward(row, dtype, backend=backend))


def gradient(found: Differentiated, backend: CupyBackend) -> Executable:
    """A row's gradient on this backend."""
    return _or_skip(lambda: found.first(backend))


def _or_skip(compile_: Callable[[], Executable]) -> Executable:
    try:
        return compile_()
    except UnsupportedError as error:
        wanted = NOT_YET & set(re.findall(r"\w+", str(error)))
        if not wanted:
            raise
        pytest.skip(f"not yet: {', '.join(sorted(wanted))}")
