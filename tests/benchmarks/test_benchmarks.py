"""The benchmarks start, take turns and report; what they measure is not tested."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import gpu_check, gpu_tests, networks
from benchmarks import serve as serve_module
from benchmarks.contenders.steps import Steps
from benchmarks.gpu_cases import PRECISIONS
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


def test_one_that_hangs_in_its_turn_is_left_out():
    hangs = "input(); import time; time.sleep(60)"
    contenders = [
        Contender("hangs", [sys.executable, "-c", f"print('ready 5', flush=True); {hangs}"]),
        fake("a", "ready", "5"),
    ]
    result = take_turns(contenders, turns=2, steps=1, threads=1, patience=2)
    assert result.left_out == {"hangs": "a turn was not done in 2 s"}
    assert result.records == {"a": Record(5, [2.0, 2.0], 7)}


def test_what_a_contender_started_ends_with_it(tmp_path):
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid)); time.sleep(60)"
    )
    start = time.monotonic()
    take_turns(
        [Contender("x", [sys.executable, "-c", code])], turns=1, steps=1, threads=1, patience=3
    )
    assert time.monotonic() - start < 30  # its child holds the pipe open
    assert _ends(int((tmp_path / "pid").read_text()))


# A contender that tells its process to a file and then never answers.
_HANGING = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(300)"

_COMPARISON = f"""
import signal, subprocess, sys
from benchmarks import turns

def compare():
    command = [sys.executable, "-c", {_HANGING!r}, sys.argv[1]]
    turns.take_turns([turns.Contender("one", command)], turns=1, steps=1, threads=1)
"""


@contextlib.contextmanager
def _comparison(code: str, pid: Path) -> Iterator[subprocess.Popen]:
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", _COMPARISON + code, str(pid)], cwd=root) as it:
        try:
            yield it
        finally:
            it.kill()


def test_a_benchmark_that_is_terminated_leaves_no_contender_behind(tmp_path):
    pid = tmp_path / "pid"
    with _comparison("compare()", pid) as benchmark:
        while benchmark.poll() is None and not (pid.is_file() and pid.read_text()):
            time.sleep(0.05)
        for _ in range(2):  # as the command ``timeout`` does
            benchmark.terminate()
        assert benchmark.wait(60) == 128 + signal.SIGTERM
        assert _ends(int(pid.read_text()))


def test_a_second_signal_to_a_benchmark_that_ends_changes_nothing(tmp_path):
    code = """
def end():
    signal.raise_signal(signal.SIGTERM)

try:
    turns.take_turns([], turns=1, steps=1, threads=1, device_bytes=end)
finally:
    end()
"""
    with _comparison(code, tmp_path / "pid") as benchmark:
        assert benchmark.wait(60) == 128 + signal.SIGTERM


@pytest.mark.parametrize("name, status", [("SIGTERM", 128 + signal.SIGTERM), ("SIGINT", 1)])
def test_one_that_is_ended_while_it_starts_a_contender_leaves_none_behind(tmp_path, name, status):
    code = f"""
signal.signal(signal.SIGINT, signal.default_int_handler)

class Popen(subprocess.Popen):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        open(sys.argv[1] + ".started", "w").write(str(self.pid))
        signal.raise_signal(signal.{name})

subprocess.Popen = Popen
try:
    compare()
except KeyboardInterrupt:
    sys.exit(1)
"""
    pid = tmp_path / "pid"
    with _comparison(code, pid) as benchmark:
        assert benchmark.wait(60) == status
        assert _ends(int(pid.with_suffix(".started").read_text()))


def _ends(pid: int) -> bool:
    """A signal is sent at once; a busy machine ends the process when it can."""
    deadline = time.monotonic() + 20
    while _is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not _is_running(pid)


def _is_running(pid: int) -> bool:
    """Whether it runs on Linux: a zombie, which nobody has waited for, has ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state.rsplit(")", 1)[1].split()[0] != "Z"


def test_at_the_end_nothing_more_begins():
    contenders = [fake("a", "ready", "5"), fake("b", "ready", "5")]
    late = time.monotonic() - 1
    result = take_turns(contenders, turns=2, steps=1, threads=1, end=late)
    assert result.left_out == {"a": "no time left", "b": "no time left"}
    soon = time.monotonic() + 2
    result = take_turns(contenders, turns=10**6, steps=1, threads=1, end=soon)
    taken = [len(record.seconds) for record in result.records.values()]
    assert len(taken) == 2 and taken[0] == taken[1] and 0 < taken[0] < 10**6


