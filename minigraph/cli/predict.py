"""``minigraph predict``: masks, overlays and tables for images on disk."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import track

import minigraph as mg
from minigraph.cli.sizes import parse_size
from minigraph.prediction import Classification, Predictor, Segmentation
from minigraph.prediction.files import find_images, output_names
from minigraph.prediction.pictures import mask_picture, overlay_picture, percent
from minigraph.prediction.reading import read_picture
from minigraph.report.picture_files import write_picture
from minigraph.report.spreadsheet import csv_name
from minigraph.training.run_folder import MODEL
from minigraph.whole_file import write_whole

MASKS, OVERLAYS = "masks", "overlays"
CLASS_TABLE, PREDICTION_TABLE = "classes.csv", "predictions.csv"
TOP = 5  # classes that are told of each image
SHOWN = 20  # images up to which results are printed


def predict(
    model: Annotated[Path, typer.Argument(help="A saved model, or a run folder.")],
    images: Annotated[
        list[str], typer.Argument(help="Files, folders, or patterns in quotes ('*.jpg').")
    ],
    output: Annotated[Path, typer.Option(help="The folder to write to.")],
    tile: Annotated[
        str | None,
        typer.Option(help="Run in windows of up to HEIGHTxWIDTH pixels (default: by memory)."),
    ] = None,
    overlay: Annotated[bool, typer.Option(help="Also draw the classes on the images.")] = True,
    force: Annotated[bool, typer.Option(help="Overwrite what is there.")] = False,
    precision: Annotated[
        str, typer.Option(help="float32, bfloat16 or float16: that of the large work.")
    ] = "float32",
    backend: Annotated[str, typer.Option(help="llvm, numpy, or auto.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads (default: all).")] = None,
) -> None:
    """Apply a saved model to images of any size.

    Segmentation: OUTPUT/masks/NAME.png stores the class of each pixel (viewers show it in colours),
    OUTPUT/overlays/NAME.png draws it on the image, OUTPUT/classes.csv has each class's share.
    Images are padded at the bottom and right, by mirroring, up to a multiple of the network's total
    stride, and the result is cut back; large ones are run in tiles, with the same result.

    Classification: OUTPUT/predictions.csv has the five likeliest classes of each image. Images are
    resized to the size that the network was trained on.

    EXIF orientation is applied. Images that cannot be read, or whose pictures cannot be
    written, are named at the end (exit code 1). In tables, names that a spreadsheet would take for
    formulas have an apostrophe before them.

    Examples:

      minigraph predict runs/unet-shapes street.jpg --output predicted

      minigraph predict model.safetensors photos 'more/*.png' --output predicted --tile 512x512
    """
    console = Console(soft_wrap=True, highlight=False)
    paths = find_images(images)
    predictor = Predictor.load(
        model / MODEL if model.is_dir() else model,
        tile=None if tile is None else parse_size("--tile", tile),
        backend=backend, threads=threads, precision=precision,
    )  # fmt: skip
    job = _Job(predictor, console, output, overlay and predictor.card.segmentation)
    names = dict(zip(output_names(paths), paths, strict=True))
    job.check(names, force)
    job.run(names)


class _Job:
    """Predicts image by image and writes what comes out."""

    def __init__(self, predictor: Predictor, console: Console, output: Path, overlay: bool) -> None:
        self._predictor = predictor
        self._console = console
        self._output = output
        self._overlay = overlay
        self._segmentation = predictor.card.segmentation
        self._table = output / (CLASS_TABLE if self._segmentation else PREDICTION_TABLE)

    def check(self, names: Mapping[str, Path], force: bool) -> None:
        """Raise before anything is run where something cannot be written."""
        there = [path for path in self._targets(names) if path.exists()]
        if there and not force:
            raise FileExistsError(
                f"Expected new files, got {there[0]}, which is there already"
                f"{f' (and {len(there) - 1} more)' if len(there) > 1 else ''}: use --force to "
                "overwrite, or another --output"
            )
        self._output.mkdir(parents=True, exist_ok=True)

    def run(self, names: Mapping[str, Path]) -> None:
        """Raise ValueError at the end, with their number, where images were left out."""
        rows, failed = [], []
        shown = track(
            names.items(),
            "predicting",
            console=self._console,
            transient=True,
            total=len(names),
            disable=not self._console.is_terminal,
        )
        for name, path in shown:
            try:
                image = read_picture(path, 3)
                result = self._predictor(image)
                if isinstance(result, Segmentation):
                    self._write_pictures(name, image, result)
            except (mg.MinigraphError, ValueError, OSError) as error:
                failed.append((path, str(error).splitlines()[0]))
                continue
            if isinstance(result, Segmentation):
                rows.append([csv_name(str(path)), f"{MASKS}/{name}.png", *_row(result)])
            else:
                rows.append([csv_name(str(path)), *_row(result)])
            if len(names) <= SHOWN:
                self._console.print(f"{path}: {_summary(result)}", markup=False)
        if rows:
            self._write_table(rows)
            self._console.print(f"{len(rows)} images done: {self._output}/", markup=False)
        for path, reason in failed:
            self._console.print(f"left out {path}: {reason}", markup=False)
        if failed:
            raise ValueError(
                f"Expected {len(names)} images that can be predicted, got {len(failed)} that "
                f"cannot, such as {failed[0][0]}: {failed[0][1]}"
            )

    def _targets(self, names: Mapping[str, Path]) -> Iterator[Path]:
        yield self._table
        if self._segmentation:
            for name in names:
                yield self._output / MASKS / f"{name}.png"
                yield self._output / OVERLAYS / f"{name}.png"

    def _write_pictures(self, name: str, image: np.ndarray, result: Segmentation) -> None:
        mask = mask_picture(result.labels, len(result.class_names))
        write_picture(mask, self._output / MASKS / f"{name}.png")
        if self._overlay:
            drawn = overlay_picture(image, result.labels, result.class_names)
            write_picture(drawn, self._output / OVERLAYS / f"{name}.png")

    def _write_table(self, rows: Sequence[Sequence[str]]) -> None:
        if self._segmentation:
            head = ["image", "mask", *map(csv_name, self._predictor.card.class_names)]
        else:
            places = range(1, 1 + min(TOP, self._predictor.card.classes))
            head = ["image", *(f"{what}_{i}" for i in places for what in ("class", "probability"))]
        text = io.StringIO(newline="")
        csv.writer(text).writerows([head, *rows])
        write_whole(self._table, text.getvalue().encode())


def _row(result: Segmentation | Classification) -> list[str]:
    if isinstance(result, Segmentation):
        return [f"{share:.6f}" for share in result.shares().values()]
    return [text for name, p in result.top(TOP) for text in (csv_name(name), f"{p:.6f}")]


def _summary(result: Segmentation | Classification) -> str:
    if isinstance(result, Segmentation):
        largest = sorted(result.shares().items(), key=lambda item: -item[1])
        told = [(name, share) for name, share in largest if share][:TOP]
    else:
        told = result.top(TOP)
    return ", ".join(f"{name} {percent(share)}" for name, share in told)
