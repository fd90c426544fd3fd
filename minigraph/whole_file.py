"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import re
import threading
import zlib
from contextlib import suppress
from pathlib import Path

from minigraph.ir.errors import WriteError


def write_whole(path: Path, data: bytes) -> None:
    """Write beside the target, flush to the disk, then rename over it.

    Whatever happens before the rename (a full disk, a kill), the file that was there stays. Raises
    WriteError.
    """
    temporary = path.with_name(f"{_prefix(path.name)}{os.getpid()}-{threading.get_ident()}")
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
    """Remove what killed processes left of files with these names.

    What a process that lives is writing stays, except for this one's own.
    """
    for name in names:
        for path in folder.glob(f"{_prefix(name)}*-*"):
            found = re.fullmatch(r"([0-9]+)-[0-9]+", path.name.removeprefix(_prefix(name)))
            if found and not _is_another_that_lives(int(found[1])):
                _remove(path)


def _prefix(name: str) -> str:
    """How the temporary file of a name begins: short, since a name may be as long as it can be.

    Two names of one checksum do no harm: a thread writes one file at a time.
    """
    return f".unfinished-{zlib.crc32(os.fsencode(name)):08x}."


def _is_another_that_lives(process: int) -> bool:
    if process == os.getpid() or os.name == "nt":  # Windows lets nobody remove an open file
        return False
    try:
        os.kill(process, 0)  # signal 0 is not sent: it asks
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it is there, and another user's
        return True
    return True


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
