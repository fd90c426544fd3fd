"""``minigraph doctor``: versions, backends found or why not, GPUs, threads, BLAS."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from threadpoolctl import threadpool_info

import minigraph as mg
from minigraph.backend import Refused, backend_names, describe_backend, find_backend
from minigraph.cli.console import new_console

_PACKAGES = ("numpy", "ml_dtypes", "networkx", "safetensors", "pillow", "rich", "typer",
             "threadpoolctl", "pooch", "llvmlite", "matplotlib")  # fmt: skip
_EXTRAS = {"llvmlite": "llvm", "matplotlib": "plot"}


def doctor() -> None:
    """Say what this installation is made of, and which backends it can use."""
    console = new_console()
    console.print(f"minigraph {mg.__version__}, Python {platform.python_version()}, "
                  f"{platform.system()} {platform.machine()}")  # fmt: skip
    console.print(f"  from {Path(mg.__file__).parent}, {sys.executable}")
    console.print("\npackages")
    for name in _PACKAGES:
        console.print(f"  {name:14} {_version(name)}")
    console.print("\nbackends")
    for name in backend_names():
        found = find_backend(name)
        state = found.reason if isinstance(found, Refused) else "available"
        console.print(f"  {name:14} {state}")
        for line in describe_backend(name):
            console.print(f"    {line}")
    console.print("\nthreads")
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    console.print(f"  CPUs {os.cpu_count()}, usable by this process {affinity or os.cpu_count()}")
    console.print("\nBLAS and OpenMP")
    for library in threadpool_info():
        console.print(
            f"  {library.get('internal_api')} {library.get('version')}, "
            f"{library.get('num_threads')} threads, {library.get('architecture', 'unknown')}: "
            f"{Path(library.get('filepath', '')).name}",
        )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        if package not in _EXTRAS:
            return "not installed"
        return f'not installed: pip install "minigraph[{_EXTRAS[package]}]"'
