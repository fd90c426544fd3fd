"""The text form of attribute values, printed and parsed without evaluating anything.

A value is a bool, int, float, string, None, a dtype (``float32``), a spec (``float32[2,3]``), a
tuple, or a frozen dataclass (``Conv2d(stride=(1, 1), ...)``). The grammar is a subset of Python's
expressions, so the standard parser reads it; nothing is evaluated.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

import numpy as np

from minigraph.ir.errors import ParseError
from minigraph.ir.spec import DType, TensorSpec

_MAX_TEXT = 1_000_000
_DTYPES = {dtype.value: dtype for dtype in DType}
_WORDS = {"inf": math.inf, "nan": math.nan}


def format_attribute(value: Any) -> str:
    """The text of one attribute value. Raises ParseError for a type that has none."""
    if isinstance(value, np.generic):
        value = value.item()  # np.float64 is a float whose repr says so
    if isinstance(value, DType):
        return value.value
    if isinstance(value, TensorSpec):
        return str(value) if value.shape else f"{value.dtype}[()]"
    if isinstance(value, tuple):
        inner = ", ".join(format_attribute(item) for item in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if is_dataclass(value) and not isinstance(value, type):
        return f"{type(value).__name__}({format_fields(value)})"
    raise ParseError(f"Expected an attribute with a text form, got {type(value).__name__}")


def format_fields(instance: Any) -> str:
    """``key=value, ...`` for all fields of a dataclass."""
    return ", ".join(
        f"{field.name}={format_attribute(getattr(instance, field.name))}"
        for field in fields(instance)
    )


def parse_attributes(text: str, classes: Mapping[str, type]) -> dict[str, Any]:
    """Read ``key=value, ...``; dataclasses are looked up in ``classes``. Raises ParseError."""
    call = _expression(f"f({text})")
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
        raise ParseError(f"Expected 'key=value, ...', got {text[:80]!r}")
    try:
        return _keywords(call, classes)
    except RecursionError:
        raise ParseError(f"Expected attributes, got {text[:80]!r} (nested too deeply)") from None


def _expression(text: str) -> ast.expr:
    if len(text) > _MAX_TEXT:
        raise ParseError(f"Expected at most {_MAX_TEXT} characters in a line, got {len(text)}")
    try:
        return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ParseError(f"Expected attributes, got {text[:80]!r} ({error})") from None


def _keywords(call: ast.Call, classes: Mapping[str, type]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for keyword in call.keywords:
        if keyword.arg is None or keyword.arg in values:
            raise ParseError(f"Expected 'key=value' once each, got {keyword.arg or '**'!r}")
        values[keyword.arg] = _value(keyword.value, classes)
    return values


def _value(node: ast.expr, classes: Mapping[str, type]) -> Any:
    match node:
        case ast.Constant(value=bool() | int() | float() | str() | None as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            value = _value(operand, classes)
            if isinstance(value, int | float):
                return -value
        case ast.Tuple(elts=items):
            return tuple(_value(item, classes) for item in items)
        case ast.Name(id=name) if name in _DTYPES:
            return _DTYPES[name]
        case ast.Name(id=name) if name in _WORDS:
            return _WORDS[name]
        case ast.Subscript(value=ast.Name(id=name), slice=index) if name in _DTYPES:
            sizes = _value(index, classes)
            shape = sizes if isinstance(sizes, tuple) else (sizes,)
            if all(isinstance(size, int) for size in shape):
                return TensorSpec(shape, _DTYPES[name])
        case ast.Call(func=ast.Name(id=name), args=[]):
            return construct(name, _keywords(node, classes), classes)
    raise ParseError(f"Expected an attribute value, got {ast.unparse(node)[:80]!r}")


def construct(name: str, values: dict[str, Any], classes: Mapping[str, type]) -> Any:
    """Build the dataclass ``name``. Raises ParseError for unknown names or wrong fields.

    A field with a default may be missing: files stay readable when an operation gains one.
    """
    if name not in classes:
        raise ParseError(
            f"Expected a known operation, got {name!r}: pass your own with ops=[{name}]"
        )
    cls = classes[name]
    known = [field.name for field in fields(cls)]
    needed = {field.name for field in fields(cls) if field.default is MISSING}
    if not needed <= values.keys() <= set(known):
        raise ParseError(
            f"Expected the attributes {', '.join(known) or '(none)'} for {name}, "
            f"got {', '.join(values) or '(none)'}"
        )
    try:
        return cls(**values)
    except Exception as error:  # whatever a constructor makes of hostile attributes
        raise ParseError(f"{name}: {error}") from None
