"""Descriptions of choices: the same in every process, different for different choices."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import minigraph as mg
from minigraph.data import ColourJitter, Compose, RandomCrop, random_horizontal_flip
from minigraph.training.identity import describe

CODE = """
from functools import partial
import minigraph as mg
from minigraph.data import ColourJitter, Compose, RandomCrop, random_horizontal_flip
from minigraph.training.identity import describe
print(describe(Compose([RandomCrop(8, 8), partial(random_horizontal_flip), ColourJitter(0.1)])))
print(describe(mg.WarmUp(mg.Cosine(0.1, 10), 3)))
"""


class Custom:
    def __call__(self, images, labels, generator):
        return images, labels


def test_two_processes_agree() -> None:
    runs = [subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
            for _ in range(2)]  # fmt: skip
    assert runs[0].stdout == runs[1].stdout
    assert "0x" not in runs[0].stdout and "random_horizontal_flip" in runs[0].stdout


def test_what_differs_is_told_apart() -> None:
    choices = [
        None, Custom(), random_horizontal_flip, partial(random_horizontal_flip, x=1),
        Compose([RandomCrop(8, 8)]), Compose([RandomCrop(8, 9)]), RandomCrop(8, 8),
        ColourJitter(0.1), ColourJitter(0.2), mg.Cosine(0.1, 10), mg.WarmUp(mg.Cosine(0.1, 10), 3),
        mg.WarmUp(mg.Cosine(0.1, 11), 3),
    ]  # fmt: skip
    texts = [describe(choice) for choice in choices]
    assert len(set(texts)) == len(texts)
    assert describe(Custom()) == describe(Custom()) == "Custom"
