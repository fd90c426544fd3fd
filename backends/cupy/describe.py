"""What ``minigraph doctor`` says of GPUs and of NVIDIA's libraries."""

from __future__ import annotations

from typing import Any

from minigraph.backend import Refused
from minigraph.backends.cupy.cuda_device import available, cuda_version
from minigraph.backends.cupy.cudnn.libraries import load_libraries


def describe() -> list[str]:
    """Lines on devices, libraries and versions. Never raises."""
    try:
        import cupy
    except Exception as error:  # a broken installation too
        return [f"CuPy            cannot be imported ({error})"]
    runtime = cupy.cuda.runtime
    libraries = load_libraries()
    lines = [f"CuPy            {cupy.__version__}, for CUDA {_wanted(runtime)}"]
    lines.append(f"driver          {_driver(runtime)}")
    lines.append(f"nvrtc           {_nvrtc(cupy)}")
    if isinstance(libraries, Refused):
        lines.append(f"cuDNN           missing, convolutions are slower: {libraries.reason}")
    else:
        lines.append(f"cuDNN           {libraries.library}, frontend {libraries.frontend}")
    try:
        return lines + (_devices(cupy) if available() else [])
    except Exception as error:  # a device that another process has to itself, say
        return [*lines, f"GPU             cannot be asked ({error})"]


def _wanted(runtime: Any) -> str:
    try:
        return cuda_version(runtime.runtimeGetVersion())
    except Exception as error:  # its library is missing
        return f"unknown ({error})"


def _driver(runtime: Any) -> str:
    try:
        number = runtime.driverGetVersion()
    except Exception as error:
        return f"cannot be asked ({error})"
    return f"for CUDA {cuda_version(number)}" if number else "not installed"


def _nvrtc(cupy: Any) -> str:
    try:
        major, minor = cupy.cuda.nvrtc.getVersion()
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        return f'missing ({reason}): pip install "minigraph[cuda12]", or cuda13'
    return f"{major}.{minor}"


def _devices(cupy: Any) -> list[str]:
    """A line for each visible GPU; minigraph takes the first."""
    lines = []
    for number in range(cupy.cuda.runtime.getDeviceCount()):
        found = cupy.cuda.runtime.getDeviceProperties(number)
        with cupy.cuda.Device(number):
            free, total = cupy.cuda.runtime.memGetInfo()
        lines.append(
            f"GPU {number}           {found['name'].decode()}, compute capability "
            f"{found['major']}.{found['minor']}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free"
        )
    return lines
