"""Put the weights of a file into a model's state, all of them or none."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minigraph.ir.errors import LoadError
from minigraph.ir.graph import Role
from minigraph.passes.dense_to_convolution import convert_dense_to_convolution
from minigraph.pretrained.families import Family, family_of
from minigraph.pretrained.files import WeightsFile, open_weights
from minigraph.state import ModelState

_NOT_WEIGHTS = ("optimizer.", "random.", "constant/")  # in files that minigraph saved
_COUNTER = ".num_batches_tracked"  # torch's, of batch norms without a momentum
_MOST_NAMES = 4
_LOADED = (Role.PARAMETER, Role.FROZEN, Role.STATISTIC)


@dataclass(frozen=True)
class WeightsReport:
    """What became of a file's arrays and of a model's variables.

    Attributes:
        path: the file.
        taken: variables that were loaded, and their names in the file.
        other_shapes: variables that start afresh because the file has them in other shapes, as of
            another number of classes.
        missing: variables that start afresh because the file has none for them.
        left: names in the file that the model has no place for.
    """

    path: Path
    taken: Mapping[str, str]
    other_shapes: tuple[str, ...]
    missing: tuple[str, ...]
    left: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{self.path}: {len(self.taken)} variables loaded"]
        for names, what in (
            (self.other_shapes, "start afresh, the file has them in other shapes"),
            (self.missing, "start afresh, the file has none for them"),
            (self.left, "of the file are left, the model has no place for them"),
        ):
            if names:
                lines.append(f"{len(names)} {what}: {_some(names)}")
        return "\n".join(lines)


def apply_weights(state: ModelState, path: str | Path, network: str) -> WeightsReport:
    """Load a file of weights into the state of a network of ``minigraph.models``.

    ``path`` is a torchvision-style state dict as ``.safetensors`` or ``.npz``, or a model of the
    same network that minigraph saved. ``network`` is the network's name, such as ``"vgg16"`` or
    ``"fcn8s"``: VGG, ResNet and AlexNet take torchvision's files of the same network; FCN, SegNet
    and the dilated one take VGG-16's (SegNet: with batch norm), U-Net VGG-13's in its encoder.
    Dense weights become those of convolutions where the network has them so.

    Layers that depend on the number of classes keep their start where the file has another number.
    Raises LoadError, and leaves the state as it was, for a file of another network: other
    shapes, layers that are missing or too many, or nothing that fits.
    """
    path = Path(path)
    file = open_weights(path)
    variables = [name for name in state if state.roles.get(name) in _LOADED]
    plan = _plan(path, file.shapes, variables, network)
    taken, other_shapes = {}, []
    for name, source in plan.sources.items():
        wanted, got = state.spec(name).shape, file.shapes[source]
        if _fits(wanted, got):
            taken[name] = source
        elif name.startswith(plan.heads):
            other_shapes.append(name)
        else:
            raise LoadError(
                f"{path}: Expected shape {list(wanted)} for {name!r} of {network}, got {list(got)} "
                f"in {source!r}: the file is of another network, or of another width"
            )
    if not taken:
        raise LoadError(
            f"{path}: Expected weights of {network}, got none that fit but for the number of "
            f"classes: {_some(other_shapes)}"
        )
    arrays = {name: _read(path, file, source, name, state) for name, source in taken.items()}
    for name, array in arrays.items():
        state[name] = array
    missing = tuple(name for name in variables if name not in plan.sources)
    return WeightsReport(path, taken, tuple(other_shapes), missing, plan.left)


@dataclass(frozen=True)
class _Plan:
    """Where each variable comes from, the names that are left, and whose shapes may differ."""

    sources: Mapping[str, str]
    left: tuple[str, ...]
    heads: tuple[str, ...]


def _plan(path: Path, names: Collection[str], variables: Collection[str], network: str) -> _Plan:
    """By torchvision's names where the file has them, else by the model's own."""
    family = family_of(network)
    theirs = {} if family is None else _torchvision_names(family, variables)
    sources = {name: source for name, source in theirs.items() if source in names}
    own = {name: name for name in variables if name in names}
    if not sources and not own:
        raise LoadError(
            f"{path}: Expected weights of {network}, got none: the file has {_some(names)}; the "
            f"model has {_some(variables)}"
        )
    used = set((sources or own).values())
    weights = (n for n in names if not (n.endswith(_COUNTER) or n.startswith(_NOT_WEIGHTS)))
    left = tuple(name for name in weights if name not in used)
    if family is None:
        return _Plan(own, left, ())
    if sources:
        lacking = set(theirs.values()) - used
        _check_same_network(path, network, family, lacking, left)
    return _Plan(sources or own, left, family.heads)


def _torchvision_names(family: Family, variables: Collection[str]) -> dict[str, str]:
    """``conv1_1.weight`` to ``features.0.weight``, for all that can come from a file."""
    layers = family.layers(variables)
    parts = ((name, *name.rpartition(".")) for name in variables)
    return {name: f"{layers[layer]}.{last}" for name, layer, _, last in parts if layer in layers}


def _check_same_network(
    path: Path, network: str, family: Family, lacking: Collection[str], left: Collection[str]
) -> None:
    """Parts that happen to fit must not be taken from a file of VGG-19 into VGG-16."""
    lacking = sorted(name for name in lacking if not name.startswith(family.optional))
    more = [name for name in left if not name.startswith(family.unused)]
    if lacking or more:
        found = [f"no {_some(lacking)}"] * bool(lacking) + [f"{_some(more)} too"] * bool(more)
        raise LoadError(
            f"{path}: Expected the weights that {network} has, got {' and '.join(found)}: the file "
            "is of another network"
        )


def _fits(wanted: tuple[int, ...], got: tuple[int, ...]) -> bool:
    """The same shape, or a dense weight where the network has a convolution."""
    return got == wanted or _is_dense_for(wanted, got)


def _is_dense_for(wanted: tuple[int, ...], got: tuple[int, ...]) -> bool:
    return len(wanted) == 4 and got == (wanted[0], math.prod(wanted[1:]))


def _read(path: Path, file: WeightsFile, source: str, name: str, state: ModelState) -> np.ndarray:
    """An array of a file in the shape and dtype of its variable."""
    spec, array = state.spec(name), file.read(source)
    if array.dtype.kind in "iub":  # such as the bits of a bfloat16 that minigraph saved
        raise LoadError(f"{path}: Expected floating numbers in {source!r}, got {array.dtype}")
    if _is_dense_for(spec.shape, array.shape):
        array = convert_dense_to_convolution(array, *spec.shape[1:])
    with np.errstate(over="ignore"):
        cast = array.astype(spec.dtype.numpy)
    if np.isfinite(array).sum() != np.isfinite(cast).sum():
        raise LoadError(
            f"{path}: Expected values that {spec.dtype} can hold in {source!r}, got larger ones"
        )
    return cast


def _some(names: Collection[str]) -> str:
    first = list(names)[:_MOST_NAMES]
    rest = len(names) - len(first)
    return ", ".join(first) + (f" and {rest} more" if rest else "")
