"""``minigraph inspect``: a model's graph, what each pass changed, the plan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

import minigraph as mg
from minigraph.cli.console import new_console
from minigraph.cli.models import image_shape
from minigraph.cli.recipes import RECIPES, network
from minigraph.explain import algorithms_text, memory_text, passes_text
from minigraph.optimizers import optimizer_from_name
from minigraph.training import LabelTask
from minigraph.training.run_folder import MODEL


def inspect(
    model: Annotated[
        str, typer.Argument(help=f"A saved model or run folder, or {', '.join(RECIPES)}.")
    ],
    image: Annotated[str, typer.Option(help="Images as NxCxHxW.")] = "",
    classes: Annotated[int, typer.Option(min=1, help="For a network by name.")] = 10,
    training: Annotated[bool, typer.Option(help="The training step, not inference.")] = False,
    graph: Annotated[bool, typer.Option(help="Print the graph after all passes.")] = False,
    profile: Annotated[bool, typer.Option(help="Run it on noise and time each node.")] = False,
    precision: Annotated[
        str, typer.Option(help="float32, bfloat16 or float16: that of the large work.")
    ] = "float32",
    backend: Annotated[str, typer.Option(help="llvm, numpy, or auto.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1)] = None,
) -> None:
    """Show how a model is compiled: passes, algorithms, memory; the graph and a profile if asked.

    Examples:

      minigraph inspect unet --training

      minigraph inspect runs/unet-shapes/model.safetensors --graph --profile
    """
    console = new_console()
    executable = _open(model, image, classes, training, backend, threads, precision)
    compiled = executable.compiled
    console.print(
        f"{model}: {len(compiled.built.nodes)} nodes as built, {len(compiled.graph.nodes)} after "
        f"the passes; backend {executable.backend.name}, {executable.backend.threads} threads",
    )
    for name, spec in executable.inputs.items():
        console.print(f"  input  {name}: {spec}")
    for name, spec in executable.outputs.items():
        console.print(f"  output {name}: {spec}")
    if graph:
        console.print(f"\n{compiled.graph}")
    for text in (passes_text(compiled), algorithms_text(compiled), memory_text(compiled)):
        console.print(f"\n{text}")
    if profile:
        console.print(f"\n{executable.profile(_noise(executable))}")


def _open(
    model: str,
    image: str,
    classes: int,
    training: bool,
    backend: str,
    threads: int | None,
    precision: str,
) -> mg.Executable:
    optimizer = optimizer_from_name("adam", 1e-3) if training else None
    if model not in RECIPES:
        path = Path(model) / MODEL if Path(model).is_dir() else Path(model)
        if not path.exists():
            raise FileNotFoundError(
                f"Expected a saved model or one of {', '.join(RECIPES)}, got {model!r}: "
                "there is no such file"
            )
        inputs = {"image": (image_shape(image), "float32")} if image else None
        return mg.load(
            path, optimizer=optimizer, inputs=inputs, backend=backend, threads=threads,
            precision=precision,
        )  # fmt: skip
    recipe = RECIPES[model]
    batch = recipe.settings["batch_size"]
    shape = image_shape(image) if image else (batch, *recipe.image)
    built = network(model, classes, base=recipe.settings.get("base"),
                    depth=recipe.settings.get("depth"),
                    batch_norm=recipe.settings.get("batch_norm", False))  # fmt: skip
    task = LabelTask(built, [0.0] * shape[1], [1.0] * shape[1], 255)
    label: tuple[int, ...] = (shape[0], *shape[2:]) if recipe.segmentation else (shape[0],)
    specs = {"image": (shape, "float32"), "label": (label, "int32")}
    outputs = ["loss"] if training else ["prediction"]
    return mg.compile(
        task, specs, optimizer=optimizer, outputs=outputs, backend=backend, threads=threads,
        precision=precision,
    )  # fmt: skip


def _noise(executable: mg.Executable) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {
        name: generator.random(spec.shape).astype(spec.dtype.numpy)
        for name, spec in executable.inputs.items()
    }
