"""What makes two runs the same run: said in words that are the same in every process."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType

import minigraph as mg


def describe(choice: object) -> str:
    """A function by its name, an object by what it is made of: never by an address.

    Functions are known by name alone: two lambdas are alike.
    """
    if isinstance(choice, FunctionType | BuiltinFunctionType | MethodType):
        return choice.__qualname__
    if isinstance(choice, partial):
        keywords = [f"{name}={describe(value)}" for name, value in choice.keywords.items()]
        return _call("partial", [describe(choice.func), *map(describe, choice.args), *keywords])
    name = type(choice).__qualname__
    if is_dataclass(choice):
        return _call(
            name, [f"{f.name}={describe(getattr(choice, f.name))}" for f in fields(choice)]
        )
    if isinstance(choice, Mapping):
        return _call(name, [f"{describe(k)}: {describe(v)}" for k, v in choice.items()])
    if isinstance(choice, Sequence) and not isinstance(choice, str | bytes):
        return _call(name, list(map(describe, choice)))
    return name if type(choice).__repr__ is object.__repr__ else repr(choice)


def fingerprint(step: mg.Executable) -> str:
    """Of the graph of a training step: model, constants, loss, gradients, optimiser."""
    return hashlib.sha256(str(step.compiled.built).encode()).hexdigest()[:16]


def _call(name: str, arguments: Sequence[str]) -> str:
    return f"{name}({', '.join(arguments)})"
