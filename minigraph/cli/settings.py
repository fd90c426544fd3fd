"""The effective configuration of a training run: what a file may hold, and what one is written."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType, NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from minigraph.cli.recipes import RECIPES

LIMITS: Mapping[str, tuple[float, float]] = MappingProxyType({
    **dict.fromkeys(("epochs", "batch_size", "base", "depth", "accumulate", "early_stopping",
                     "checkpoint_every", "threads"), (1, math.inf)),
    **dict.fromkeys(("learning_rate", "warm_up", "weight_decay", "clip_norm", "prefetch", "seed"),
                    (0, math.inf)),
    "colour_jitter": (0, 1), "held_out": (0, 1), "void_label": (0, 255), "channels": (1, 3),
})  # fmt: skip
"""The least and the most of numbers, wherever they come from."""


@dataclass(frozen=True)
class Settings:
    """Everything that decides a training run; each is an option of ``minigraph train``."""

    model: str
    data: str
    epochs: int = 10
    batch_size: int = 8
    learning_rate: float = 1e-3
    optimizer: str = "adam"
    base: int | None = None
    depth: int | None = None
    batch_norm: bool = False
    weights: str | None = None

    size: str | None = None
    crop: str | None = None
    channels: int | None = None
    class_names: list[str] | None = None
    void_label: int | None = None
    held_out: float | None = None
    random_crop: str | None = None
    random_scale: str | None = None
    colour_jitter: float | None = None
    flip: bool = False
    prefetch: int = 2

    class_weights: str | None = None
    schedule: str = "constant"
    warm_up: int = 0
    weight_decay: float = 0.0
    clip_norm: float | None = None
    accumulate: int = 1
    freeze: list[str] | None = None
    early_stopping: int | None = None

    checkpoint_every: int | None = None
    tensorboard: bool = False
    seed: int = 0
    precision: str = "float32"
    backend: str = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        for name, (least, most) in LIMITS.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                end = "or more" if most == math.inf else f"to {most:g}"
                raise ValueError(f"Expected {name} of {least:g} {end}, got {value}")

    def to_json(self) -> dict[str, Any]:
        """For a settings file."""
        return asdict(self)

    def changed(self, given: Mapping[str, Any]) -> Settings:
        """The same with some settings replaced."""
        return Settings(**{**asdict(self), **given})


def settings_from(model: str | None, file: Path | None, given: Mapping[str, Any]) -> Settings:
    """From most to least important: the options given, the file's, the network's, the general ones.

    Raises ValueError for a network or a setting that does not exist, or a value of another type.
    """
    written = read_settings(file) if file is not None else {}
    name = model or written.get("model")
    if name is None:
        raise ValueError(
            f"Expected a network, got none: minigraph train NETWORK, or --config FILE with one; "
            f"networks are {', '.join(RECIPES)}"
        )
    if name not in RECIPES:
        raise ValueError(f"Expected a network of {', '.join(RECIPES)}, got {name!r}")
    start = dict(RECIPES[name].settings)
    if RECIPES[name].segmentation and "data" in {**written, **given}:
        start.pop("size", None)  # that of the generated pictures: masks keep theirs
    settings = {**start, **written, **given, "model": name}
    if settings.get("data") is None:
        raise ValueError(f"Expected a data set for {name}, got none: --data FOLDER")
    return Settings(**settings)


def read_settings(path: Path) -> dict[str, Any]:
    """A settings file, JSON or TOML by its ending. Raises ValueError or OSError that names it."""
    path = path / "settings.json" if path.is_dir() else path
    try:
        text = path.read_text(encoding="utf-8")
        found = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except ValueError as error:
        raise ValueError(f"Expected settings as JSON or TOML, got '{error}': {path}") from None
    if not isinstance(found, dict):
        raise ValueError(
            f"Expected settings as names and values, got {type(found).__name__}: {path}"
        )
    types = get_type_hints(Settings)
    for name, value in found.items():
        if name not in types:
            close = get_close_matches(name, types, n=1)
            hint = f": did you mean {close[0]}?" if close else ""
            raise ValueError(f"Expected a setting of {path}, got {name!r}{hint}")
        if not _fits(value, types[name]):
            raise ValueError(
                f"Expected {_type_text(types[name])} for {name!r}, got {value!r}: {path}"
            )
    return found


def field_names() -> frozenset[str]:
    """The names of all settings."""
    return frozenset(field.name for field in fields(Settings))


def _fits(value: object, kind: Any) -> bool:
    if get_origin(kind) is UnionType:
        return any(_fits(value, part) for part in get_args(kind))
    if get_origin(kind) is list:
        return isinstance(value, list) and all(_fits(item, get_args(kind)[0]) for item in value)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is kind


def _type_text(kind: Any) -> str:
    if get_origin(kind) is UnionType:
        return " or ".join(_type_text(part) for part in get_args(kind))
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false",
             NoneType: "null"}  # fmt: skip
    return names.get(kind, "a list of texts")
