"""HEIGHTxWIDTH, and what is not."""

from __future__ import annotations

import pytest

from minigraph.cli.sizes import parse_size


def test_height_comes_first():
    assert parse_size("--tile", "512x7") == (512, 7)


@pytest.mark.parametrize(
    "text",
    ["", "x", "5", "5x", "x5", "0x5", "5x0", "05x5", "-5x5", "5X5", "5x5x5", " 5x5", "5x5\n",
     "5.0x5", "\u0665x5", "1_0x5", "9" * 5000 + "x5"],
)  # fmt: skip
def test_what_is_no_size_is_refused_with_the_option(text):
    with pytest.raises(ValueError, match=r"^Expected --tile HEIGHTxWIDTH such as 176x240, got '"):
        parse_size("--tile", text)
