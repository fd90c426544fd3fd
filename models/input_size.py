"""Which image sizes a network takes: refusals that say the rule."""

from __future__ import annotations

import minigraph as mg
from minigraph import Tensor


def require_multiple(image: Tensor, multiple: int, network: str) -> None:
    """Raise SpecError unless height and width of (N,C,H,W) are divisible by ``multiple``."""
    height, width = _plane(image)
    if height % multiple or width % multiple:
        raise mg.SpecError(
            f"Expected a height and a width divisible by {multiple} for {network}, got "
            f"{height}x{width}: crop or pad the images"
        )


def require_at_least(image: Tensor, least: int, network: str) -> None:
    """Raise SpecError unless height and width of (N,C,H,W) are ``least`` or more."""
    height, width = _plane(image)
    if min(height, width) < least:
        raise mg.SpecError(
            f"Expected images of at least {least}x{least} for {network}, got {height}x{width}: "
            "enlarge them"
        )


def _plane(image: Tensor) -> tuple[int, int]:
    if image.ndim != 4:
        raise mg.SpecError(f"Expected images (N,C,H,W), got {image.spec}")
    return image.shape[2], image.shape[3]
