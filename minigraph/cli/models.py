"""``minigraph models``: the networks that can be trained by name."""

from __future__ import annotations

import inspect

from rich.console import Console
from rich.table import Table

from minigraph.cli.recipes import RECIPES, Recipe, network
from minigraph.compiler import build_graph
from minigraph.ir.graph import Role
from minigraph.ir.spec import TensorSpec


def models() -> None:
    """List the networks that train, inspect and predict know by name.

    Parameters are counted for 10 classes and the network's own defaults. A network of your own is
    a function: see docs/models.md.
    """
    console = Console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("name", "what", "image", "parameters", "options"):
        table.add_column(title, justify="right" if title == "parameters" else "left")
    for name, recipe in RECIPES.items():
        image = example_image(recipe)
        table.add_row(
            name, recipe.summary, "x".join(map(str, image)), f"{_parameters(name, recipe):,}",
            ", ".join(f"--{option}" for option in _options(name)),
        )  # fmt: skip
    console.print(table)
    console.print("\nminigraph train NAME --help; minigraph inspect NAME", highlight=False)


def example_image(recipe: Recipe) -> tuple[int, int, int, int]:
    """An image batch (N,C,H,W) that the network takes."""
    return (8, 3, 48, 48) if recipe.segmentation else (64, 1, 28, 28)


def _parameters(name: str, recipe: Recipe) -> int:
    built = network(
        name, 10, base=recipe.settings.get("base"), depth=recipe.settings.get("depth"),
        batch_norm=False,
    )  # fmt: skip
    specs = {"image": TensorSpec.of((example_image(recipe), "float32"))}
    graph = build_graph(lambda image: {"logits": built(image)}, specs)
    return sum(state.value.spec.size for state in graph.state if state.role is Role.PARAMETER)


def _options(name: str) -> list[str]:
    built = network(name, 10, base=None, depth=None, batch_norm=False)
    known = inspect.signature(getattr(built, "func", built)).parameters
    return [option.replace("_", "-") for option in known if option not in ("image", "classes")]
