"""The examples run, and the README shows them as they are."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = sorted((REPOSITORY / "examples").rglob("*.py"))


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(script: Path, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_readme_shows_the_first_example() -> None:
    readme = (REPOSITORY / "README.md").read_text()
    shown = re.search(r"```python\n(.*?)```", readme, re.DOTALL)
    assert shown is not None
    assert shown[1] == (REPOSITORY / "examples" / "segment_shapes.py").read_text()


def test_pass_in_the_architecture_page_works() -> None:
    """The page's own pass: run it, and it must cancel what it says."""
    from minigraph.ops import elementwise, new_builder

    page = (REPOSITORY / "docs" / "architecture.md").read_text()
    shown = re.search(r"## A pass in full\n\n```python\n(.*?)```", page, re.DOTALL)
    assert shown is not None
    names: dict = {}
    exec(shown[1], names)
    builder = new_builder()
    x = builder.input("x", "float32[3]")
    builder.output("y", elementwise.exp(elementwise.neg(-x)))
    after = names["cancel_double_negation"](builder.build())
    assert [node.op.name for node in after.nodes] == ["Exp"]
