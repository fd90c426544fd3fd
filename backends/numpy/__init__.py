"""The NumPy backend: the reference, and the default where nothing else is installed."""

from minigraph.backends.numpy.backend import NumpyBackend

__all__ = ["NumpyBackend"]
