"""The boundary: a third party's backend, its candidates, refusals, fusions and store."""

from __future__ import annotations

import importlib.metadata
from dataclasses import replace

import numpy as np
import pytest

import minigraph as mg
from minigraph.algorithms import select_algorithms
from minigraph.backend import (
    Algorithm,
    Memory,
    Program,
    Refused,
    Supported,
    backend_names,
    find_backend,
    load_backend,
)
from minigraph.compiler import Options, finish
from minigraph.ir.errors import UnsupportedError
from minigraph.layouts import assign_layouts
from minigraph.ops.conv import Conv2d
from minigraph.ops.elementwise import Add, Tanh
from minigraph.testing import graph_of


class Limited:
    """NumPy's backend behind a counter, without some ops."""

    name = "limited"
    priority = -1
    takes_gaps = False
    takes_device_arrays = False
    reason = "not on this device"

    def __init__(self, threads: int | None = None, missing: tuple[type, ...] = ()) -> None:
        self.inner = load_backend("numpy", threads or 1)
        self.missing = missing
        self.asked: list[str] = []
        self.built: list[Program] = []

    @classmethod
    def available(cls):
        return Supported()

    @property
    def threads(self):
        return self.inner.threads

    @property
    def fingerprint(self):
        return self.inner.fingerprint

    def axis_order(self, spec):
        return self.inner.axis_order(spec)

    def candidates(self, op, inputs):
        self.asked.append(op.name)
        if isinstance(op, self.missing):
            return Refused(f"{op.name} is {self.reason}")
        return self.inner.candidates(op, inputs)

    def can_fuse(self, body, inputs):
        return Refused("it fuses nothing")

    def new_store(self):
        return self.inner.new_store()

    def build(self, program, store):
        self.built.append(program)
        return self.inner.build(program, store)


class Unusable(Limited):
    name = "unusable"
    priority = 100

    @classmethod
    def available(cls):
        return Refused("it needs a quantum computer")


class Entry:
    def __init__(self, name, loaded):
        self.name, self.loaded = name, loaded

    def load(self):
        if isinstance(self.loaded, Exception):
            raise self.loaded
        return self.loaded


@pytest.fixture
def third_parties(monkeypatch, tmp_path):
    entries = [
        Entry("numpy", find_backend("numpy")), Entry("limited", Limited),
        Entry("unusable", Unusable),
        Entry("broken", ImportError("no module named quantum")),
    ]  # fmt: skip

    def entry_points(group):
        assert group == "minigraph.backends"
        return entries

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    monkeypatch.syspath_prepend(tmp_path)  # what is installed is read once for a search path


def model(x):
    return {"y": mg.tanh(mg.conv2d(x, 2, 3, name="a")) + mg.tanh(x[:, :1, 1:-1, 1:-1])}


SPEC = {"x": "float32[1,1,6,6]"}


def test_a_third_partys_backend_is_found_and_used(third_parties):
    exe = mg.compile(model, SPEC, backend="limited")
    assert exe.backend.name == "limited" and len(exe.backend.built) == 1
    assert "Fused" not in exe.backend.asked and "Conv2d" in exe.backend.asked
    x = np.ones((1, 1, 6, 6), np.float32)
    ours = mg.compile(model, SPEC, backend="numpy")
    np.testing.assert_allclose(exe(x=x)["y"], ours(x=x)["y"], rtol=1e-6)


def test_a_backend_that_is_installed_later_is_found(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    assert isinstance(find_backend("late"), Refused)
    (tmp_path / "late_backend.py").write_text(
        "from minigraph.backends.numpy import NumpyBackend\n"
        "class LateBackend(NumpyBackend): name = 'late'\n"
    )
    folder = tmp_path / "late-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Name: late\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(
        "[minigraph.backends]\nlate = late_backend:LateBackend\n"
    )
    assert load_backend("late").name == "late"


def test_auto_takes_the_highest_that_is_available(third_parties):
    assert load_backend("auto").name == "numpy"
    assert backend_names() == ["broken", "limited", "numpy", "unusable"]


def test_backends_that_cannot_be_used(third_parties):
    with pytest.raises(UnsupportedError, match=r"got 'unusable': it needs a quantum computer"):
        load_backend("unusable")
    with pytest.raises(UnsupportedError, match=r"got 'broken': .*no module named quantum"):
        load_backend("broken")
    with pytest.raises(UnsupportedError, match=r"installed: broken, limited, numpy, unusable"):
        load_backend("missing")


