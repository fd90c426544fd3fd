"""The CuPy backend: one CUDA graph per call. Needs the extra ``cuda12`` or ``cuda13``."""

from minigraph.backends.cupy.backend import CupyBackend

__all__ = ["CupyBackend"]
