"""Helpers for those who write passes: run a graph, compare graphs, hold a pass to its word.

A test of a pass is a graph before, a graph after, and one call::

    def test_double_negation():
        before = graph_of(lambda x: {"y": -(-x)}, x="float32[4]")
        after = graph_of(lambda x: {"y": x}, x="float32[4]")
        assert_rewrite(remove_double_negation, before, after)

Everything runs through the NumPy backend, without any pass, so that what differs is the pass.
"""

from __future__ import annotations

import difflib
import hashlib
from collections import Counter
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

from minigraph.autodiff import gradient_name, gradients
from minigraph.backend import ALIGNMENT, Memory, Program, Slot, Step, load_backend
from minigraph.compiler import ModelFunction, Options, build_graph, finish
from minigraph.initializers import generator_for
from minigraph.ir.attributes import format_fields
from minigraph.ir.constant import Constant
from minigraph.ir.errors import GradientError
from minigraph.ir.graph import Graph, Node, Value
from minigraph.ir.spec import DType, SpecLike, TensorSpec
from minigraph.ir.tensor import Tensor
from minigraph.ir.verify import verify
from minigraph.ops import new_builder
from minigraph.ops.reduce import reduce_sum
from minigraph.ops.shape import Concat, Slice, Split
from minigraph.passes.pipeline import Pass, pass_name

Arrays = Mapping[str, np.ndarray]


def graph_of(model: ModelFunction, **inputs: SpecLike) -> Graph:
    """The graph of a model function on inputs of these specs, before any pass."""
    return build_graph(model, {name: TensorSpec.of(spec) for name, spec in inputs.items()})


# ---- values


