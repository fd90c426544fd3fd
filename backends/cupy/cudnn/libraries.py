"""Finding and loading cuDNN, in the order in which its parts need each other."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from minigraph.backend import Refused

OLDEST, TOO_NEW = (1, 26), (1, 29)  # of the frontend: later ones have other dependencies

_INSTALL = 'pip install "minigraph[cuda12]", or cuda13 for drivers of CUDA 13'
_IN_ORDER = ("cudart", "nvrtc", "cublasLt", "cudnn")


@dataclass(frozen=True, slots=True)
class Libraries:
    """cuDNN's Python frontend, with all that it needs in memory."""

    cudnn: Any  # the module
    frontend: str
    library: str  # version of cuDNN itself, such as "9.19.0"

    @property
    def version(self) -> str:
        return f"cuDNN {self.library}, frontend {self.frontend}"

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What the frontend raises where cuDNN cannot do what it is asked for."""
        return (self.cudnn.cudnnGraphNotSupportedError, RuntimeError, ValueError)


def load_libraries() -> Libraries | Refused:
    """cuDNN, or what to install. Never raises.

    The frontend opens cuDNN by itself, and cuDNN ends the process where it misses cuBLAS's
    libcublasLt: so every library is found and opened first, and the frontend imported after that.
    """
    try:
        from cuda import pathfinder
    except ImportError as error:
        return Refused(f"cuda-pathfinder cannot be imported ({error}): {_INSTALL}")
    for name in _IN_ORDER:
        try:
            pathfinder.load_nvidia_dynamic_lib(name)
        except Exception as error:  # not found, or found and broken
            reason = " ".join(str(error).split())[:200]
            return Refused(f"lib{name} cannot be loaded ({reason}): {_INSTALL}")
    try:
        import cudnn
    except Exception as error:
        return Refused(f"cuDNN's frontend cannot be imported ({error}): {_INSTALL}")
    found = tuple(int(number) for number in re.findall(r"\d+", cudnn.__version__)[:2])
    if not OLDEST <= found < TOO_NEW:
        return Refused(
            f"Expected nvidia-cudnn-frontend from {_text(OLDEST)} to before {_text(TOO_NEW)}, got "
            f"{cudnn.__version__}: {_INSTALL}"
        )
    number = cudnn.backend_version()
    library = f"{number // 10000}.{number // 100 % 100}.{number % 100}"
    return Libraries(cudnn, cudnn.__version__, library)


def _text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
