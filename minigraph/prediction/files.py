"""Which images a user means, and under which names their results are written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from glob import glob, has_magic
from pathlib import Path

from minigraph.data.pictures import IMAGE_SUFFIXES, list_pictures


def find_images(arguments: Sequence[str]) -> list[Path]:
    """The files that are meant by files, folders and patterns, each once, in the order given.

    A folder means the pictures directly in it, a pattern (``*``, ``?``, ``[...]``, ``**``) those of
    the files it matches that are pictures by their ending. Raises FileNotFoundError where an
    argument means no picture.
    """
    found: dict[Path, Path] = {}
    for argument in arguments:
        matches = _matches(argument)
        if not matches:
            raise FileNotFoundError(
                f"Expected pictures ({', '.join(sorted(IMAGE_SUFFIXES))}), got none: {argument}"
            )
        for path in matches:
            found.setdefault(path.resolve(), path)
    return list(found.values())


def _matches(argument: str) -> list[Path]:
    path = Path(argument)
    if path.is_dir():
        return list_pictures(path)
    if path.exists():
        return [path]
    if not has_magic(argument):
        raise FileNotFoundError(f"Expected a picture, a folder or a pattern, got none: {argument}")
    # Path.glob takes no absolute patterns
    matches = map(Path, sorted(glob(argument, recursive=True)))  # noqa: PTH207
    return [p for p in matches if p.is_file() and p.suffix.lower() in IMAGE_SUFFIXES]


def output_names(paths: Sequence[Path]) -> list[str]:
    """A name for the results of each file, no two the same, be it in upper or lower case.

    The file's name without its ending, where no other file has it; else with the ending
    (``a-jpg``, ``a-png``), with the folder's name before it, and at last with a number behind it.
    """
    forms: tuple[Callable[[Path], str], ...] = (
        lambda path: path.stem,
        lambda path: f"{path.stem}-{path.suffix[1:]}",
        lambda path: f"{path.resolve().parent.name}-{path.stem}-{path.suffix[1:]}",
    )
    names: dict[Path, str] = {}
    for form in forms:
        asked = Counter(form(path).lower() for path in paths if path not in names)
        taken = {name.lower() for name in names.values()}
        for path in paths:
            name = form(path)
            if path not in names and asked[name.lower()] == 1 and name.lower() not in taken:
                names[path] = name
    taken = {name.lower() for name in names.values()}
    for path in paths:
        number = 0
        while path not in names:
            number += 1
            name = f"{forms[-1](path)}-{number}"
            if name.lower() not in taken:
                names[path] = name
                taken.add(name.lower())
    return [names[path] for path in paths]
