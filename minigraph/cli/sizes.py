"""Sizes as options give them."""

from __future__ import annotations

import re


def parse_size(option: str, text: str) -> tuple[int, int]:
    """``HEIGHTxWIDTH`` as numbers of one or more. Raises ValueError, with the option's name."""
    found = re.fullmatch(r"([1-9][0-9]{0,8})x([1-9][0-9]{0,8})", text)
    if found is None:
        raise ValueError(f"Expected {option} HEIGHTxWIDTH such as 176x240, got {text!r}")
    return int(found[1]), int(found[2])


def parse_optional_size(option: str, text: str | None) -> tuple[int, int] | None:
    """The same for an option that may be left out."""
    return None if text is None else parse_size(option, text)