def test_only_the_backend_that_is_named_is_imported(third_parties, monkeypatch):
    def load(entry):
        return entry.loaded if entry.name == "numpy" else pytest.fail(entry.name)

    monkeypatch.setattr(Entry, "load", load)
    assert load_backend("numpy").name == "numpy"


def test_a_shared_state_brings_its_backend(third_parties):
    exe = mg.compile(model, SPEC, backend="limited")
    assert mg.compile(model, SPEC, state=exe.state).backend is exe.backend
    with pytest.raises(UnsupportedError, match="which holds the given state, got 'numpy'"):
        mg.compile(model, SPEC, state=exe.state, backend="numpy")


def test_all_that_is_missing_is_listed_at_once():
    backend = Limited(missing=(Tanh, Add))
    graph = graph_of(model, **SPEC)
    with pytest.raises(UnsupportedError) as caught:
        choose(graph, backend)
    text = str(caught.value)
    assert text.startswith("Expected a backend that runs every node, got 'limited', which lacks 4:")
    for line in (
        "  Tanh 'tanh': Tanh is not on this device",
        "  Tanh 'tanh_1': Tanh is not on this device",
        "  Add 'a.add': Add is not on this device",
    ):
        assert line in text.splitlines()
    assert backend.built == []


def test_views_are_never_asked_for():
    backend = Limited()
    graph = graph_of(lambda x: {"y": mg.tanh(mg.flatten(x))}, x="float32[2,3,4]")
    choices = choose(graph, backend)
    assert backend.asked == ["Tanh"] and len(choices) == 1


def choose(graph, backend, **options):
    layouts = assign_layouts(graph, backend)
    return select_algorithms(graph, backend, layouts, **options)


def algorithms(*rows):
    return tuple(
        Algorithm(name, workspace, seconds, error) for name, workspace, seconds, error in rows
    )


class Choosy(Limited):
    rows = algorithms(
        ("exact", 0, 3.0, 0.0), ("quick", 1000, 1.0, 1e-6), ("rough", 10, 0.5, 1e-2),
        ("hungry", 10**6, 0.1, 1e-7),
    )  # fmt: skip

    def candidates(self, op, inputs):
        return self.rows if isinstance(op, Conv2d) else super().candidates(op, inputs)


@pytest.mark.parametrize(
    ("error", "workspace", "expected"),
    [
        (1e-4, None, "hungry"),
        (1e-4, 1000, "quick"),
        (1e-4, 999, "exact"),
        (1e-7, 10**6, "hungry"),
        (1e-8, None, "exact"),
        (1.0, 10, "rough"),
        (1.0, 0, "exact"),
    ],
)
def test_the_fastest_within_the_budgets(error, workspace, expected):
    graph = graph_of(model, **SPEC)
    choices = choose(graph, Choosy(), max_relative_error=error, max_workspace=workspace)
    (choice,) = [c for node, c in choices.items() if isinstance(node.op, Conv2d)]
    assert choice.algorithm.name == expected
    assert {a.name for a, _ in choice.rejected} == {"exact", "quick", "rough", "hungry"} - {
        expected
    }
    for algorithm, reason in choice.rejected:
        if algorithm.relative_error > error:
            assert "over the budget" in reason
        elif workspace is not None and algorithm.workspace > workspace:
            assert "over the limit" in reason
        else:
            assert reason.startswith("expected ")


def test_the_most_exact_is_always_allowed():
    class Rough(Choosy):
        rows = algorithms(("a", 0, 1.0, 1e-3), ("b", 0, 2.0, 1e-5))

    class Hungry(Choosy):
        rows = algorithms(("a", 500, 1.0, 0.0), ("b", 300, 2.0, 0.0))

    graph = graph_of(model, **SPEC)
    for backend, options in (
        (Rough(), {"max_relative_error": 0.0}),
        (Hungry(), {"max_workspace": 1}),
    ):
        choices = choose(graph, backend, **options)
        (choice,) = [c for node, c in choices.items() if isinstance(node.op, Conv2d)]
        assert choice.algorithm.name == "b"


def test_a_preferred_algorithm_is_taken_within_the_budgets():
    graph = graph_of(model, **SPEC)
    (node,) = [node for node in graph.nodes if isinstance(node.op, Conv2d)]
    for wanted, expected in (("quick", "quick"), ("rough", "hungry"), ("unknown", "hungry")):
        choice = choose(graph, Choosy(), preferred={node.name: wanted})[node]
        assert choice.algorithm.name == expected


