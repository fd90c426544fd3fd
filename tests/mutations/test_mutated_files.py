"""Damaged and hostile files load or give one clear error: no crash, hang, huge allocation or code.

``worker.py`` loads them in a process of its own, under limits; a file is found again by its kind,
seed and number.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

WORKER = Path(__file__).with_name("worker.py")
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")


def outcomes(kind: str, count: int, seed: int) -> dict[str, int]:
    """How many of the files loaded, and how many ended in which error. None may go wrong."""
    if kind.startswith("onnx") and find_spec("onnx") is None:
        pytest.skip("needs onnx: pip install 'minigraph[onnx]'")
    command = [sys.executable, str(WORKER), kind, str(count), str(seed)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stderr[-2000:]
    report = json.loads(ended.stdout)
    assert report["wrong"] == []
    got = report["outcomes"]
    assert sum(got.values()) == count
    print(f"{kind}, seed {seed}: {got}")
    return got


KINDS = [
    ("onnx", {"LoadError", "UnsupportedError"}),
    ("safetensors", {"LoadError"}),
    ("text", {"ParseError"}),
]


@needs_linux
@pytest.mark.parametrize(("kind", "errors"), KINDS)
def test_damaged_files_load_or_give_one_clear_error(kind: str, errors: set[str]) -> None:
    assert {"loaded", *errors} <= outcomes(kind, 150, seed=0).keys()


@needs_linux
@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("kind", "errors"), [*KINDS, ("onnx-nodes", KINDS[0][1])])
def test_thousands_of_damaged_files(kind: str, errors: set[str], seed: int) -> None:
    got = outcomes(kind, 2000, seed)
    assert got["loaded"] > 20 and sum(got[error] for error in errors) > 1000
