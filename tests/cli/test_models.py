"""``minigraph models``, and options that networks have or have not."""

from __future__ import annotations

import pytest
from commands import run
from typer.testing import CliRunner

from minigraph.cli.main import app
from minigraph.cli.recipes import RECIPES, network
from minigraph.cli.settings import settings_from


def test_all_networks_are_listed_with_their_published_size() -> None:
    output = run("models")
    rows = {line.split()[0]: line for line in output.splitlines() if line.strip()}
    assert RECIPES.keys() <= rows.keys()
    for name, count in (
        ("vgg16", "138,357,544"), ("resnet50", "25,557,032"), ("alexnet", "61,100,840"),
        ("unet", "31,030,658"), ("lenet", "61,706"),
    ):  # fmt: skip
        assert count in rows[name]
    assert rows["unet"].endswith("base depth batch-norm")


def test_one_network_is_shown_as_in_its_paper_or_as_asked() -> None:
    assert "float32[1,2,388,388]" in run("models", "unet")
    output = run(
        "models", "unet", "--image", "2x3x32x48", "--base", 4, "--depth", 2, "--classes", 6
    )
    assert "float32[2,6,32,48]" in output and "decoder2.conv2" in output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["vgg"], "Expected a network of unet"),
        (
            ["vgg16", "--depth", 3],
            "Expected no depth for vgg16, whose options are: base, batch norm",
        ),
        (["resnet18", "--batch-norm"], "Expected no batch norm for resnet18"),
        (["lenet", "--base", 3], "Expected no base for lenet, whose options are: none"),
        (["unet", "--image", "3x32x32"], "NxCxHxW"),
        (["fcn8s", "--image", "1x3x40x40"], "divisible by 32"),
        (["--base", 3], "got no name"),
    ],
)
def test_what_does_not_apply_is_refused(arguments: list, said: str) -> None:
    result = CliRunner().invoke(app, ["models", *map(str, arguments)])
    assert result.exit_code != 0 and said in str(result.exception)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_starts_with_options_that_its_network_has(name: str) -> None:
    settings = settings_from(name, None, {"data": "anything"})
    built = network(
        name, 4, base=settings.base, depth=settings.depth, batch_norm=settings.batch_norm
    )
    assert callable(built)
    if settings.size is not None:
        height, width = map(int, settings.size.split("x"))
        assert RECIPES[name].image[1:] == (height, width)
