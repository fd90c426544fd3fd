"""What a user calls: shapes, fetches, clones, shared state, the same bits every time."""

from __future__ import annotations

import itertools
import logging
import threading

import numpy as np
import pytest

import minigraph as mg
from minigraph.backends.numpy import runner as numpy_runner
from minigraph.ir.errors import BuilderError, UnsupportedError
from minigraph.testing import check_memory


def network(image, label):
    x = mg.relu(mg.batch_norm(mg.conv2d(image, 4, 3, padding=1, name="conv"), name="norm"))
    x = mg.dropout(x, 0.2, name="drop")
    logits = mg.conv2d(x, 3, 1, name="head")
    return {"loss": mg.softmax_cross_entropy(logits, label), "logits": logits}


SPECS = {"image": "float32[4,2,8,8]", "label": "uint8[4,8,8]"}


def training(model=network, specs=SPECS, **options):
    options = {"optimizer": mg.Momentum(0.1), "backend": "numpy", "threads": 1, **options}
    return mg.compile(model, specs, **options)


def batch(n=4, h=8, w=8, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "image": rng.standard_normal((n, 2, h, w)).astype(np.float32),
        "label": rng.integers(0, 3, (n, h, w)).astype(np.uint8),
    }


def bits(state):
    return {name: state[name].tobytes() for name in state}


# ---- shapes


def test_a_short_last_batch_and_another_size():
    step = training()
    weights = step.state["conv.weight"].shape
    for n, h, w in [(4, 8, 8), (1, 8, 8), (3, 12, 6), (4, 8, 8)]:
        got = step(**batch(n, h, w))
        assert got["logits"].shape == (n, 3, h, w) and got["loss"].shape == ()
    assert step.state["conv.weight"].shape == weights
    assert step.state["random.key"][1] == 4  # every call was a step on the same state


def test_other_shapes_compute_the_same():
    """A step on a short batch is the step of an executable that was compiled for it."""
    wide, narrow = (
        training(),
        training(specs={"image": "float32[3,2,8,8]", "label": "uint8[3,8,8]"}),
    )
    wide(**batch())
    for name in wide.state:
        if name in narrow.state:
            narrow.state[name] = wide.state[name]
    a, b = wide(**batch(3, seed=1)), narrow(**batch(3, seed=1))
    np.testing.assert_array_equal(a["logits"], b["logits"])
    assert bits(wide.state) == bits(narrow.state)


def test_the_model_function_is_run_again():
    """Python arithmetic on shapes is right at every shape."""

    def model(x):
        half = x.shape[0] // 2
        return {"y": x[:half] * float(x.shape[1]), "kind": x * (1.0 if x.shape[1] > 2 else -1.0)}

    exe = mg.compile(model, {"x": "float32[4,2]"}, backend="numpy")
    assert exe(x=np.ones((4, 2), np.float32))["y"].tolist() == [[2, 2], [2, 2]]
    got = exe(x=np.ones((6, 3), np.float32))
    assert got["y"].shape == (3, 3) and (got["y"] == 3).all() and (got["kind"] == 1).all()


def test_an_input_that_is_not_asked_for_follows_the_others():
    predict = mg.compile(network, SPECS, outputs=["logits"], backend="numpy")
    assert list(predict.inputs) == ["image"]
    assert predict(image=batch(1)["image"])["logits"].shape == (1, 3, 8, 8)
    assert predict(image=batch(2, 12, 16)["image"])["logits"].shape == (2, 3, 12, 16)
    assert predict(image=batch(3, 8, 4)["image"])["logits"].shape == (3, 3, 8, 4)


def test_specialisations_are_kept_and_the_oldest_goes(caplog):
    exe = mg.compile(lambda x: {"y": x * 2.0}, {"x": "float32[1]"}, backend="numpy")
    caplog.set_level(logging.INFO, logger="minigraph")

    def compilations(*sizes):
        caplog.clear()
        for size in sizes:
            exe(x=np.zeros(size, np.float32))
        return len(caplog.records)

    assert compilations(1, 1) == 0
    assert compilations(2, 3, 4) == 3
    assert compilations(2, 3, 4, 1) == 0
    assert compilations(5) == 1  # 2 goes: the others were used after it
    assert compilations(1, 4, 3, 5) == 0
    assert compilations(2) == 1  # 4 goes: 1 is older, but the first one stays
    assert compilations(3, 5, 2, 1) == 0
    assert compilations(4) == 1


