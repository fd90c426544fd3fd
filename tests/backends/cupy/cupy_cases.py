"""What the tests of the CuPy backend share: backends on emulated devices, and programs of rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import pytest
from emulated_compiler import COMPILER
from emulated_device import EmulatedDevice
from op_table import Differentiated, compile_forward
from test_ops import ROWS

from minigraph.backends.cupy import CupyBackend
from minigraph.executable import Executable

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="needs g++ to compile CUDA C for CPUs")

NO_KERNEL = {"Constant", "WhenTraining"}
"""What never reaches a backend."""

TOGETHER = 64
"""Programs that are built before the first of them is run."""

_ROWS = {row.name: row for row in ROWS}


def emulated(backward: bool = False) -> CupyBackend:
    """The backend on a CPU; ``backward``: with the threads of each block in reverse order.

    Each program has its own device, which has to watch over this program's memory alone.
    """
    return CupyBackend(device=EmulatedDevice(backward))


@lru_cache(maxsize=2 * TOGETHER)
def forward(row: str, dtype: str) -> Executable:
    """A row by name on the emulated backend."""
    return compile_forward(_ROWS[row], dtype, backend=emulated())


@lru_cache(maxsize=2 * TOGETHER)
def gradient(row: str, dtype: str) -> tuple[Differentiated, Executable]:
    """A row's gradient, with the threads of each block in reverse order."""
    found = Differentiated(_ROWS[row], dtype)
    return found, found.first(emulated(backward=True))


def program_of(test: pytest.Item, programs: Mapping[str, Callable[..., Any]]) -> Any:
    """What ``programs[its name](row, dtype)`` gives for a test.

    It is asked for those of the following tests as well: kernels of programs that are built before
    any is run are compiled all at once.
    """
    items = test.session.items
    start = items.index(test)
    found = [
        programs[item.originalname](item.callspec.params["row"].name, item.callspec.params["dtype"])
        for item in items[start : start + TOGETHER]
        if isinstance(item, pytest.Function) and item.originalname in programs
    ]
    return found[0]
