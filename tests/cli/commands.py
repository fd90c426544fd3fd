"""Commands as tests give them, in the test's own process: a start of Python takes a second."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr

import pytest
from typer.testing import CliRunner

from minigraph.cli.main import app, main


def run(*arguments: object, code: int = 0) -> str:
    """Run a command; it must end with this exit code. Gives what it printed."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def refused(*arguments: object) -> str:
    """Run a command; it must end with exit code 1 and one line on standard error."""
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(io.StringIO()) as errors:
        patch.setattr(sys, "argv", ["minigraph", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == 1
    (line,) = errors.getvalue().strip().splitlines()
    assert "Traceback" not in line
    return line
