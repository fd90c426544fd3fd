"""Measured algorithms: chosen by time, kept on disk, never worse than the error budget."""

from __future__ import annotations

import json

import numpy as np
import pytest

import minigraph as mg
from minigraph.cache_folder import CACHE_VARIABLE
from minigraph.ir.errors import BuilderError

SPEC = {"x": "float32[1,8,32,32]"}


def model(x):
    return {"y": mg.relu(mg.conv2d(x, 8, 3, padding="same", name="c"))}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    return tmp_path / "tuning"


def compiled(**options):
    return mg.compile(model, SPEC, backend="numpy", threads=1, tune="measure", **options)


def chosen(executable):
    (node,) = [node for node in executable.graph.nodes if node.name == "relu"]
    return executable.compiled.choices[node]


def test_measurements_are_kept_and_decide(folder):
    executable = compiled()
    (path,) = folder.iterdir()
    (times,) = json.loads(path.read_text()).values()
    names = {chosen(executable).algorithm.name, *(a.name for a, _ in chosen(executable).rejected)}
    assert times.keys() == names and len(names) > 1
    assert chosen(executable).algorithm.seconds == min(times.values())
    (key,) = json.loads(path.read_text())
    for name in names:  # what the file says is believed, and the file stays as it is
        text = json.dumps({key: {other: float(other != name) for other in names}})
        path.write_text(text)
        assert chosen(compiled()).algorithm.name == name
        assert path.read_text() == text


def test_the_values_are_those_of_the_estimate(folder):
    x = np.random.default_rng(0).standard_normal((1, 8, 32, 32)).astype(np.float32)
    expected = mg.compile(model, SPEC, backend="numpy", threads=1)(x=x)["y"]
    np.testing.assert_allclose(compiled()(x=x)["y"], expected, atol=1e-5)


def test_what_is_not_exact_enough_is_not_even_timed(folder):
    compiled(max_relative_error=1e-9)
    assert not folder.exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 1}', '{"a": {"b": "c"}}', ""])
def test_a_file_that_is_none_is_written_anew(folder, content):
    compiled()
    (path,) = folder.iterdir()
    good = json.loads(path.read_text()).keys()
    path.write_text(content)
    compiled()
    assert json.loads(path.read_text()).keys() == good


def test_a_folder_that_cannot_be_made_costs_time_alone(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file"))
    compiled()


def test_other_words_are_refused():
    with pytest.raises(BuilderError, match="'estimate' or 'measure', got 'always'"):
        mg.compile(model, SPEC, backend="numpy", tune="always")
