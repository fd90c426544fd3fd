"""Runs ONNX's backend test suite: ``python -m minigraph.onnx.suite [pattern of names]``.

Prints how many cases passed, failed and are left out, and why. It takes a minute or two, most of it
onnx making the cases.
"""

from __future__ import annotations

import re
import sys
import unittest
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
from onnx.backend.test import BackendTest
from onnx.backend.test.loader import load_model_tests

from minigraph.ir.errors import MinigraphError
from minigraph.onnx.backend import MinigraphBackend
from minigraph.onnx.coverage import DISPUTED, left_out

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")
"""The suite's parts. The fifth, "real", downloads whole networks and is left out."""

RANDOM = "Mersenne Twister"


@dataclass
class Report:
    """Names of the cases that passed, failed (with why) and are left out (with why)."""

    passed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [
            f"{len(self.passed)} passed, {len(self.failed)} failed, {len(self.left_out)} left out"
        ]
        reasons = Counter(self.left_out.values())
        lines += [f"  {count:4}  {reason}" for reason, count in reasons.most_common()]
        lines += [f"FAILED {name}: {why}" for name, why in self.failed.items()]
        return "\n".join(lines)


def cases(pattern: str = "", kinds: tuple[str, ...] = KINDS) -> Iterator[tuple[str, Any]]:
    """Names and models of the suite's cases."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # making the cases overflows on purpose
        for kind in kinds:
            for case in load_model_tests(kind=kind):
                if re.search(pattern, case.name):
                    path = Path(case.model_dir or "") / "model.onnx"
                    yield case.name, case.model or onnx.load(path, load_external_data=False)


def run(pattern: str = "") -> Report:
    """Run all cases whose names have the pattern under onnx's BackendTest."""
    report = Report()
    suite = BackendTest(MinigraphBackend, __name__)
    tests = {}
    for group in suite.test_cases.values():
        for name in vars(group):
            if name.startswith("test_") and name.endswith("_cpu"):
                tests[name.removesuffix("_cpu")] = group(name)
    for name, model in cases(pattern):
        reason = left_out(name, model)
        if reason is None:
            why = _failure(tests[name])
            if why is None:
                report.passed.append(name)
            else:
                report.failed[name] = why
            continue
        report.left_out[name] = reason
        if name not in DISPUTED and RANDOM not in reason and _is_accepted(tests[name]):
            report.failed[name] = f"passes, although it is left out: {reason}"
    return report


def _failure(test: unittest.TestCase) -> str | None:
    """The last line of what went wrong; None where it passed."""
    result = unittest.TestResult()
    test.run(result)
    wrong = [*result.failures, *result.errors, *result.skipped]
    return wrong[0][1].strip().splitlines()[-1] if wrong else None


def _is_accepted(test: unittest.TestCase) -> bool:
    """Whether a case passes that should be refused. Raises for any other end than that."""
    try:
        test.debug()
    except MinigraphError:
        return False
    return True


if __name__ == "__main__":
    got = run(sys.argv[1] if len(sys.argv) > 1 else "")
    print(got)
    sys.exit(bool(got.failed))
