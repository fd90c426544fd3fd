"""What several folders of tests use."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from html.parser import HTMLParser

import pytest


def pytest_configure() -> None:
    """Heed Ctrl-C, which tests press, where a shell has started this in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


VOID = {"meta", "img", "br", "hr", "input", "link"}


class Page(HTMLParser):
    """Reads HTML; a tag that is not closed, or closed twice, is an error."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.feed(source)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> within {self.open}"
        self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            return
        self.text += data
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


@pytest.fixture
def without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where matplotlib is not installed. A short run takes most of its time for pictures."""
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)


@pytest.fixture
def read_html() -> Callable[[str], Page]:
    """Parse HTML and check that its tags are balanced."""
    return Page
