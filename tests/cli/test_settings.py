"""Settings: which value wins, what a file may hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from minigraph.cli.recipes import RECIPES
from minigraph.cli.settings import Settings, settings_from
from minigraph.cli.setup import make_schedule


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_options_win_over_the_file_which_wins_over_the_network(tmp_path: Path) -> None:
    file = write(tmp_path / "s.json", json.dumps({"epochs": 5, "base": 4}))
    settings = settings_from("unet", file, {"base": 2})
    assert (settings.epochs, settings.base) == (5, 2)
    assert settings.depth == RECIPES["unet"].settings["depth"]
    assert settings.schedule == "constant"


def test_a_networks_size_is_that_of_the_generated_pictures() -> None:
    assert settings_from("fcn8s", None, {}).size == "64x64"
    assert settings_from("fcn8s", None, {"data": "camvid"}).size is None


def test_what_is_written_says_it_all(tmp_path: Path) -> None:
    settings = settings_from("unet", None, {"flip": True, "freeze": ["encoder*"]})
    file = write(tmp_path / "s.json", json.dumps(settings.to_json()))
    assert settings_from(None, file, {}) == settings


def test_toml_is_read_as_well(tmp_path: Path) -> None:
    file = write(tmp_path / "s.toml", 'model = "unet"\nlearning_rate = 1\nfreeze = ["a*"]\n')
    settings = settings_from(None, file, {})
    assert (settings.model, settings.learning_rate, settings.freeze) == ("unet", 1, ["a*"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "Expected settings as JSON or TOML"),
        ("[1]", "Expected settings as names and values, got list"),
        ('{"epoch": 3}', "'epoch': did you mean epochs?"),
        ('{"epochs": "3"}', "Expected a whole number for 'epochs', got '3'"),
        ('{"epochs": true}', "Expected a whole number for 'epochs', got True"),
        ('{"flip": 1}', "Expected true or false for 'flip', got 1"),
        ('{"base": 1.5}', "Expected a whole number or null for 'base'"),
        ('{"freeze": [1]}', "Expected a list of texts or null for 'freeze'"),
        ('{"model": "vgg"}', "Expected a network of unet"),
        ("{}", "Expected a network, got none"),
    ],
)
def test_files_that_are_none(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("?", r"\?")):
        settings_from(None, write(tmp_path / "s.json", text), {})


@pytest.mark.parametrize(
    ("change", "rates"),
    [
        ({}, None),
        ({"warm_up": 2}, [0.1, 0.55, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
        ({"schedule": "step"}, [1.0, 1.0, 1.0, 0.1, 0.1, 0.1, 0.01, 0.01]),
        ({"schedule": "poly", "warm_up": 4}, [0.1, 0.325, 0.55, 0.775, 1.0, 0.75**0.9]),
    ],
)
def test_schedules(change: dict, rates: list[float] | None) -> None:
    settings = Settings(model="unet", data="shapes", learning_rate=1.0).changed(change)
    schedule = make_schedule(settings, 8)
    if rates is None:
        assert schedule is None
        return
    assert schedule is not None
    assert [schedule(step) for step in range(len(rates))] == pytest.approx(rates)


def test_one_cycle_has_a_warm_up_of_its_own() -> None:
    settings = Settings(model="unet", data="shapes", schedule="one-cycle", warm_up=3)
    with pytest.raises(ValueError, match="one-cycle"):
        make_schedule(settings, 100)
