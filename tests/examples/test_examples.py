"""The examples run, and the README shows them as they are."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from minigraph.data import generate_shapes

REPOSITORY = Path(__file__).parents[2]
EXAMPLE = REPOSITORY / "examples" / "segment_shapes.py"


def shortened(text: str, *changes: tuple[str, str]) -> str:
    """The same on fewer or smaller pictures: a run of a second."""
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


def test_all_examples_have_their_test() -> None:
    """Those of the lecture are run by test_lecture_examples.py."""
    examples = (REPOSITORY / "examples").rglob("*.py")
    assert [path for path in examples if path.parent.name != "lecture"] == [EXAMPLE]


def test_the_first_example_runs(tmp_path: Path) -> None:
    script = shortened(EXAMPLE.read_text(), ("range(5)", "range(2)"), ("(800", "(80"))
    (tmp_path / "example.py").write_text(script)
    result = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    first, second = (float(x) for x in re.findall(r"epoch \d: loss (\d\.\d{3})", result.stdout))
    assert second < first
    assert (tmp_path / "shapes.safetensors").exists()


def test_readme_shows_the_first_example() -> None:
    readme = (REPOSITORY / "README.md").read_text()
    shown = re.search(r"```python\n(.*?)```", readme, re.DOTALL)
    assert shown is not None
    assert shown[1] == EXAMPLE.read_text()


def test_own_images_page_trains_and_predicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its Python blocks, run one after the other on a small folder."""
    monkeypatch.chdir(tmp_path)
    shapes = generate_shapes(15, (40, 48), seed=2)
    for kind, arrays in (("images", shapes.images.transpose(0, 2, 3, 1)), ("masks", shapes.labels)):
        (tmp_path / "my-images" / kind).mkdir(parents=True)
        for name, array in zip("abcdefghijklmno", arrays, strict=True):
            Image.fromarray(array).save(tmp_path / "my-images" / kind / f"{name}.png")
    (tmp_path / "my-images" / "images" / "a.png").rename(tmp_path / "my-images/images/a.jpg")
    page = (REPOSITORY / "docs" / "own-images.md").read_text()
    page = shortened(page, ("size=(320, 320)", "size=(64, 64)"))
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, names)
    assert names["mask"].shape == (40, 48)
    assert (tmp_path / "runs" / "my-images" / "report.html").exists()


def test_training_page_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its Python blocks, run one after the other."""
    monkeypatch.chdir(tmp_path)
    page = (REPOSITORY / "docs" / "training.md").read_text()
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, names)
    assert (tmp_path / "run" / "checkpoint.safetensors").exists()


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
