"""The memory plan: proven, kept to, and nothing beside it."""

from __future__ import annotations

import gc
import resource
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import minigraph as mg
from minigraph.backend import ALIGNMENT, load_backend
from minigraph.backends.numpy import runner as numpy_runner
from minigraph.compiler import Options, finish
from minigraph.ir.errors import MemoryLimitError
from minigraph.memory import aligned
from minigraph.models.lenet import lenet
from minigraph.models.unet import unet
from minigraph.ops import new_builder
from minigraph.ops.elementwise import ReluGrad
from minigraph.testing import check_memory

KILO = 1024


def small_net(image, label):
    x = mg.relu(mg.batch_norm(mg.conv2d(image, 8, 3, padding=1, name="a"), name="norm"))
    x = mg.dropout(mg.max_pool2d(x, 2), 0.25, name="drop")
    x = mg.relu(mg.conv2d(x, 8, 3, padding="same", name="b"))
    logits = mg.dense(mg.flatten(x), 10, name="d")
    return {"loss": mg.softmax_cross_entropy(logits, label), "logits": logits}


def segmenter(image, label):
    logits = unet(image, 3, base=4, depth=2, batch_norm=True)
    return {"loss": mg.softmax_cross_entropy(logits, label)}


def classifier(image, label):
    return {"loss": mg.softmax_cross_entropy(lenet(image), label)}


MODELS = {
    "small": (small_net, {"image": "float32[8,3,16,16]", "label": "int32[8]"}),
    "unet": (segmenter, {"image": "float32[2,3,32,32]", "label": "uint8[2,32,32]"}),
    "lenet": (classifier, {"image": "float32[4,1,28,28]", "label": "int64[4]"}),
}


def step_of(name, **options):
    model, inputs = MODELS[name]
    options = {"optimizer": mg.Momentum(0.01), "threads": 2, **options}
    return mg.compile(model, inputs, backend="numpy", **options)


def batch_of(name, seed=0):
    rng = np.random.default_rng(seed)
    image, label = (mg.TensorSpec.of(spec) for spec in MODELS[name][1].values())
    return {
        "image": rng.standard_normal(image.shape).astype(np.float32),
        "label": rng.integers(0, 3, label.shape).astype(label.dtype.numpy),
    }


def outputs_of(exe):
    return {name: np.empty(spec.shape, spec.dtype.numpy) for name, spec in exe.outputs.items()}


# ---- the plan is right


@pytest.mark.parametrize("optimizer", [mg.SGD(0.1), mg.Momentum(0.1), mg.AdaGrad(0.1), mg.Adam()])
@pytest.mark.parametrize("name", MODELS)
def test_training_plans(name, optimizer):
    step = step_of(name, optimizer=optimizer)
    check_memory(step.graph, step.compiled.program)


@pytest.mark.parametrize("name", MODELS)
def test_inference_plans(name):
    exe = step_of(name, optimizer=None)
    check_memory(exe.graph, exe.compiled.program)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_plans_of_other_dtypes(dtype):
    model, inputs = MODELS["small"]
    inputs = {**inputs, "image": inputs["image"].replace("float32", dtype)}
    step = mg.compile(model, inputs, optimizer=mg.Momentum(0.1), backend="numpy")
    check_memory(step.graph, step.compiled.program)
    wanted = ["a.conv2d", "norm.running_mean", "gradient(b.weight)", "a.weight"]
    fetched = mg.compile(model, inputs, optimizer=mg.Momentum(0.1), outputs=wanted, backend="numpy")
    check_memory(fetched.graph, fetched.compiled.program)


def test_a_node_that_nothing_reads_does_not_free_its_place_twice():
    """Without dead-node elimination: tanh may write over exp's value, and both die there."""
    builder = new_builder()
    x = builder.input("x", "float32[1000]")
    values = [mg.exp(x) for _ in range(3)]
    for value in values:
        mg.tanh(value)
    fresh = [mg.exp(x) for _ in range(4)]  # all alive at once, in the places that are free by now
    builder.output("y", mg.reduce_sum(fresh[0] * fresh[1] + fresh[2] * fresh[3]))
    graph = builder.build()
    compiled = finish(graph, load_backend("numpy", 1), Options(passes=()))
    check_memory(compiled.graph, compiled.program)


@pytest.mark.parametrize(
    "last",
    [
        lambda e: mg.transpose(mg.stop_gradient(e)),
        lambda e: mg.leaky_relu(mg.stop_gradient(e)),
        lambda e: e.builder.emit(ReluGrad(), e, mg.stop_gradient(e))[0],
    ],
)
def test_a_view_is_read_where_it_must_not_be_overwritten(last):
    exe = mg.compile(lambda x: {"y": last(mg.exp(x))}, {"x": "float32[40,40]"}, backend="numpy")
    check_memory(exe.graph, exe.compiled.program)


def test_the_checker_finds_a_wrong_plan():
    """Two live values in one place, an operand overwritten, state written early: all are seen."""
    from dataclasses import replace

    step = step_of("lenet")
    program = step.compiled.program
    caught = 0
    for index, current in enumerate(program.steps):
        if current.outputs[0] is None or current.outputs[0].memory.value != "work":
            continue
        for victim in {s.offset for s in current.inputs if s.memory.value == "work"}:
            moved = replace(
                current, outputs=(replace(current.outputs[0], offset=victim), *current.outputs[1:])
            )
            steps = (*program.steps[:index], moved, *program.steps[index + 1 :])
            try:
                check_memory(step.graph, replace(program, steps=steps))
            except AssertionError:
                caught += 1
            else:
                assert current.outputs[0].offset == victim or moved == current
    assert caught > 20
    writer = next(s for s in program.steps if any(o and o.state for o in s.outputs))
    early = (writer, *(s for s in program.steps if s is not writer))
    with pytest.raises(AssertionError):
        check_memory(step.graph, replace(program, steps=early))


