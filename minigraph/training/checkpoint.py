"""Checkpoints: a saved model that also knows how far its training has come.

The file is that of ``executable.save`` (so it can be loaded, evaluated and predicted with); what
training needs beyond the state is JSON in its metadata. It is written beside the last one and
renamed over it: whenever the process dies, one whole checkpoint is there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import minigraph as mg
from minigraph.serialization import load_model
from minigraph.training.history import History

METADATA_KEY = "training"


class CheckpointError(mg.MinigraphError):
    """A checkpoint does not belong to this run."""


@dataclass(frozen=True)
class CheckpointFile:
    """Where a run keeps its last checkpoint.

    Attributes:
        path: of the file.
        metadata: kept in the file as well, such as a model card's.
    """

    path: Path
    metadata: Mapping[str, str]

    def write(self, step: mg.Executable, history: History, run: Mapping[str, Any]) -> None:
        """Replace the last checkpoint. Raises mg.WriteError; the last one is then still there."""
        text = json.dumps({**history.to_json(), "run": dict(run)})
        try:
            step.save(self.path, {**self.metadata, METADATA_KEY: text})
        except mg.WriteError as error:
            raise mg.WriteError(f"{error} (the checkpoint of {history.position})") from error

    def restore(self, step: mg.Executable, run: Mapping[str, Any]) -> History:
        """Give ``step`` the checkpoint's state, to the bit, and return its history.

        Raises mg.LoadError for a file that is none, CheckpointError for one of another model or
        another run (``run`` differs); the state is then as it was.
        """
        saved = load_model(self.path)
        try:
            fields = json.loads(saved.metadata[METADATA_KEY])
            history, known = History.from_json(fields), dict(fields["run"])
        except (KeyError, TypeError, ValueError, AttributeError):
            raise CheckpointError(
                f"Expected a checkpoint of a training run, got a model without one: {self.path}"
            ) from None
        self._check_variables(saved.arrays, step.state)
        self._check(known, run)
        step.state.update(saved.arrays)
        return history

    def _check(self, known: Mapping[str, Any], run: Mapping[str, Any]) -> None:
        different = [
            f"{name} {known.get(name)!r} (now {run.get(name)!r})"
            for name in sorted({*known, *run})
            if known.get(name) != run.get(name)
        ]
        if different:
            raise CheckpointError(
                f"Expected the run that the checkpoint is of, which had {', '.join(different)}: "
                f"{self.path}"
            )

    def _check_variables(self, arrays: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        ours = {name: (state[name].shape, state[name].dtype) for name in state}
        theirs = {name: (array.shape, array.dtype) for name, array in arrays.items()}
        if ours != theirs:
            name = min(n for n in {*ours, *theirs} if ours.get(n) != theirs.get(n))
            raise CheckpointError(
                f"Expected a checkpoint of this model and optimiser, got another: {name!r} is "
                f"{_shown(theirs.get(name))} there and {_shown(ours.get(name))} here: {self.path}"
            )


def _shown(variable: tuple | None) -> str:
    return "missing" if variable is None else f"{variable[1]}{list(variable[0])}"
