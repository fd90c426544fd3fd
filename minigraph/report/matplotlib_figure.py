"""Figures of matplotlib, which is imported when the first one is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float, **options: Any) -> Figure:
    """An empty figure of so many inches. Raises ImportError with the way out."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('Drawing needs matplotlib: pip install "minigraph[plot]"') from error
    # Figure itself, not pyplot: no global state, no window, no choice of a backend.
    return Figure(figsize=(width, height), **options)


def plain(text: str) -> str:
    """Text that matplotlib draws as it is: a dollar would start a formula."""
    return text.replace("$", r"\$")
