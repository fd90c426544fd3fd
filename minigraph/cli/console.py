"""Where commands print."""

from __future__ import annotations

from rich.console import Console


def new_console(*, stderr: bool = False) -> Console:
    """Lines stay whole, and what looks like markup in a user's names stays as it is."""
    return Console(stderr=stderr, soft_wrap=True, highlight=False, markup=False)
