"""The command line: one file a command; errors are one line with the way out."""

from __future__ import annotations

import re
import sys
from typing import Annotated

import typer

import minigraph as mg
from minigraph.cli.console import new_console
from minigraph.cli.datasets import datasets
from minigraph.cli.doctor import doctor
from minigraph.cli.evaluate import evaluate
from minigraph.cli.inspect import inspect
from minigraph.cli.models import models
from minigraph.cli.predict import predict
from minigraph.cli.train import train
from minigraph.ir.errors import MinigraphError


def _show_version(wanted: bool) -> None:
    if wanted:
        new_console().print(f"minigraph {mg.__version__}")
        raise typer.Exit


app = typer.Typer(
    name="minigraph",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog="Shell completion: minigraph --install-completion",
)


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version."),
    ] = False,
) -> None:
    """Train, evaluate, predict and inspect: deep learning with convolutional networks."""


app.command()(train)
app.command()(predict)
app.command()(evaluate)
app.command()(inspect)
app.command()(models)
app.command()(datasets)
app.command()(doctor)


def main() -> None:
    """Entry point. Exit codes: 0 done, 1 refused with a reason, 2 wrong usage, 130 interrupted."""
    try:
        app()
    except (MinigraphError, ValueError, ImportError, OSError) as error:
        what = re.split(r"\n  (?:in|at) ", str(error))[0]  # the rest is for who wrote the model
        text = " ".join(what.split()) or type(error).__name__
        if isinstance(error, OSError) and error.strerror and error.filename:
            text = f"Expected a file or folder to use, got '{error.strerror}': {error.filename}"
        new_console(stderr=True).print(f"error: {text}", style="red")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
