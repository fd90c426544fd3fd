"""What the tests of the CuPy backend share: backends on emulated devices, and programs of rows."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
from emulated_device import COMPILER, EmulatedDevice
from op_table import Differentiated, Row, compile_forward
from test_ops import ROWS

from minigraph.backends.cupy import CupyBackend
from minigraph.executable import Executable

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="needs g++ to compile CUDA C for CPUs")

NO_KERNEL = {"Constant", "WhenTraining"}
"""What never reaches a backend."""

_ROWS = {row.name: row for row in ROWS}


def emulated(backward: bool = False) -> CupyBackend:
    """The backend on a CPU; ``backward``: with the threads of each block in reverse order.

    Each program has its own device, which has to watch over this program's memory alone.
    """
    return CupyBackend(device=EmulatedDevice(backward))


@cache
def forward(row: str, dtype: str) -> Executable:
    """A row by name on the emulated backend."""
    return compile_forward(_ROWS[row], dtype, backend=emulated())


@cache
def gradient(row: str, dtype: str) -> Executable:
    """A row's gradient, with the threads of each block in reverse order."""
    return Differentiated(_ROWS[row], dtype).first(emulated(backward=True))


def every_row(request: pytest.FixtureRequest, function: Callable[..., object], name: str) -> None:
    """Call ``function(row, dtype)`` for each of the session's tests of this name.

    Programs that are built before any is run have their kernels compiled all at once.
    """
    for item in request.session.items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        if getattr(item, "originalname", "") == name and isinstance(parameters.get("row"), Row):
            function(parameters["row"].name, parameters.get("dtype", "float32"))
