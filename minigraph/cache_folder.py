"""Where files are kept that can be made again: compiled code, measured times."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

CACHE_VARIABLE = "MINIGRAPH_CACHE"


def cache_folder(name: str) -> Path:
    """A folder below the one that MINIGRAPH_CACHE names, else below the user's for caches."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen or platformdirs.user_cache_dir("minigraph", False)) / name
