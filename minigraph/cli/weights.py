"""``--weights``: where a training run starts from."""

from __future__ import annotations

from pathlib import Path

from minigraph.cli.settings import Settings
from minigraph.ir.errors import LoadError
from minigraph.pretrained import WeightsReport, apply_weights
from minigraph.pretrained.files import open_weights
from minigraph.state import ModelState
from minigraph.training.run_folder import MODEL

_TORCHVISION_BASE = 64


def find_weights(settings: Settings) -> Path | None:
    """The file that a run starts from, of a run's folder its best model; None for a random start.

    Raises LoadError for a file that holds no weights, before images are read.
    """
    if settings.weights is None:
        return None
    path = Path(settings.weights)
    path = path / MODEL if path.is_dir() else path
    open_weights(path)
    return path


def start_from(path: Path, state: ModelState, settings: Settings) -> WeightsReport:
    """Load the file; where it does not fit, say which options torchvision's files need."""
    try:
        return apply_weights(state, path, settings.model)
    except LoadError as error:
        needed = []
        if settings.base not in (None, _TORCHVISION_BASE):
            needed.append(f"--base {_TORCHVISION_BASE} in place of {settings.base}")
        if settings.batch_norm:
            needed.append("--no-batch-norm, unless '_bn' is in their names")
        hint = f". Torchvision's files need {' and '.join(needed)}" if needed else ""
        raise LoadError(f"{error}{hint}") from None