def test_a_shape_that_the_model_does_not_take():
    conv = mg.compile(
        lambda x: {"y": mg.conv2d(x, 2, 5, name="c")}, {"x": "float32[1,1,8,8]"}, backend="numpy"
    )
    with pytest.raises(mg.InputError) as caught:
        conv(x=np.zeros((1, 1, 4, 8), np.float32))
    first, second, *_ = str(caught.value).splitlines()
    assert first == "The model does not take x: float32[1,1,4,8]"
    assert second.startswith("Expected an input of at least 5")
    assert conv(x=np.zeros((1, 1, 8, 8), np.float32))["y"].shape == (1, 2, 4, 4)
    dense = mg.compile(
        lambda x: {"y": mg.dense(mg.flatten(x), 2, name="d")}, {"x": "float32[2,3]"},
        backend="numpy",
    )  # fmt: skip
    with pytest.raises(mg.StateError, match="must not change it"):
        dense(x=np.zeros((2, 4), np.float32))
    assert dense(x=np.zeros((2, 3), np.float32))["y"].shape == (2, 2)


# ---- fetching


def test_fetches():
    step = training()
    plain = training()
    got = step(**batch(), fetch=["gradient(conv.weight)", "norm.running_mean", "conv.conv2d"])
    plain(**batch())
    assert list(got) == [
        "loss", "logits", "gradient(conv.weight)", "norm.running_mean", "conv.conv2d",
    ]  # fmt: skip
    assert got["gradient(conv.weight)"].shape == (4, 2, 3, 3)
    assert not got["norm.running_mean"].any()  # the old one
    assert bits(step.state) == bits(plain.state)  # watching changes nothing
    assert list(step(**batch())) == ["loss", "logits"]


def test_fetched_gradient_is_right():
    step = training(optimizer=mg.SGD(1.0))
    before = step.state["head.bias"]
    gradient = step(**batch(), fetch=["gradient(head.bias)"])["gradient(head.bias)"]
    np.testing.assert_array_equal(step.state["head.bias"], before - gradient)


def test_a_fetched_value_is_logged(caplog):
    caplog.set_level(logging.INFO, logger="minigraph")
    training()(**batch(), fetch=["conv.conv2d"])
    assert "conv.conv2d" in caplog.text and "image: float32[4,2,8,8]" in caplog.text


def test_unknown_fetches_suggest_names():
    step = training()
    with pytest.raises(BuilderError, match=r"got 'gradient\(conv.weigth\)': did you mean grad"):
        step(**batch(), fetch=["gradient(conv.weigth)"])


def test_a_fetch_that_needs_another_input_asks_for_it():
    predict = mg.compile(network, SPECS, outputs=["logits"], backend="numpy")
    with pytest.raises(mg.InputError, match=r"missing: label"):
        predict(image=batch()["image"], fetch=["loss"])
    assert np.isfinite(predict(**batch(), fetch=["loss"])["loss"])


def test_outputs_are_chosen_when_compiling():
    exe = training(outputs=["loss", "gradient(head.weight)"])
    assert list(exe(**batch())) == ["loss", "gradient(head.weight)"]
    with pytest.raises(BuilderError, match="did you mean logits"):
        mg.compile(network, SPECS, outputs=["logit"], backend="numpy")


# ---- inputs and outputs


def test_inputs_are_copied_in():
    exe = mg.compile(lambda x: {"y": x}, {"x": "float32[3]"}, backend="numpy")
    x = np.arange(3, dtype=np.float32)
    y = exe(x=x)["y"]
    x[:] = 9
    assert y.tolist() == [0, 1, 2]
    buffer = np.arange(3, dtype=np.float32)
    double = mg.compile(lambda x: {"y": x * 2.0}, {"x": "float32[3]"}, backend="numpy")
    double(x=buffer, out={"y": buffer})  # the same array in and out
    assert buffer.tolist() == [0, 2, 4]


def test_strided_inputs_and_outputs():
    exe = mg.compile(lambda x: {"y": x * 2.0}, {"x": "float32[3,4]"}, backend="numpy")
    x = np.arange(24, dtype=np.float32).reshape(4, 6).T[::2]
    out = np.zeros((4, 3), np.float32).T
    got = exe(x=x, out={"y": out})
    assert got["y"] is out
    np.testing.assert_array_equal(out, x * 2)