def test_memory_of_a_device_is_the_difference_to_before():
    used = iter([100, 350, 360])
    contenders = [fake("a", "ready", "5"), fake("b", "ready", "5")]
    result = take_turns(
        contenders, turns=1, steps=1, threads=1, device_bytes=lambda: next(used)
    )  # fmt: skip
    assert [record.device_bytes for record in result.records.values()] == [250, 10]
    assert "GPU MB" in table(result, "case")


def test_queued_steps_share_the_time_until_the_last_is_done():
    begun = []
    steps = Steps(lambda: begun.append("step") or 0.0, 5, lambda: begun.append("queue"))
    seconds = serve_module._times(steps, 4)
    assert begun == ["step", "queue", "queue", "step"]
    assert len(seconds) == 4 and len(set(seconds[1:])) == 1


def test_the_gpu_check_says_so_where_there_is_no_gpu(tmp_path, capsys):
    if find_backend("cupy"):
        pytest.skip("there is a GPU")
    assert gpu_check.main(["--results", str(tmp_path)]) == 1
    assert "No GPU that minigraph can use: " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


FAULTY = """
import os, time
import pytest

@pytest.mark.parametrize("number", range(4))
def test_good(number): pass

def test_wrong(): assert 1 == 2
def test_crash(): os.abort()
def test_hang(): time.sleep(60)
def test_idle(): pytest.skip("no such thing here")
def test_other(): pass
def test_last(): pass
"""


def test_a_fault_costs_one_test(tmp_path):
    (tmp_path / "test_faulty.py").write_text(FAULTY)
    found = gpu_tests.run_tests(
        tmp_path / "test_faulty.py", "not other", seconds=600, workers=2, test_seconds=2
    )
    why = {name.split("::")[1]: reason for name, reason in found.pop("failed").items()}
    assert found == {"passed": 5, "skipped": 1, "not_reached": 0}
    assert why == {
        "test_wrong": "assert 1 == 2",
        "test_crash": "its process crashed, or time was up",
        "test_hang": "not done in 2 s",
    }


def test_tests_that_cannot_be_collected_say_why(tmp_path):
    (tmp_path / "test_broken.py").write_text("import nothing_of_this_name")
    found = gpu_tests.run_tests(tmp_path / "test_broken.py", "", seconds=600, workers=1)
    assert "nothing_of_this_name" in found["error"] and not gpu_check.is_good(found)


def test_the_gpu_check_is_good_where_all_tests_were_reached_and_none_failed():
    good = {"passed": 1, "skipped": 1, "failed": {}, "not_reached": 0}
    assert gpu_check.is_good(good)
    for change in ({"passed": 0}, {"failed": {"a": "off"}}, {"not_reached": 1}, {"error": "x"}):
        assert not gpu_check.is_good(good | change)


def test_the_record_of_a_gpu_check_is_kept_whatever_happens(tmp_path, monkeypatch):
    def hangs(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(gpu_check, "find_backend", lambda name: object())
    monkeypatch.setattr(gpu_check, "_described", lambda: ["GPU 0  a fake"])
    outcome = {"passed": 0, "skipped": 0, "failed": {"test_x": "off by\none"}, "not_reached": 3}
    monkeypatch.setattr(gpu_check, "run_part", lambda part, seconds: outcome)
    monkeypatch.setattr(gpu_check, "take_turns", hangs)
    with pytest.raises(KeyboardInterrupt):
        gpu_check.main(["--results", str(tmp_path), "--part", "ops", "--part", "speed"])
    (path,) = tmp_path.glob("*.json")
    assert json.loads(path.read_text())["ops"] == outcome
    text = path.with_suffix(".md").read_text()
    assert "0 passed, 1 failed, 0 skipped, 3 not reached\n- test_x: off by one" in text


def test_a_gpu_check_without_time_says_what_it_left_out(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu_check, "find_backend", lambda name: object())
    monkeypatch.setattr(gpu_check, "_described", list)
    options = ["--part", "speed", "--network", "lenet", "--mode", "training", "--minutes", "0"]
    assert gpu_check.main(["--results", str(tmp_path), *options]) == 0
    assert capsys.readouterr().out.count("no time left") == len(PRECISIONS)
