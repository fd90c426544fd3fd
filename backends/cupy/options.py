"""What a user can ask of the backend beside what a program says."""

from __future__ import annotations

from dataclasses import dataclass

from minigraph.ir.errors import UnsupportedError

PRECISIONS = ("tf32", "strict")


@dataclass(frozen=True, slots=True)
class Options:
    """``float32`` and ``deterministic`` as in ``CupyBackend``.

    ``workspace_bytes`` bounds what one plan of a library may take beside its operands.
    """

    float32: str = "tf32"
    deterministic: bool = True
    workspace_bytes: int = 256 << 20

    def __post_init__(self) -> None:
        if self.float32 not in PRECISIONS:
            raise UnsupportedError(
                f"Expected float32 as {' or '.join(map(repr, PRECISIONS))}, got {self.float32!r}"
            )
