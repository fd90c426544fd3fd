"""``minigraph datasets``: what can be opened, what a set holds, what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from minigraph.cli.console import new_console
from minigraph.cli.sizes import parse_optional_size
from minigraph.data import Dataset, FileDataset, LabelCounts, count_labels
from minigraph.data.dataset import pixel_bytes
from minigraph.data.download import DOWNLOADS, cache_folder, download, find_download
from minigraph.data.layouts import LAYOUTS, find_layout
from minigraph.data.open import (
    MEMORY_BUDGET,
    SHAPES,
    check_dataset,
    find_folder,
    open_dataset,
)
from minigraph.data.pictures import read_header, size_text
from minigraph.data.weights import inverse_frequency_of, median_frequency_of

_MOST_SIZES = 4  # sizes of files that are shown one by one


def datasets(
    name: Annotated[
        str | None, typer.Argument(help="A folder, 'shapes', or a set that can be downloaded.")
    ] = None,
    fetch: Annotated[bool, typer.Option("--download", help="Fetch a well-known set.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Read every file; say all that is wrong.")
    ] = False,
    crop: Annotated[str | None, typer.Option(help="Keep HEIGHTxWIDTH of each image.")] = None,
    size: Annotated[
        str | None, typer.Option(help="Resize to (with masks: put in a frame of) HEIGHTxWIDTH.")
    ] = None,
    channels: Annotated[int | None, typer.Option(help="1 (grey) or 3 (RGB).")] = None,
    class_names: Annotated[
        list[str] | None,
        typer.Option("--class", help="A class's name; once for each, in order."),
    ] = None,
    void_label: Annotated[int | None, typer.Option(help="The label that counts nowhere.")] = None,
    held_out: Annotated[
        float | None, typer.Option(help="Share held out where there is no val or test: 0.2.")
    ] = None,
) -> None:
    """List the data sets that can be opened, or describe one.

    Examples:

      minigraph datasets

      minigraph datasets fashion-mnist --download

      minigraph datasets street --size 256x256 --check
    """
    console = new_console()
    if name is None:
        if fetch or check:
            raise ValueError("Expected the name of a data set for --download or --check, got none")
        _list(console)
        return
    if fetch:
        _download(name, console)
    options = {
        "crop": parse_optional_size("--crop", crop),
        "size": parse_optional_size("--size", size),
        "channels": channels,
        "class_names": class_names or None,
        "void_label": void_label,
        "held_out": held_out,
    }
    if check:
        _check(name, options, console)
    layout = "generated" if name == SHAPES else find_layout(find_folder(name)).name
    train, held = open_dataset(name, **options, memory_budget=0)  # type: ignore[arg-type]
    _describe(name, layout, (train, held), console)


def _list(console: Console) -> None:
    console.print("generated")
    console.print(f"  {SHAPES:16} textured shapes with masks, 6 classes; needs no files")
    console.print(f"\ndownloads (into {cache_folder()})")
    for source in DOWNLOADS.values():
        folder = find_download(source.name)
        state = f"not there: --download ({_megabytes(source.size)})" if folder is None else "there"
        console.print(f"  {source.name:16} {source.summary}; {state}")
    console.print("\nlayouts of folders")
    for layout in LAYOUTS:
        console.print(f"  {layout.name:18} {layout.files}")
        options = ", ".join(f"--{_flag(option)}" for option in layout.options)
        console.print(f"  {'':18}   takes {options}")
    console.print(
        "\nclasses.txt in the folder names the classes, one a line. Without val, valid, validation "
        "or test the last share of the images is held out."
    )


def _download(name: str, console: Console) -> None:
    if name not in DOWNLOADS:
        raise ValueError(f"Expected one of {', '.join(DOWNLOADS)} to download, got '{name}'")
    import pooch

    pooch.get_logger().setLevel("WARNING")  # the bar says enough
    with _Bar(console) as bar:
        folder = download(DOWNLOADS[name], cache_folder(), bar)
    console.print(f"{name} is in {folder}")


def _check(name: str, options: dict, console: Console) -> None:
    """Print all problems and leave with exit code 1 if there are any."""
    if name == SHAPES:
        return
    problems = check_dataset(name, **options)
    for problem in problems:
        console.print(problem)
    if problems:
        console.print(f"{len(problems)} {'problem' if len(problems) == 1 else 'problems'}")
        raise typer.Exit(1)
    console.print("every file was read, nothing is wrong")


def _describe(name: str, layout: str, parts: tuple[Dataset, Dataset], console: Console) -> None:
    train, held = parts
    total = pixel_bytes(train) + pixel_bytes(held)
    kept = "in memory" if total <= MEMORY_BUDGET else "read from files when needed"
    shape = "x".join(map(str, train.image_shape))
    console.print(f"{name}: {layout}")
    console.print(f"  training  {len(train):7,} images  {train.name}")
    console.print(f"  held out  {len(held):7,} images  {held.name}")
    console.print(f"  image     {shape} (C,H,W){_file_sizes(parts)}")
    console.print(f"  kept      {kept}: {_megabytes(total)} of pixels and labels")
    counts = count_labels(train)
    void = "none" if train.void_label is None else str(train.void_label)
    console.print(f"  void      {void}, {100 * counts.void_share:.2f} % of the training labels")
    console.print(f"\n{_class_table(counts, train.is_segmentation)}")


def _class_table(counts: LabelCounts, is_segmentation: bool) -> str:
    """A line per class: share of the labels that are not void, images, weight."""
    if is_segmentation:
        title, weights = "pixels %", median_frequency_of(counts)
        kind = "median-frequency weights of the training masks (void left out)"
    else:
        title, weights = "share %", inverse_frequency_of(counts)
        kind = "inverse-frequency weights of the training images"
    width = max(5, *map(len, counts.class_names))
    lines = [f"  {'class':>5}  {'name':<{width}}  {title:>8}  {'images':>7}  {'weight':>8}"]
    total = counts.labels.sum()
    for label, class_name in enumerate(counts.class_names):
        share = 100 * counts.labels[label] / total
        lines.append(
            f"  {label:>5}  {class_name:<{width}}  {share:8.3f}  {counts.images[label]:>7,}  "
            f"{weights.values[label]:8.4f}"
        )
    return "\n".join([*lines, f"  {kind}"])


def _file_sizes(parts: Sequence[Dataset]) -> str:
    """The sizes of the files, where there are files of single images."""
    samples = [s for part in parts if isinstance(part, FileDataset) for s in part.samples]
    sizes = sorted({read_header(sample.image).size for sample in samples})
    if not sizes:
        return ""
    if len(sizes) <= _MOST_SIZES:
        return f", files of {', '.join(map(size_text, sizes))}"
    heights, widths = zip(*sizes, strict=True)
    return (
        f", files of {len(sizes)} sizes, {min(heights)} to {max(heights)} high and {min(widths)} "
        f"to {max(widths)} wide"
    )


def _flag(option: str) -> str:
    return "class" if option == "class_names" else option.replace("_", "-")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


class _Bar:
    """Shows how far each file is; what pooch's downloaders want of a progress bar."""

    def __init__(self, console: Console) -> None:
        self.total = 0
        self._bar = Progress(
            TextColumn("fetching"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
            console=console, transient=True,
        )  # fmt: skip
        self._task = self._bar.add_task("")

    def __enter__(self) -> _Bar:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def update(self, size: int) -> None:
        """So many more bytes of the file came."""
        self._bar.update(self._task, total=self.total, advance=size)

    def reset(self) -> None:
        """Begin again from 0."""
        self._bar.reset(self._task)

    def close(self) -> None:
        """The file is there; the next one begins from 0."""
        self._bar.reset(self._task)