def test_casts_without_loss():
    exe = mg.compile(lambda x: {"y": x}, {"x": "float32[2]"}, backend="numpy")
    for array in (np.array([1, 2], np.uint8), np.array([1, 2], np.float16), [1.0, 2.0], [1, 2],
                  np.array([1.0, 2.0])):  # fmt: skip
        assert exe(x=array)["y"].tolist() == [1, 2]
    integers = mg.compile(lambda x: {"y": x}, {"x": "uint8[2]"}, backend="numpy")
    assert integers(x=np.array([0, 255], np.int64))["y"].tolist() == [0, 255]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": np.zeros(2), "z": 1}, r"Expected the inputs x: float32\[2,3\].*unknown: z"),
        ({}, r"Expected the inputs x: float32\[2,3\], got none \(missing: x\)"),
        ({"x": np.zeros(6)}, r"Expected 2 axes for 'x' \(float32\[2,3\]\), got shape \[6\]"),
        ({"x": np.full((2, 3), 2**24 + 1)}, r"got int64: the cast would lose values"),
        ({"x": np.zeros((2, 3), np.complex64)}, r"got complex64"),
        ({"x": [["a", "b", "c"]] * 2}, r"Expected float32\[2,3\] for 'x', got <U1"),
        ({"x": [[1.0, 2.0], [3.0]]}, r"Expected an array for 'x', got a list that gives none"),
        ({"x": None}, r"Expected 2 axes for 'x'"),
    ],
)  # fmt: skip
def test_wrong_inputs(arguments, message):
    exe = mg.compile(lambda x: {"y": x * 2.0}, {"x": "float32[2,3]"}, backend="numpy")
    with pytest.raises(mg.InputError, match=message):
        exe(**arguments)


def test_integers_that_do_not_fit():
    exe = mg.compile(lambda x: {"y": x}, {"x": "uint8[2]"}, backend="numpy")
    with pytest.raises(mg.InputError, match=r"got int64 with values from -1 to 300"):
        exe(x=np.array([-1, 300]))
    with pytest.raises(mg.InputError, match="got float32"):
        exe(x=np.array([1.0, 2.0], np.float32))


def test_wrong_out():
    exe = mg.compile(lambda x: {"y": x * 2.0}, {"x": "float32[2]"}, backend="numpy")
    x = np.zeros(2, np.float32)
    locked = np.zeros(2, np.float32)
    locked.flags.writeable = False
    for out, message in (
        ({"z": x}, r"Expected an output of y in out=, got 'z'"),
        ({"y": np.zeros(3, np.float32)}, r"Expected float32\[2\] for out\['y'\], got float32\[3\]"),
        ({"y": np.zeros(2)}, r"got float64\[2\]"),
        ({"y": [0.0, 0.0]}, r"Expected an array for out\['y'\], got list"),
        ({"y": locked}, r"read-only"),
    ):
        with pytest.raises(mg.InputError, match=message):
            exe(x=x, out=out)


def test_names_of_inputs_that_a_call_could_not_take():
    with pytest.raises(BuilderError, match="got out"):
        mg.compile(lambda out: {"y": out}, {"out": "float32[2]"}, backend="numpy")


def test_illegal_labels_are_named_with_their_place():
    labels = np.zeros((4, 8, 8), np.uint8)
    labels[2, 5, 7] = 9
    with pytest.raises(mg.IllegalLabelError) as caught:
        training()(image=batch()["image"], label=labels)
    text = str(caught.value)
    assert text.startswith(
        "Expected a label in [0, 3), or void 255, got 9 in image 2 at [5, 7] of the batch"
    )
    assert "in CrossEntropy" in text and "no state was changed" in text
    assert f"at {__file__}:{network.__code__.co_firstlineno + 4} in network" in text


def test_backends_by_name():
    with pytest.raises(UnsupportedError, match=r"installed: .*numpy.*, got 'nimpy'"):
        mg.compile(lambda x: {"y": x}, {"x": "float32[2]"}, backend="nimpy")


# ---- clones and shared state


def test_clones_share_state_and_no_memory():
    step = training()
    clone = step.clone()
    assert clone.state is step.state
    step(**batch())
    clone(**batch())
    assert step.state["random.key"][1] == 2
    a, b = step.compiled.program, clone.compiled.program
    assert a.work_bytes == b.work_bytes
    assert step._first.runner is not clone._first.runner


