"""Kernels made of tasks made of prepared calls."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from minigraph.backends.numpy.convolution.algorithm import Call
from minigraph.backends.numpy.workers import Task, Workers


def bind_task(calls_of_worker: Sequence[Sequence[Call]]) -> Task:
    """A task that makes the calls bound to the workspace of the worker that runs it."""

    def task(worker: int) -> None:
        for call in calls_of_worker[worker]:
            call()

    return task


def run_tasks(workers: Workers, *phases: Sequence[Task]) -> Call:
    """A kernel of one or more phases: all tasks of a phase finish before the next one begins."""
    if len(phases) == 1:
        return partial(workers.run, phases[0])

    def kernel() -> None:
        for phase in phases:
            workers.run(phase)

    return kernel
