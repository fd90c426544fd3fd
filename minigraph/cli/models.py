"""``minigraph models``: the networks that can be trained by name, and what is in one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

import minigraph as mg
from minigraph import Tensor
from minigraph.cli.recipes import RECIPES, network
from minigraph.compiler import build_graph
from minigraph.ir.graph import Role
from minigraph.ir.spec import TensorSpec

_PARAMETERS = (Role.PARAMETER, Role.FROZEN)


def models(
    name: Annotated[str | None, typer.Argument(help="A network, to see its layers.")] = None,
    image: Annotated[
        str | None, typer.Option(help="Images as NxCxHxW (default: the paper's).")
    ] = None,
    classes: Annotated[
        int | None, typer.Option(min=1, help="Number of classes (default: the paper's).")
    ] = None,
    base: Annotated[
        int | None, typer.Option(min=1, help="Channels of the first level.")
    ] = None,
    depth: Annotated[int | None, typer.Option(min=1, help="Number of poolings.")] = None,
    batch_norm: Annotated[
        bool, typer.Option("--batch-norm", help="Normalise each convolution.")
    ] = False,
) -> None:  # fmt: skip
    """List the networks that train, inspect and predict know by name, or show one's layers.

    Everything is as in the network's paper where no option says otherwise: parameters are counted
    for its size and classes. A network of your own is a function: see docs/models.md.

    Examples:

      minigraph models

      minigraph models unet --image 1x3x48x48 --base 8 --depth 3
    """
    console = Console(soft_wrap=True, highlight=False)
    if name is None:
        if (image, classes, base, depth, batch_norm) != (None, None, None, None, False):
            raise ValueError("Expected options beside the name of a network, got no name")
        console.print(_list())
        console.print("\nminigraph models NAME; minigraph train NAME; minigraph inspect NAME")
        return
    if name not in RECIPES:
        raise ValueError(f"Expected a network of {', '.join(RECIPES)}, got {name!r}")
    paper = RECIPES[name].paper
    built = network(name, classes or paper.classes, base=base, depth=depth, batch_norm=batch_norm)
    if image is None:
        shape, built = (1, *paper.image), partial(built, **paper.options)
    else:
        shape = image_shape(image)
    table = mg.summary(_logits(built), {"image": TensorSpec(shape, mg.DType.FLOAT32)})
    console.print(str(table), markup=False)


def image_shape(text: str) -> tuple[int, int, int, int]:
    """``NxCxHxW`` as numbers. Raises ValueError."""
    parts = text.split("x")
    if len(parts) != 4 or not all(part.isdecimal() and int(part) for part in parts):
        raise ValueError(f"Expected --image NxCxHxW such as 8x3x48x48, got {text!r}")
    n, c, h, w = map(int, parts)
    return n, c, h, w


def _list() -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("name", "image", "classes", "parameters", "options"):
        number = title in ("classes", "parameters")
        table.add_column(title, justify="right" if number else "left", no_wrap=True)
    for name, recipe in RECIPES.items():
        paper = recipe.paper
        table.add_row(
            name, "x".join(map(str, paper.image)), str(paper.classes),
            f"{paper_parameters(name):,}", " ".join(recipe.options).replace("_", "-"),
        )  # fmt: skip
    return table


def paper_parameters(name: str) -> int:
    """Elements of the parameters, trainable and frozen, of a network as in its paper."""
    recipe = RECIPES[name]
    built = partial(recipe.network, classes=recipe.paper.classes, **recipe.paper.options)
    spec = TensorSpec((1, *recipe.paper.image), mg.DType.FLOAT32)
    graph = build_graph(_logits(built), {"image": spec})
    return sum(state.value.spec.size for state in graph.state if state.role in _PARAMETERS)


def _logits(built: Callable[..., Tensor]) -> Callable[[Tensor], dict[str, Tensor]]:
    return lambda image: {"logits": built(image)}