# ---- the plan is kept to


@pytest.mark.parametrize("name", MODELS)
def test_the_runner_allocates_what_the_plan_says(name, monkeypatch):
    asked = []
    original = numpy_runner.aligned_empty

    def counting(nbytes):
        asked.append(nbytes + ALIGNMENT)
        return original(nbytes)

    monkeypatch.setattr(numpy_runner, "aligned_empty", counting)
    step = step_of(name)
    runner = step._first.runner
    plan = step.memory
    assert runner.allocated_bytes == plan.work_bytes + plan.cached_bytes == sum(asked)
    assert plan.total_bytes == plan.work_bytes + plan.cached_bytes + plan.state_bytes
    state = sum(aligned(step.state.spec(n).nbytes) + ALIGNMENT for n in step.state)
    assert plan.state_bytes == state


def test_what_numpy_really_allocates():
    """Everything that NumPy allocates at build: the arenas, and scalars of a few KB."""
    step = step_of("unet")  # all modules and tables are loaded now
    program, backend = step.compiled.program, step.backend
    numpy_memory = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
    gc.collect()
    tracemalloc.start()
    try:
        runner = backend.build(program, step.state.store)
        snapshot = tracemalloc.take_snapshot().filter_traces([numpy_memory])
    finally:
        tracemalloc.stop()
    held = sum(trace.size for trace in snapshot.traces)
    planned = program.work_bytes + program.cached_bytes
    assert runner.allocated_bytes == planned
    assert planned <= held < planned + 64 * KILO


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@pytest.mark.parametrize(("name", "steps"), [("small", 1000), ("unet", 200)])
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_hundreds_of_steps_allocate_nothing(name, steps):
    """With out= given: Python's and NumPy's memory within 64 KB of the start, at every moment."""
    step = step_of(name)
    batch, out = batch_of(name), outputs_of(step)
    for _ in range(50):  # warm: threads, BLAS buffers, free lists
        step(**batch, out=out)
    gc.collect()
    resident = resident_bytes()
    tracemalloc.start()
    try:
        step(**batch, out=out)
        tracemalloc.reset_peak()
        start, _ = tracemalloc.get_traced_memory()
        for _ in range(steps):
            step(**batch, out=out)
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    print(f"{name}: peak {peak - start} B, kept {now - start} B, "
          f"resident {resident_bytes() - resident:+} B")  # fmt: skip
    assert peak - start < 64 * KILO
    assert now - start < 16 * KILO
    assert np.isfinite(out["loss"])
    assert resident_bytes() - resident < 2**20 + 2**19


def test_results_without_out_are_fresh():
    step = step_of("small")
    batch = batch_of("small")
    first, second = step(**batch), step(**batch)
    assert not np.shares_memory(first["logits"], second["logits"])
    kept = first["logits"].copy()
    step(**batch)
    np.testing.assert_array_equal(first["logits"], kept)


# ---- limits


def test_a_limit_is_kept_with_smaller_workspaces():
    free = step_of("unet")
    workspace = max(c.algorithm.workspace for c in free.compiled.choices.values())
    assert workspace > 0
    limit = free.memory.total_bytes - ALIGNMENT
    tight = step_of("unet", memory_limit=limit)
    assert tight.memory.total_bytes <= limit
    smaller = max(c.algorithm.workspace for c in tight.compiled.choices.values())
    assert smaller < workspace
    check_memory(tight.graph, tight.compiled.program)
    a, b = free(**batch_of("unet")), tight(**batch_of("unet"))
    assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
    generous = step_of("unet", memory_limit=free.memory.total_bytes)
    assert generous.memory.total_bytes == free.memory.total_bytes


def test_a_limit_that_cannot_be_kept_is_refused_with_names():
    with pytest.raises(MemoryLimitError) as caught:
        step_of("unet", memory_limit=100 * KILO)
    first, *rest = str(caught.value).splitlines()
    assert first.startswith("Expected a plan within 102,400 bytes, got ")
    text = "\n".join(rest)
    assert "work" in text and "state" in text and "fullest at " in text
    assert sum(line.strip().split(" B  ")[-1] in text for line in rest) >= 3
    assert any(name in text for name in ("conv2d", "image", "relu"))


def test_the_peak_is_named():
    plan = step_of("unet").memory
    assert plan.peak_values == tuple(sorted(plan.peak_values, key=lambda pair: -pair[1]))
    assert sum(size for _, size in plan.peak_values) <= plan.work_bytes
    assert plan.peak_step in {step.name for step in plan.schedule.steps}
    assert f"fullest at {plan.peak_step}" in str(plan)


def test_reuse():
    """A chain of many nodes takes the memory of a few."""

    def chain(x):
        for _ in range(50):
            x = mg.softmax(mg.leaky_relu(x))
        return {"y": x}

    exe = mg.compile(chain, {"x": "float32[64,1024]"}, backend="numpy", threads=1)
    assert exe.memory.work_bytes < 4 * 64 * 1024 * 4


def test_elementwise_nodes_work_in_place():
    def chain(x):
        for _ in range(20):
            x = mg.tanh(mg.exp(x))
        return {"y": x}

    exe = mg.compile(chain, {"x": "float32[64,1024]"}, backend="numpy", threads=1)
    assert exe.memory.work_bytes == 64 * 1024 * 4 + ALIGNMENT


def test_updates_are_computed_in_place():
    step = step_of("lenet")
    assert step.memory.commits == () and step.memory.copies == ()
    written = [s.name for s in step.compiled.program.steps for o in s.outputs if o and o.state]
    assert len(written) == len(step.compiled.graph.updates)
