"""The benchmarks start, take turns and report; what they measure is not tested."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import gpu_check, networks
from benchmarks.report import fastest_rival, table
from benchmarks.turns import Comparison, Contender, Record, take_turns
from minigraph.backend import find_backend


def test_minigraph_against_itself(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])  # where the contenders' processes find them
    path = tmp_path / "record.json"
    networks.main(
        [
            *("--network", "lenet", "--mode", "inference", "--turns", "1", "--steps", "1"),
            *("--contender", "minigraph numpy", "--contender", "minigraph numpy"),
            *("--threads", "1", "--json", str(path)),
        ]
    )
    (comparison,) = json.loads(path.read_text())["comparisons"]
    assert set(comparison["records"]) == {"minigraph numpy", "minigraph numpy (2)"}
    for record in comparison["records"].values():
        assert record["parameters"] == 61_706
        assert len(record["seconds"]) == 1
        assert record["seconds"][0] > 0
        assert record["peak_bytes"] is None or record["peak_bytes"] > 0
    assert "minigraph numpy (2)" in capsys.readouterr().out


def fake(name: str, first: str, parameters: str = "") -> Contender:
    """A contender that says what it is told to, and answers turns with seconds 1, 2, 3, ..."""
    code = (
        f"import sys; print('chatter'); print({first!r}, {parameters!r}, flush=True)\n"
        "for line in sys.stdin:\n"
        "    if line == 'end\\n': print('peak 7', flush=True); break\n"
        "    print('seconds', list(range(1, int(line) + 1)), flush=True)"
    )
    return Contender(name, [sys.executable, "-c", code])


def test_the_first_step_of_a_turn_does_not_count_and_failures_are_left_out():
    contenders = [
        fake("a", "ready", "5"),
        fake("missing", "failed", '"not installed"'),
        Contender("dies", [sys.executable, "-c", "raise SystemExit(3)"]),
    ]
    result = take_turns(contenders, turns=2, steps=3, threads=1)
    assert result.records == {"a": Record(5, [3.0, 3.0], 7)}
    assert result.left_out == {"missing": "not installed", "dies": "its process ended (status 3)"}


def test_one_that_ends_in_its_turn_is_left_out():
    quits = "input(); raise SystemExit(4)"
    contenders = [
        Contender("quits", [sys.executable, "-c", f"print('ready 5', flush=True); {quits}"]),
        fake("a", "ready", "5"),
    ]
    result = take_turns(contenders, turns=2, steps=1, threads=1)
    assert result.records == {"a": Record(5, [2.0, 2.0], 7)}
    assert result.left_out == {"quits": "its process ended (status 4)"}


def test_networks_of_different_size_are_not_compared():
    contenders = [fake("a", "ready", "5"), fake("b", "ready", "6")]
    with pytest.raises(ValueError, match=r"'a': 5, 'b': 6"):
        take_turns(contenders, turns=1, steps=1, threads=1)


def test_speed_is_the_median_of_ratios_to_the_fastest_rival_turn_by_turn():
    comparison = Comparison(
        {
            "minigraph llvm": Record(1, [0.010, 0.020, 0.030], 50_000_000),
            "slow": Record(1, [0.1, 0.1, 0.1]),
            "quick": Record(1, [0.020, 0.030, 0.090]),
        },
        {"absent": "not installed"},
    )
    assert fastest_rival(comparison) == "quick"
    lines = table(comparison, "case").splitlines()
    own = next(line for line in lines if line.startswith("minigraph")).split()
    # Ratios 2, 1.5, 3. The 10-90% range of three values is their whole range.
    assert own[2:] == ["20.00", "10.00-", "30.00", "2.00", "1.50-", "3.00", "50"]
    assert lines[-1].split(None, 1) == ["absent", "left out: not installed"]


def test_one_that_is_not_built_in_time_is_left_out():
    slow = Contender("slow", [sys.executable, "-c", "import time; time.sleep(60)"])
    contenders = [slow, fake("a", "ready", "5")]
    result = take_turns(contenders, turns=1, steps=1, threads=1, patience=2)
    assert result.left_out == {"slow": "not built in 2 s"}
    assert list(result.records) == ["a"]


def test_the_gpu_check_says_so_where_there_is_no_gpu(tmp_path, capsys):
    if find_backend("cupy"):
        pytest.skip("there is a GPU")
    assert gpu_check.main(["--results", str(tmp_path)]) == 1
    assert "No GPU that minigraph can use: " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_gpu_check_counts_what_failed():
    found = gpu_check.counts(
        '<testsuites><testsuite><testcase name="good"/>'
        '<testcase name="bad"><failure message="off by one"/></testcase>'
        '<testcase name="idle"><skipped/></testcase></testsuite></testsuites>'
    )
    assert found == {"passed": 1, "skipped": 1, "failed": {"bad": "off by one"}}
    assert not gpu_check.is_good(found)
    assert not gpu_check.is_good({"passed": 0, "skipped": 3, "failed": {}})
    assert gpu_check.is_good({"passed": 1, "skipped": 0, "failed": {}})
