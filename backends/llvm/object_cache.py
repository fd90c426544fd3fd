"""Object code on disk: found by key, checked before it is used, bounded in size."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

_DIGEST = hashlib.sha256().digest_size
_MAX_BYTES = 256 << 20
_LARGEST_OBJECT = 16 << 20


class ObjectCache:
    """Files of object code. Nothing here fails: without a folder every read finds nothing.

    What is read will be run, so the folder is used only where nobody else may write to it, and a
    file whose checksum does not fit is taken away and made again.
    """

    def __init__(self, folder: Path, max_bytes: int = _MAX_BYTES) -> None:
        self._folder = folder if _is_private(folder) else None
        self._max_bytes = max_bytes

    def read(self, key: str) -> bytes | None:
        """The object file of this key, or None."""
        if self._folder is None:
            return None
        path = self._folder / f"{key}.o"
        try:
            if path.stat().st_size > _LARGEST_OBJECT:
                raise ValueError
            stored = path.read_bytes()
            digest, data = stored[:_DIGEST], stored[_DIGEST:]
            if hashlib.sha256(data).digest() != digest:
                raise ValueError
            os.utime(path)  # the least recently used go first
            return data
        except ValueError:
            path.unlink(missing_ok=True)
        except OSError:
            pass
        return None

    def write(self, key: str, data: bytes) -> None:
        """Keep an object file: whole or not at all, whoever else writes it."""
        if self._folder is None:
            return
        with contextlib.suppress(OSError):
            handle, temporary = tempfile.mkstemp(dir=self._folder, suffix=".part")
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(data).digest() + data)
            Path(temporary).replace(self._folder / f"{key}.o")

    def prune(self) -> None:
        """Take away the least recently used files until the rest is within the bound."""
        if self._folder is None:
            return
        with contextlib.suppress(OSError):
            found = [(path.stat(), path) for path in self._folder.iterdir()]
            total = sum(status.st_size for status, _ in found)
            for status, path in sorted(found, key=lambda pair: pair[0].st_mtime):
                if total <= self._max_bytes:
                    return
                path.unlink()
                total -= status.st_size


def _is_private(folder: Path) -> bool:
    """Make the folder; true where it is this user's and nobody else may write to it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError:
        return False
    if not hasattr(os, "getuid"):
        return True
    return status.st_uid == os.getuid() and not status.st_mode & 0o022
