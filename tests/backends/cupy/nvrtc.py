"""NVIDIA's run-time compiler, which needs no GPU, from the wheel nvidia-cuda-nvrtc."""

from __future__ import annotations

import ctypes
from functools import cache
from importlib.util import find_spec
from pathlib import Path

OPTIONS = ("--std=c++17", "-ftz=true", "--device-as-default-execution-space")
"""Ours, and those that CuPy adds."""


@cache
def library() -> ctypes.CDLL | None:
    """The compiler's library, where a wheel with it is installed."""
    for package in ("nvidia.cuda_nvrtc", "nvidia.cu13"):
        try:
            found = find_spec(package)
        except ModuleNotFoundError:
            continue
        for folder in (found.submodule_search_locations or []) if found else []:
            for path in sorted(Path(folder, "lib").glob("libnvrtc.so.*")):
                return ctypes.CDLL(str(path))
    return None


def compile_error(source: str, architecture: str) -> str:
    """What the compiler has against CUDA C for an architecture such as "sm_90"; "" for nothing."""
    nvrtc = library()
    assert nvrtc is not None
    program = ctypes.c_void_p()
    text = source.encode()
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), text, b"kernels.cu", 0, None, None) == 0
    given = [option.encode() for option in (*OPTIONS, f"--gpu-architecture={architecture}")]
    options = (ctypes.c_char_p * len(given))(*given)
    failed = nvrtc.nvrtcCompileProgram(program, len(given), options)
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return log.value.decode() if failed else ""