def evaluate(
    graph: Graph, inputs: Arrays, state: Arrays
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Run a graph once, as it is, on the NumPy backend: its outputs, and all state afterwards."""
    backend = load_backend("numpy", 1)
    program = finish(graph, backend, Options(passes=())).program
    store = backend.new_store()
    for name, spec in program.state.items():
        store.create(name, spec, state[name])
    outputs = {n: np.empty(s.spec.shape, s.spec.dtype.numpy) for n, s in program.outputs.items()}
    backend.build(program, store).run(inputs, outputs)
    return outputs, store.read(program.state)


def random_arrays(
    graph: Graph, seed: int = 0
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Random inputs and state of a graph's specs: normal floats, integers and bools of 0 and 1.

    State that has an initialiser and no floating dtype (the random key) starts as it says.
    """
    generator = np.random.default_rng(seed)
    inputs = {value.name: _random(value.spec, generator) for value in graph.inputs}
    state = {}
    for variable in graph.state:
        spec, start = variable.value.spec, graph.initializers.get(variable.name)
        if start is None or spec.dtype.is_floating:
            state[variable.name] = _random(spec, generator)
        else:
            state[variable.name] = start(spec, generator_for(seed, variable.name))
    return inputs, state


def _random(spec: TensorSpec, generator: np.random.Generator) -> np.ndarray:
    if spec.dtype.is_floating:
        return generator.standard_normal(spec.shape).astype(spec.dtype.numpy)
    return generator.integers(0, 2, spec.shape).astype(spec.dtype.numpy)


def with_gradients(graph: Graph, seed: int = 0) -> Graph:
    """The graph with an output ``gradient(name)`` for every floating input and state.

    What is differentiated is the sum of all floating outputs, each times a random cotangent.
    """
    builder = new_builder(graph)
    generator = np.random.default_rng(seed)
    terms: list[Tensor] = []
    for value in graph.outputs.values():
        if value.spec.dtype.is_floating:
            cotangent = builder.constant(_random(value.spec.with_dtype(DType.FLOAT32), generator))
            terms.append(reduce_sum(builder.wrap(value) * cotangent))
    sources = [*graph.inputs, *(state.value for state in graph.state)]
    wrt = [builder.wrap(value) for value in sources if value.spec.dtype.is_floating]
    if terms and wrt:
        loss = terms[0]
        for term in terms[1:]:
            loss = loss + term
        for tensor, gradient in zip(wrt, gradients(loss, wrt), strict=True):
            builder.output(gradient_name(tensor.name), gradient)
    return builder.build()


# ---- structure


def canonical(graph: Graph) -> Hashable:
    """What a graph computes, whatever the order and the names of its nodes.

    Equal for two graphs of the same nodes, each as often, on the same inputs and state.
    """
    keys = {value: f"input {value.name}" for value in graph.inputs}
    keys |= {state.value: f"state {state.name}" for state in graph.state}
    for node in graph.nodes:
        operands = ",".join(keys[value] for value in node.inputs)
        text = f"{node.op.name}({format_fields(node.op)})({operands})"
        digest = hashlib.sha256(text.encode()).hexdigest()
        keys |= {value: f"{digest}:{index}" for index, value in enumerate(node.outputs)}
    return (
        tuple((value.name, value.spec) for value in graph.inputs),
        frozenset((state.name, state.value.spec, state.role) for state in graph.state),
        frozenset(Counter(keys[node.outputs[0]] for node in graph.nodes).items()),
        frozenset((name, keys[value]) for name, value in graph.outputs.items()),
        frozenset((name, keys[value]) for name, value in graph.updates.items()),
    )


def assert_same_structure(got: Graph, expected: Graph, what: str = "the graph") -> None:
    """Raise AssertionError with a diff of the texts unless both have the same nodes."""
    if canonical(got) != canonical(expected):
        diff = difflib.unified_diff(
            str(expected).splitlines(), str(got).splitlines(), "expected", "got", lineterm=""
        )
        raise AssertionError(f"{what} is not as expected:\n" + "\n".join(diff))


# ---- passes


def assert_rewrite(
    pass_: Pass,
    before: Graph,
    after: Graph,
    *,
    tolerance: float = 0.0,
    values: bool = True,
    idempotent: bool = True,
    inputs: Arrays | None = None,
    seed: int = 0,
) -> Graph:
    """Hold a pass to its word on one graph, and return what it made of it.

    The result must have the structure of ``after`` (order and names of nodes aside) and must
    verify; every node must know where the user built it, where the nodes before did; a second
    application must change nothing (``idempotent``). With ``values`` (which a pass that changes
    the interface cannot keep), outputs and new state are equal on random inputs: to the last bit,
    or within ``tolerance`` (relative to each array's largest element). The same holds for the
    pass applied to the graph *with its gradients* with respect to all floating inputs and state,
    and for the gradients of the result, where its ops have some. ``inputs`` gives arrays where
    random ones will not do. Raises AssertionError.
    """
    name = pass_name(pass_)
    verify(before)
    verify(after)
    result = verify(pass_(before))
    assert_same_structure(result, after, f"the graph after {name}")
    _assert_located(before, result, name)
    if idempotent:
        assert_same_structure(pass_(result), result, f"the graph after {name} twice")
    if values:
        arrays, state = random_arrays(before, seed)
        arrays |= dict(inputs or {})
        expected = evaluate(before, arrays, state)
        _assert_close(evaluate(result, arrays, state), expected, tolerance, f"after {name}")
        joint = with_gradients(before, seed)
        expected = evaluate(joint, arrays, state)
        got = evaluate(verify(pass_(joint)), arrays, state)
        _assert_close(got, expected, tolerance, f"with gradients, after {name}")
        if (differentiated := _differentiated(result, seed)) is not None:
            got = evaluate(differentiated, arrays, state)
            _assert_close(got, expected, max(tolerance, 1e-5), f"gradients of what {name} made")
    return result


def assert_unchanged(pass_: Pass, graph: Graph, **options: Any) -> None:
    """A pass must leave this graph alone; the options are those of ``assert_rewrite``."""
    assert_rewrite(pass_, graph, graph, **options)


def _differentiated(graph: Graph, seed: int) -> Graph | None:
    try:
        return with_gradients(graph, seed)
    except GradientError:  # ops that only passes create have none
        return None


def _assert_located(before: Graph, after: Graph, name: str) -> None:
    if not all(before.locations.get(value) for node in before.nodes for value in node.outputs):
        return
    for node in after.nodes:
        for value in node.outputs:
            if not after.locations.get(value):
                raise AssertionError(f"{name} lost the user's lines of: {node}")


def _assert_close(
    got: tuple[Arrays, Arrays], expected: tuple[Arrays, Arrays], tolerance: float, what: str
) -> None:
    for kind, ours, theirs in zip(("output", "state"), got, expected, strict=True):
        if ours.keys() != theirs.keys():
            raise AssertionError(f"{what}: {kind}s are {list(ours)}, not {list(theirs)}")
        for name, reference in theirs.items():
            if not _close(ours[name], reference, tolerance):
                raise AssertionError(
                    f"{what}: {kind} {name!r} is {ours[name]}, not {reference} "
                    f"(tolerance {tolerance})"
                )


def _close(a: np.ndarray, b: np.ndarray, tolerance: float) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if tolerance == 0.0 or a.dtype.kind in "biu":
        same = (a == b) & (np.signbit(a) == np.signbit(b)) if a.dtype.kind not in "biu" else a == b
        return bool(np.all(same | ((a != a) & (b != b))))
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    scale = float(np.max(np.abs(wide_b), initial=0.0, where=np.isfinite(wide_b)))
    return np.allclose(wide_a, wide_b, rtol=0.0, atol=tolerance * scale, equal_nan=True)


# ---- memory plans


def check_memory(graph: Graph, program: Program) -> None:
    """Prove a program's memory plan by running it on labels instead of numbers.

    Every byte of the work and cached memory, and every state variable, carries the label of the
    value that was last written to it. Each step must find its operands whole; it may write its
    outputs over operands only as its algorithm says; workspaces and outputs must not
    overlap; no state may change before every step that may refuse has run; at the end all outputs
    and all new state must be there. Raises AssertionError that names the step. This shares no
    code with the planner.
    """
    _Replay(graph, program).check()


class _Replay:
    def __init__(self, graph: Graph, program: Program) -> None:
        self.graph = graph
        self.program = program
        self.run = {step.name for step in (*program.cached_steps, *program.steps)}
        self.nodes = {node.name: node for node in graph.nodes}
        self.labels = _Labels(program)
        self.expected: dict[Value, np.ndarray] = {}  # what each element's label must be
        for value in graph.inputs:
            self.expected[value] = self.labels.new(f"input {value.name}", value.spec)
        for state in graph.state:
            self.expected[state.value] = self.labels.new(f"old {state.name}", state.value.spec)
            self.labels.state[state.name] = self.expected[state.value]
        for node in graph.nodes:
            self.expect_outputs(node)

    def expect_outputs(self, node: Node) -> None:
        """A node that is run makes new labels; else its outputs are what its inputs are."""
        if node.name in self.run or isinstance(node.op, Constant):
            for value in node.outputs:
                self.expected[value] = self.labels.new(value.name, value.spec)
            return
        sources = [self.expected[value] for value in node.inputs]
        if isinstance(node.op, Concat):
            results = [np.concatenate(sources, node.op.axis)]
        elif isinstance(node.op, Split):
            edges = np.cumsum(node.op.sizes)[:-1]
            results = np.split(sources[0], edges, node.op.axis)
        elif isinstance(node.op, Slice):
            results = [sources[0][tuple(slice(*parts) for parts in node.op.slices)]]
        else:
            assert node.op.is_view, f"{node} is not run"
            results = [sources[0].reshape(node.outputs[0].spec.shape)]
        self.expected.update(zip(node.outputs, results, strict=True))

    def check(self) -> None:
        program, labels, expected = self.program, self.labels, self.expected
        constants = [node for node in self.graph.nodes if type(node.op) is Constant]
        for node, (slot, _) in zip(constants, program.constants, strict=True):
            labels.write(slot, expected[node.outputs[0]])
        self.run_steps(program.cached_steps)
        for value in self.graph.inputs:
            labels.write(program.inputs[value.name], expected[value])
        self.run_steps(program.steps)
        for name, value in self.graph.outputs.items():
            labels.expect(program.outputs[name], expected[value], f"output {name}")
        for commit in program.commits:
            labels.state[commit.state] = labels.read(commit.source).copy()
        for name in program.state:
            old = self.graph.state_by_name[name].value
            labels.compare(
                labels.state[name], expected[self.graph.updates.get(name, old)], f"state {name}"
            )

    def run_steps(self, steps: tuple[Step, ...]) -> None:
        last_refusal = max((i for i, step in enumerate(steps) if step.op.may_refuse), default=-1)
        labels = self.labels
        for position, step in enumerate(steps):
            if step.name == "copy":  # an old state that a commit needs
                (source,), (target,) = step.inputs, step.outputs
                assert target is not None
                labels.write(target, labels.read(source).copy())
                continue
            node = self.nodes[step.name]
            for value, slot in zip(node.inputs, step.inputs, strict=True):
                labels.expect(slot, self.expected[value], step.name)
            scratch = (step.workspace, step.prepared)
            written = [slot for slot in (*step.outputs, *scratch) if slot is not None]
            _check_apart(step, written)
            if position <= last_refusal and any(s.memory is Memory.STATE for s in written):
                raise AssertionError(f"{step.name} writes state before every label is checked")
            for place in scratch:
                if place is not None:
                    labels.write(place, labels.new(f"workspace of {step.name}", place.spec))
            for value, target in zip(node.outputs, step.outputs, strict=True):
                if target is not None:
                    labels.write(target, self.expected[value])


class _Labels:
    """What was last written to each byte of memory, and to each state variable."""

    def __init__(self, program: Program) -> None:
        self.names = ["nothing"]
        sizes = {Memory.WORK: program.work_bytes, Memory.CACHED: program.cached_bytes}
        self.bytes = {kind: np.zeros(size - ALIGNMENT, np.int32) for kind, size in sizes.items()}
        self.state: dict[str, np.ndarray] = {}

    def new(self, name: str, spec: TensorSpec) -> np.ndarray:
        self.names.append(name)
        return np.full(spec.shape, len(self.names) - 1, np.int32)

    def write(self, slot: Slot, labels: np.ndarray) -> None:
        if slot.memory is Memory.STATE:
            self.state[slot.state] = labels
        else:
            self.view(slot)[...] = labels[..., None]

    def read(self, slot: Slot) -> np.ndarray:
        if slot.memory is Memory.STATE:
            return self.state[slot.state].reshape(slot.spec.shape)
        found = self.view(slot)
        assert (found == found[..., :1]).all(), f"{slot} is cut through"
        return found[..., 0]

    def expect(self, slot: Slot, labels: np.ndarray, where: str) -> None:
        self.compare(self.read(slot), labels, where)

    def compare(self, found: np.ndarray, expected: np.ndarray, where: str) -> None:
        if not np.array_equal(found, expected):
            first = np.unravel_index(np.argmax(found != expected), found.shape)
            needed, there = self.names[expected[first]], self.names[found[first]]
            raise AssertionError(f"{where} needs {needed!r} and finds {there!r} in its place")

    def view(self, slot: Slot) -> np.ndarray:
        """The labels of a slot's bytes: its shape, and one more axis for an element's bytes."""
        itemsize = slot.spec.dtype.itemsize
        memory = self.bytes[slot.memory]
        end = slot.offset + _extent(slot)
        assert slot.offset % itemsize == 0 and end <= memory.size, f"{slot} is outside of its arena"
        steps = tuple(step * itemsize * memory.itemsize for step in slot.strides)
        shape = (*slot.spec.shape, itemsize)
        return np.ndarray(
            shape, np.int32, memory, slot.offset * memory.itemsize, (*steps, memory.itemsize)
        )


def _check_apart(step: Step, written: list[Slot]) -> None:
    """No two places that a step writes overlap, and none an operand but as the algorithm allows."""
    for index, slot in enumerate(written):
        for other in written[index + 1 :]:
            if _overlap(slot, other):
                raise AssertionError(f"{step.name} writes two things to one place")
        for position, operand in enumerate(step.inputs):
            if not _overlap(slot, operand):
                continue
            exact = (slot.offset, slot.spec, slot.strides) == (
                operand.offset, operand.spec, operand.strides
            )  # fmt: skip
            allowed = position in step.algorithm.overwrites
            if not (exact and allowed and any(slot is output for output in step.outputs)):
                raise AssertionError(f"{step.name} writes over its operand {position}")


def _overlap(a: Slot, b: Slot) -> bool:
    if a.memory is not b.memory or not a.spec.nbytes or not b.spec.nbytes:
        return False
    if a.memory is Memory.STATE:
        return a.state == b.state
    if a.strides == b.strides and a.spec.ndim == 4:  # side by side within the pixels of one image
        pixel = min(stride for stride in a.strides if stride > 1) * a.spec.dtype.itemsize
        first, second = a.offset % pixel, b.offset % pixel
        width = a.spec.dtype.itemsize
        apart = (
            first + a.spec.shape[1] * width <= second or second + b.spec.shape[1] * width <= first
        )
        if apart:
            return False
    return a.offset < b.offset + _extent(b) and b.offset < a.offset + _extent(a)


def _extent(slot: Slot) -> int:
    """Bytes from a slot's first element to behind its last."""
    if slot.spec.size == 0:
        return 0
    reach = sum((n - 1) * step for n, step in zip(slot.spec.shape, slot.strides, strict=True))
    return (reach + 1) * slot.spec.dtype.itemsize
