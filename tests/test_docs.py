"""The documentation: no placeholders, no dead links, and Python blocks that compile."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from typer.main import get_command

import minigraph as mg
from minigraph.cli.main import app

REPOSITORY = Path(__file__).parents[1]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_page(page: Path) -> None:
    text = page.read_text()
    assert not re.search(r"@[A-Z]{3,}@", text), "a placeholder was left"
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (page.parent / target).exists(), f"dead link: {target}"
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        ast.parse(block)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_commands_and_their_options_exist(page: Path) -> None:
    known = {
        name: {option for parameter in command.params for option in (
            *parameter.opts, *parameter.secondary_opts)}
        for name, command in get_command(app).commands.items()
    }  # fmt: skip
    for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = line.split("#")[0].partition("minigraph ")[2].split()
            if not words or words[0].startswith("-"):
                continue
            assert words[0] in known, line
            options = {word for word in words if word.startswith("--")}
            assert options <= known[words[0]], line


def test_the_models_page_names_every_public_function() -> None:
    page = (REPOSITORY / "docs" / "models.md").read_text()
    functions = {name for name in mg.__all__ if name.islower()} - {"load_backend"}
    assert {name for name in functions if not re.search(rf"\b{name}\b", page)} == set()


def test_the_models_page_trains_saves_and_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first blocks, run one after the other."""
    import numpy as np

    monkeypatch.chdir(tmp_path)
    page = (REPOSITORY / "docs" / "models.md").read_text()
    first, second, *_ = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict = {}
    exec(first, names)
    batch = {"image": np.zeros((32, 1, 28, 28)), "label": np.zeros(32, int)}
    assert names["step"](batch)["loss"] > 0
    exec(second, names)
    assert names["predict"](image=batch["image"][:5])["logits"].shape == (5, 10)
    assert names["check"].state is names["step"].state
