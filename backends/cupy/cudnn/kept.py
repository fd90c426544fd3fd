"""What is kept on disk of cuDNN's plans: which is the fastest for a signature, and it, compiled.

A folder for one device, one cuDNN and one set of options holds ``plans.json`` (by signature: the
plan's name, its workspace and its time) and a file for each compiled plan: cuDNN's own bytes after
a checksum of them, of the signature and of the name. What does not fit is made anew; deleting any
of it is safe.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from minigraph.backends.cupy.cudnn.signature import Signature
from minigraph.ir.errors import WriteError
from minigraph.whole_file import write_whole

_LARGEST_FILE = 16 << 20
_CHECKSUM = hashlib.sha256().digest_size


@dataclass(frozen=True, slots=True)
class Plan:
    """One way of cuDNN to run a signature."""

    name: str  # says the engine, and what it is set to
    workspace: int  # bytes
    seconds: float


class KeptPlans:
    """Plans in a folder. One that cannot be read or written costs time and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file = folder / "plans.json"
        self._plans = self._read()

    def fastest(self, signature: Signature) -> Plan | None:
        return self._plans.get(repr(signature))

    def keep_fastest(self, signature: Signature, plan: Plan) -> None:
        """Add to what is there: other processes measure too, and what one wrote first stays."""
        self._plans = {**self._plans, repr(signature): plan, **self._read()}
        found = {key: asdict(plan) for key, plan in self._plans.items()}
        _write(self._file, f"{json.dumps(found, indent=1, sort_keys=True)}\n".encode())

    def compiled(self, signature: Signature, plan: Plan) -> bytes | None:
        """The bytes that were kept of a plan; None where there are none, or others."""
        found = _bytes_of(self._file_of(signature, plan))
        if found is None or found[:_CHECKSUM] != _checksum(signature, plan, found[_CHECKSUM:]):
            return None
        return found[_CHECKSUM:]

    def keep_compiled(self, signature: Signature, plan: Plan, data: bytes) -> None:
        _write(self._file_of(signature, plan), _checksum(signature, plan, data) + data)

    def _file_of(self, signature: Signature, plan: Plan) -> Path:
        return self.folder / f"{_checksum(signature, plan, b'').hex()[:32]}.plan"

    def _read(self) -> dict[str, Plan]:
        """What was measured before; nothing where the file cannot be used."""
        try:
            found = json.loads(_bytes_of(self._file) or b"{}")
            return {key: _plan(**value) for key, value in found.items()}
        except (ValueError, TypeError, AttributeError, RecursionError):
            return {}


def _plan(name: Any, workspace: Any, seconds: Any) -> Plan:
    if not (isinstance(name, str) and isinstance(workspace, int) and isinstance(seconds, float)):
        raise ValueError
    if workspace < 0 or not 0 < seconds < math.inf:
        raise ValueError
    return Plan(name, workspace, seconds)


def _checksum(signature: Signature, plan: Plan, data: bytes) -> bytes:
    return hashlib.sha256(f"{signature!r} {plan.name}\n".encode() + data).digest()


def _bytes_of(path: Path) -> bytes | None:
    try:
        return path.read_bytes() if path.stat().st_size <= _LARGEST_FILE else None
    except OSError:
        return None


def _write(path: Path, data: bytes) -> None:
    try:
        write_whole(path, data)
    except WriteError:
        return
