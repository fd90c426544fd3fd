"""A hash of what generates a backend's code: what is kept on disk is of one version of it."""

from __future__ import annotations

import hashlib
from pathlib import Path

_SOURCES = (".py", ".cuh")


def hash_of_sources(backend: Path) -> str:
    """Of all sources in a backend's folder, and of this package's."""
    digest = hashlib.sha256()
    for folder in (backend, Path(__file__).parent):
        for path in sorted(path for path in folder.rglob("*") if path.suffix in _SOURCES):
            digest.update(path.read_bytes())
    return digest.hexdigest()