def test_clones_run_at_once_in_threads():
    predict = mg.compile(network, SPECS, outputs=["logits"], backend="numpy", threads=2)
    expected = {seed: predict(image=batch(seed=seed)["image"])["logits"] for seed in range(4)}
    before = [lib.num_threads for lib in numpy_runner.ONE_BLAS_THREAD._libraries]
    wrong = []

    def work(exe, seed):
        for _ in range(30):
            got = exe(image=batch(seed=seed)["image"])["logits"]
            if not np.array_equal(got, expected[seed]):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(predict.clone(), seed)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    after = [lib.num_threads for lib in numpy_runner.ONE_BLAS_THREAD._libraries]
    assert after == before  # the process's BLAS threads are as they were


def test_blas_threads_are_restored_by_the_last_of_overlapping_runs():
    guard = numpy_runner._OneBlasThread()
    libraries = guard._libraries
    before = [library.num_threads for library in libraries]
    try:
        for library in libraries:
            library.set_num_threads(2)
        with guard:
            with guard:
                assert {library.num_threads for library in libraries} <= {1}
            assert {library.num_threads for library in libraries} <= {1}
        assert {library.num_threads for library in libraries} <= {2}
    finally:
        for library, count in zip(libraries, before, strict=True):
            library.set_num_threads(count)


def test_inference_follows_training():
    """Cached parts (packed weights, folded scales) are made again for every state."""
    step = training()
    predict = mg.compile(
        network, SPECS, outputs=["logits"], backend="numpy", threads=1, state=step.state
    )
    assert predict.compiled.program.cached_reads_state
    image = batch()["image"]

    def fresh():
        return mg.compile(
            network, SPECS, outputs=["logits"], backend="numpy", threads=1, state=step.state
        )(image=image)["logits"]

    seen = []
    for number in range(3):
        seen.append(predict(image=image)["logits"])
        np.testing.assert_array_equal(seen[-1], fresh())
        step(**batch(seed=number))
    step.state["norm.running_var"] = np.full(4, 9.0)
    seen.append(predict(image=image)["logits"])
    np.testing.assert_array_equal(seen[-1], fresh())
    step.state["head.weight"] = np.zeros((3, 4, 1, 1))
    step.state["head.bias"] = [1.0, 2.0, 3.0]
    seen.append(predict(image=image)["logits"])
    assert (seen[-1] == np.array([1, 2, 3], np.float32).reshape(1, 3, 1, 1)).all()
    for a, b in itertools.pairwise(seen):
        assert not np.array_equal(a, b)


def test_cached_parts_are_not_made_twice():
    predict = mg.compile(
        lambda x: {"y": x * mg.tanh(mg.parameter(x, "w", (3,), mg.initializers.Constant(1.0)))},
        {"x": "float32[3]"}, backend="numpy",
    )  # fmt: skip
    runner = predict._first.runner
    calls = []
    runner._cached = [lambda call=call: (calls.append(1), call()) for call in runner._cached]
    x = np.ones(3, np.float32)
    predict(x=x)
    predict(x=x)
    assert len(calls) == 1
    predict.state["w"] = np.zeros(3)
    assert not predict(x=x)["y"].any() and len(calls) == 2


def test_a_schedule_does_not_recompile():
    step = training(optimizer=mg.SGD(0.1))
    step(**batch())
    first = step._first.runner
    step.state["optimizer.learning_rate"] = 0.0
    before = step.state["conv.weight"]
    step(**batch())
    np.testing.assert_array_equal(step.state["conv.weight"], before)
    assert step._first.runner is first and len(step._known) == 1


# ---- the same bits


def losses(threads, steps=4):
    step = training(
        threads=threads, specs={"image": "float32[8,2,24,24]", "label": "uint8[8,24,24]"}
    )
    found = [step(**batch(8, 24, 24, seed=i))["loss"].tobytes() for i in range(steps)]
    return found, bits(step.state)


def test_the_same_bits_from_run_to_run():
    assert losses(2) == losses(2)


@pytest.mark.parametrize("threads", [2, 3])
def test_the_same_bits_whatever_the_threads(threads):
    assert losses(threads) == losses(1)


