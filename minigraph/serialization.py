"""A saved model is one safetensors file.

State variables are tensors under their own names, constants under ``constant/<content hash>``; the
graph's text form, a format version and what the user adds are metadata. Nothing is evaluated when
it is read.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minigraph.initializers import Array
from minigraph.ir.constant import content_hash
from minigraph.ir.errors import LoadError, MinigraphError
from minigraph.ir.graph import Graph, Role
from minigraph.ir.spec import DType
from minigraph.ir.text import parse
from minigraph.ops import TEXT_CLASSES
from minigraph.whole_file import write_whole

if TYPE_CHECKING:
    from minigraph.state import ModelState

FORMAT = "minigraph-1"
_CONSTANT = "constant/"
_MAX_HEADER = 100_000_000  # bytes; the limit of the safetensors format


def save_model(
    path: str | Path, graph: Graph, state: ModelState, notes: Mapping[str, str] | None = None
) -> None:
    """Write graph, state and the user's metadata. The file appears whole or not at all."""
    from safetensors.numpy import save

    # safetensors ignores strides: only C-contiguous arrays in logical order are right.
    # (np.ascontiguousarray would turn a scalar into a vector of one.)
    tensors = {name: np.asarray(a, order="C") for name, a in state.snapshot().items()}
    for digest, array in graph.constants.items():
        tensors[_CONSTANT + digest] = np.asarray(array, order="C")
    roles = ",".join(f"{name}={role.value}" for name, role in sorted(state.roles.items()))
    metadata = {"format": FORMAT, "graph": str(graph), "roles": roles}
    metadata["user"] = json.dumps(dict(notes or {}))
    shapes = {name: str(array.dtype) for name, array in tensors.items()}
    plain = {name: _as_bits(array) for name, array in tensors.items()}
    metadata["bfloat16"] = ",".join(n for n, dtype in sorted(shapes.items()) if dtype == "bfloat16")
    write_whole(Path(path), save(plain, metadata))


@dataclass(frozen=True)
class SavedModel:
    """What a file holds: the graph, all state variables (slots too), their roles, user metadata."""

    graph: Graph
    arrays: Mapping[str, np.ndarray]
    roles: Mapping[str, Role]
    metadata: Mapping[str, str]


def load_model(path: str | Path) -> SavedModel:
    """Read a saved model. Raises LoadError that names the file."""
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    check_safetensors(path)
    try:
        with safe_open(str(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            _check_format(path, metadata)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except LoadError:
        raise
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise LoadError(f"{path}: Expected a safetensors file, got {error}") from None
    for name in filter(None, metadata.get("bfloat16", "").split(",")):
        bits = tensors.get(name)
        if bits is None or bits.dtype != np.uint16:
            raise LoadError(f"{path}: Expected the bits of {name!r} as uint16, got another tensor")
        tensors[name] = bits.view(DType.BFLOAT16.numpy)
    graph, state = _assemble(path, metadata["graph"], tensors)
    notes = _user_metadata(path, metadata.get("user", "{}"))
    return SavedModel(graph, state, _roles(metadata.get("roles", "")), notes)


def _user_metadata(path: Path, text: str) -> dict[str, str]:
    try:
        notes = json.loads(text)
    except ValueError:
        notes = None
    if not isinstance(notes, dict) or not all(isinstance(v, str) for v in notes.values()):
        raise LoadError(f"{path}: Expected user metadata as names and texts, got something else")
    return notes


def _roles(text: str) -> dict[str, Role]:
    known = {role.value: role for role in Role}
    pairs = (pair.rpartition("=") for pair in text.split(",") if pair)
    return {name: known[value] for name, _, value in pairs if value in known}


def _check_format(path: Path, metadata: Mapping[str, str]) -> None:
    if metadata.get("format") != FORMAT or "graph" not in metadata:
        raise LoadError(
            f"{path}: Expected a model saved by minigraph ({FORMAT}), got format "
            f"{metadata.get('format')!r}: a file of plain weights has no graph"
        )


def _assemble(
    path: Path, text: str, tensors: Mapping[str, np.ndarray]
) -> tuple[Graph, dict[str, np.ndarray]]:
    constants = {
        name.removeprefix(_CONSTANT): array
        for name, array in tensors.items()
        if name.startswith(_CONSTANT)
    }
    state = {name: array for name, array in tensors.items() if not name.startswith(_CONSTANT)}
    damaged = [digest for digest, array in constants.items() if content_hash(array) != digest]
    if damaged:
        raise LoadError(f"{path}: Expected constants as they were saved, got others for {damaged}")
    try:
        graph = parse(text, TEXT_CLASSES, constants)
    except MinigraphError as error:
        raise LoadError(f"{path}: Expected a graph, got {error}") from None
    for variable in graph.state:
        array = state.get(variable.name)
        spec = variable.value.spec
        if array is None or array.shape != spec.shape or array.dtype != spec.dtype.numpy:
            got = "nothing" if array is None else f"{array.dtype}{list(array.shape)}"
            raise LoadError(f"{path}: Expected {spec} for the state {variable.name!r}, got {got}")
    initializers = {name: Array(array) for name, array in state.items()}
    return graph.replace(initializers=initializers), state


def _as_bits(array: np.ndarray) -> np.ndarray:
    """safetensors' NumPy side saves bfloat16 and cannot load it: keep the bits as uint16."""
    return array.view(np.uint16) if array.dtype == DType.BFLOAT16.numpy else array


def check_safetensors(path: Path) -> None:
    """The header's length field against the file's size, before anything is read.

    Raises LoadError.
    """
    if not path.is_file():
        raise LoadError(f"{path}: Expected a file, got {'a folder' if path.is_dir() else 'none'}")
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
    length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
    if len(head) < 8 or length > min(size - 8, _MAX_HEADER):
        raise LoadError(
            f"{path}: Expected a safetensors file, got {size} bytes with a header of {length}"
        )
