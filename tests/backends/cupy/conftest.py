"""What processes that run these tests share."""

from __future__ import annotations

import os

import pytest
from emulated_compiler import FOLDER_VARIABLE


@pytest.fixture(scope="session", autouse=True)
def folder_of_kernels(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The emulator's kernels are compiled once in a session, for all workers of pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    session = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    os.environ.setdefault(FOLDER_VARIABLE, str(session / "emulator"))