def test_seeds():
    a, b, c = training(seed=1), training(seed=1), training(seed=2)
    assert bits(a.state) == bits(b.state)
    assert a.state["conv.weight"].tobytes() != c.state["conv.weight"].tobytes()


def test_a_layer_more_changes_no_other_layers_start():
    def longer(image, label):
        mg.conv2d(image, 2, 1, name="extra")
        return network(image, label)

    a, b = training(), training(longer)
    for name in a.state:
        if name.startswith(("conv", "head")):
            np.testing.assert_array_equal(a.state[name], b.state[name])


# ---- looking


def test_profile():
    step = training()
    profile = step.profile(**batch(), runs=3)
    steps = step.compiled.program.steps
    assert [row.name for row in profile] == [current.name for current in steps]
    assert sum(row.share for row in profile) == pytest.approx(1.0)
    assert profile.runs == 3 and profile.seconds > 0
    by_name = {row.name: row for row in profile}
    head = next(row for name, row in by_name.items() if "Conv2d" in row.op and "head" in name)
    assert head.flops >= 2 * 4 * 8 * 8 * 4 * 3 and head.bytes > 0 and head.flops_per_second > 0
    table = profile.table(5)
    assert len(table.splitlines()) == 7 and "GFLOP/s" in table and "median of 3 runs" in table
    assert step.state["random.key"][1] == 4  # warm-up and three runs, each a training step


def test_explain():
    step = training()
    text = step.explain()
    for name in ("eliminate_dead_nodes", "fold_constants", "merge_common_nodes", "FuseEpilogue"):
        assert f"  {name}: " in text
    for line in str(step.memory).splitlines():
        assert line in text
    chosen = [n for n in step.graph.nodes if n in step.compiled.choices]
    several = [n for n in chosen if step.compiled.choices[n].rejected]
    assert several
    for node in several:
        algorithm = step.compiled.choices[node].algorithm.name
        assert f"{node.name} ({node.op.name}): {algorithm}; not " in text


def test_an_error_budget_excludes_algorithms():
    specs = {"x": "float32[2,16,32,32]"}
    model = lambda x: {"y": mg.conv2d(x, 16, 3, padding=1, name="c")}  # noqa: E731
    loose = mg.compile(model, specs, backend="numpy", max_relative_error=1.0)
    tight = mg.compile(model, specs, backend="numpy", max_relative_error=1e-12)
    for exe in (loose, tight):
        check_memory(exe.graph, exe.compiled.program)
    (choice,) = [c for c in tight.compiled.choices.values() if c.rejected]
    exact = min(a.relative_error for a, _ in choice.rejected)
    assert choice.algorithm.relative_error <= exact
    assert "over the budget 1.0e-12" in tight.explain()
    x = np.random.default_rng(0).standard_normal((2, 16, 32, 32)).astype(np.float32)
    np.testing.assert_allclose(loose(x=x)["y"], tight(x=x)["y"], rtol=1e-3, atol=1e-3)


def test_no_passes_and_all_passes_agree():
    plain, passed = training(passes=()), training()
    assert not plain.compiled.reports
    for number in range(3):
        a, b = plain(**batch(seed=number)), passed(**batch(seed=number))
        np.testing.assert_allclose(a["logits"], b["logits"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["int64", "uint64"])
@pytest.mark.parametrize(("dtype", "bits"), [("float16", 11), ("float32", 24), ("float64", 53)])
def test_wide_integers_become_floats_exactly_or_not_at_all(kind, dtype, bits):
    exe = mg.compile(lambda x: {"y": x}, {"x": f"{dtype}[2]"}, backend="numpy")
    exact = 2**bits + 2
    assert exe(x=np.array([exact, 2**bits - 1], kind))["y"].tolist() == [exact, 2**bits - 1]
    most = np.iinfo(kind).max
    for lost in (2**bits + 1, most, most - 1):
        with pytest.raises(mg.InputError, match=f"got {kind}: the cast would lose values"):
            exe(x=np.array([0, lost], kind))


def test_the_most_negative_integer_is_a_power_of_two_and_fits():
    exe = mg.compile(lambda x: {"y": x}, {"x": "float32[1]"}, backend="numpy")
    assert exe(x=np.array([-(2**63)]))["y"].tolist() == [-(2.0**63)]
    with pytest.raises(mg.InputError, match="would lose values"):
        exe(x=np.array([-(2**63) + 1]))
