"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

from minigraph.ir.errors import WriteError


def write_whole(path: Path, data: bytes) -> None:
    """Write beside the target, flush to the disk, then rename over it.

    Whatever happens before the rename (a full disk, a kill), the file that was there stays. Raises
    WriteError.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        _remove(temporary)
        kept = "; the file that was there is unchanged" if path.is_file() else ""
        raise WriteError(
            f"Expected to write {len(data):,} bytes, got '{error.strerror or error}': {path}{kept}"
        ) from error
    except BaseException:
        _remove(temporary)
        raise
    _flush_folder(path.parent)


def remove_unfinished(folder: Path, names: tuple[str, ...]) -> None:
    """Remove what killed processes left of files with these names."""
    for name in names:
        for path in folder.glob(f".{name}.*-*"):
            _remove(path)


def _remove(path: Path) -> None:
    with suppress(OSError):  # it is not there, or nothing can be changed
        path.unlink()


def _flush_folder(folder: Path) -> None:
    """Flush the rename itself, where folders can be opened (not on Windows)."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    with suppress(OSError):  # some file systems cannot; the rename is atomic all the same
        os.fsync(descriptor)
    os.close(descriptor)
