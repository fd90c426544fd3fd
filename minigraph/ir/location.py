"""Where in the user's program a value was built. Side data: never part of a graph's meaning."""

from __future__ import annotations

import contextlib
import linecache
import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

_PACKAGE = Path(__file__).resolve().parents[1]

# Frames of the package are ours, not the user's, and so are Python's own around them. Models are
# the user's: they are what a reader asks for.
_OWN_FILES = (str(_PACKAGE) + os.sep, contextlib.__file__, "<frozen ")
_MODELS = str(_PACKAGE / "models") + os.sep

_MAX_FRAMES = 3


@dataclass(frozen=True, slots=True)
class Location:
    """One line of the user's program."""

    file: str
    line: int
    function: str

    @property
    def source(self) -> str:
        """The line's text, or "" where the file is not at hand."""
        return linecache.getline(self.file, self.line).strip()

    def __str__(self) -> str:
        head = f"{self.file}:{self.line} in {self.function}"
        return f"{head}\n    {self.source}" if self.source else head


def user_locations() -> tuple[Location, ...]:
    """The user's innermost frames on the stack: the model's line first, then its callers'."""
    found: list[Location] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and len(found) < _MAX_FRAMES:
        if _is_users(frame.f_code.co_filename):
            found.append(Location(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
        frame = frame.f_back
    return tuple(found)


def traceback_locations(error: BaseException) -> tuple[Location, ...]:
    """The user's innermost frames on an error's traceback, in the order of user_locations."""
    found = [
        Location(frame.f_code.co_filename, line, frame.f_code.co_name)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if _is_users(frame.f_code.co_filename)
    ]
    return tuple(reversed(found))[:_MAX_FRAMES]


def _is_users(file: str) -> bool:
    return not file.startswith(_OWN_FILES) or file.startswith(_MODELS)


def describe(locations: tuple[Location, ...]) -> str:
    """Lines for an error message; "" where nothing is known."""
    return "\n".join(f"  at {location}" for location in locations)