def test_a_smaller_batch_takes_the_algorithms_of_the_first():
    class ByBatch(Limited):
        def candidates(self, op, inputs):
            if not isinstance(op, Conv2d):
                return super().candidates(op, inputs)
            batch = inputs[0].shape[0]
            first = replace(super().candidates(op, inputs)[0], seconds=1.0 / batch)
            return (first, Algorithm("for small batches", seconds=0.2))

    exe = mg.compile(model, {"x": "float32[8,1,6,6]"}, backend=ByBatch())
    exe(x=np.ones((2, 1, 6, 6), np.float32))
    first, second = (
        [step.algorithm.name for step in program.steps if isinstance(step.op, Conv2d)]
        for program in exe.backend.built
    )
    assert first == second


def test_a_program_says_all_that_a_backend_needs():
    def training(image, label):
        x = mg.relu(mg.conv2d(image, 2, 3, name="c"))
        return {"loss": mg.softmax_cross_entropy(mg.global_avg_pool2d(x), label)}

    step = mg.compile(
        training, {"image": "float32[2,1,6,6]", "label": "int32[2]"},
        optimizer=mg.Momentum(0.1), backend="numpy",
    )  # fmt: skip
    program = step.compiled.program
    assert set(program.inputs) == {"image", "label"} and list(program.outputs) == ["loss"]
    assert program.writes_state and not program.cached_reads_state
    assert set(program.state) == set(step.state)
    assert {step.name for step in program.steps} <= {node.name for node in step.graph.nodes}
    for current in (*program.steps, *program.cached_steps):
        specs = current.op.infer(*(slot.spec for slot in current.inputs))
        for slot, spec in zip(current.outputs, specs, strict=True):
            assert slot is None or slot.spec == spec
        assert not current.op.is_view
        if current.algorithm.workspace:
            assert current.workspace.spec.nbytes >= current.algorithm.workspace
    states = {s.state for c in program.steps for s in c.outputs if s and s.memory is Memory.STATE}
    assert states | {commit.state for commit in program.commits} == set(step.graph.updates)


def test_optional_outputs_may_be_left_out():
    exe = mg.compile(
        lambda x: {"y": mg.max_pool2d(x, 2)}, {"x": "float32[1,1,4,4]"}, backend="numpy"
    )
    (pool,) = exe.compiled.program.steps
    assert pool.outputs[0] is not None and pool.outputs[1] is None
    both = mg.compile(
        lambda x: {"y": mg.max_pool2d(x, 2)}, {"x": "float32[1,1,4,4]"},
        outputs=["y", "max_pool2d_1"], backend="numpy",
    )  # fmt: skip
    x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    assert both(x=x)["max_pool2d_1"].tolist() == [[[[3, 3], [3, 3]]]]


def test_a_kernel_must_write_all_of_its_output():
    """The arena is dirty: runs after a poisoned arena give the same bits."""

    def network(x):
        y = mg.softmax(
            mg.pad(mg.max_pool2d(mg.conv2d(x, 3, 3, padding=1), 2), [(0, 0)] * 2 + [(1, 2)] * 2)
        )
        return {"y": mg.transpose(mg.concat([y, y[:, :: -1 * -1]], 1)), "z": mg.argmax(y)}

    exe = mg.compile(network, {"x": "float32[2,2,8,8]"}, backend="numpy")
    x = np.random.default_rng(0).standard_normal((2, 2, 8, 8)).astype(np.float32)
    first = exe(x=x)
    for poison in (0, 0x7F, 0xFF):
        exe._first.runner._arenas[Memory.WORK].fill(poison)
        again = exe(x=x)
        for name in first:
            np.testing.assert_array_equal(again[name], first[name])


def test_work_memory_is_cache_line_aligned():
    exe = mg.compile(model, SPEC, backend="numpy")
    runner = exe._first.runner
    for arena in runner._arenas.values():
        assert arena.size == 0 or arena.ctypes.data % 64 == 0
    for array in (*runner._inputs.values(), *runner._outputs.values()):
        assert array.ctypes.data % 64 == 0


def test_finish_takes_any_backend():
    backend = Limited()
    compiled = finish(graph_of(model, **SPEC), backend, Options())
    assert replace(compiled.program, work_bytes=0).steps == compiled.program.steps
    assert not any(node.op.name == "Fused" for node in compiled.graph.nodes)
