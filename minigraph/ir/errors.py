"""Errors that users meet. Each first line reads ``Expected ..., got ...`` where that fits."""

from __future__ import annotations


class MinigraphError(Exception):
    """Base of every error that minigraph raises on purpose."""


class SpecError(MinigraphError, ValueError):
    """An operation got shapes, dtypes or attributes that it cannot take.

    Raised by ``Op.infer`` with the numbers; the builder adds the node and the user's lines.
    """


class BuilderError(MinigraphError, ValueError):
    """A graph was put together wrongly: mixed builders, a repeated name, a foreign value."""


class VerifyError(MinigraphError):
    """A graph is not well formed. Shows the node, its neighbours and the user's line."""


class ParseError(MinigraphError, ValueError):
    """A graph's text form could not be read."""


class GradientError(MinigraphError, ValueError):
    """A gradient was asked for that does not exist."""


class UnsupportedError(MinigraphError):
    """A backend cannot run this graph; all that it lacks is listed at once."""


class MemoryLimitError(MinigraphError):
    """The plan does not fit the byte budget; the largest values are named."""


class InputError(MinigraphError, ValueError):
    """A call got a wrong name, shape or dtype, or a value that the graph refuses."""


class IllegalLabelError(InputError):
    """A label is neither a class nor void. No state was written by the refused step."""


class IllegalIndexError(InputError):
    """An index points outside of its axis. No state was written by the refused step."""


class StateError(MinigraphError, KeyError):
    """A state variable does not exist, or was given a wrong shape or dtype."""

    def __str__(self) -> str:  # KeyError would print the repr
        return str(self.args[0]) if self.args else ""


class LoadError(MinigraphError, ValueError):
    """A saved model could not be read."""


class WriteError(MinigraphError, OSError):
    """A file could not be written; what was there before still is."""
