"""The text form: whole graphs round-trip, and hostile texts end in ParseError alone."""

from __future__ import annotations

import math
import random
import string
from dataclasses import dataclass

import numpy as np
import pytest

import minigraph as mg
from minigraph.ir import Op, Role, TensorSpec, parse, verify
from minigraph.ir.constant import Constant, Full
from minigraph.ir.errors import ParseError
from minigraph.ops import TEXT_CLASSES, new_builder
from minigraph.ops.conv import Conv2d
from minigraph.ops.fused import Body, Fused, Instruction
from minigraph.ops.pool import MaxPool2d
from minigraph.ops.shape import Pad, Slice
from minigraph.testing import evaluate, graph_of, random_arrays


def round_trip(graph):
    again = parse(str(graph), TEXT_CLASSES, graph.constants)
    assert str(again) == str(graph)
    assert again == graph
    return again


def training_step(optimizer):
    def model(image, label):
        x = mg.conv2d(image, 4, 3, padding="same", stride=2, name="a")
        x = mg.leaky_relu(mg.batch_norm(x, name="norm"), 0.2)
        x = mg.max_pool2d(mg.dropout(x, 0.25), 2)
        x = mg.conv_transpose2d(x, 4, 2, stride=2, name="up")
        x = mg.concat([x, mg.avg_pool2d(image, 2)[:, :, :, ::1]])
        x = mg.relu(mg.conv2d(x, 4, 1, groups=1, name="b"))
        logits = mg.dense(mg.flatten(x), 3, name="d")
        weights = np.array([1.0, 2.0, 0.5], np.float32)
        loss = mg.softmax_cross_entropy(logits, label, void_label=None, class_weights=weights)
        return {"loss": loss, "guess": mg.argmax(logits)}

    return mg.compile(
        model, {"image": "float32[2,2,8,8]", "label": "int64[2]"}, optimizer=optimizer,
        backend="numpy",
    )  # fmt: skip


@pytest.mark.parametrize(
    "optimizer", [mg.SGD(0.1), mg.Momentum(0.1), mg.AdaGrad(0.1), mg.Adam(0.1)]
)
def test_whole_training_graphs(optimizer):
    step = training_step(optimizer)
    for graph in (step.compiled.built, step.graph):
        again = round_trip(graph)
        assert list(again.outputs) == list(graph.outputs)
        assert [(s.name, s.role) for s in again.state] == [(s.name, s.role) for s in graph.state]
        assert again.updates.keys() == graph.updates.keys() and graph.constants
    assert any(isinstance(node.op, Fused) for node in step.graph.nodes)
    assert {state.role for state in step.graph.state} >= {
        Role.PARAMETER, Role.STATISTIC, Role.RANDOM, Role.SCALAR,
    }  # fmt: skip


def test_what_is_read_computes_the_same():
    graph = training_step(mg.Momentum(0.1)).graph
    again = round_trip(graph)
    inputs, state = random_arrays(graph)
    a, b = evaluate(graph, inputs, state), evaluate(again, inputs, state)
    for ours, theirs in zip(a, b, strict=True):
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name])


@pytest.mark.parametrize(
    "op",
    [
        Full(-0.0), Full(math.inf), Full(-math.inf), Full(math.nan), Full(1e-45),
        Full(0.1, (), "float64"),
        Full(True, (2,), "bool"), Full(-7, (), "int64"),
        MaxPool2d((2, 3), (1, 2), ((0, 1), (1, 1))),
        Slice(((None, None, 2), (1, -1, None))),
        Pad((0, 1), (2, 0), (0, 0), -math.inf),
    ],
    ids=str,
)  # fmt: skip
def test_attributes(op):
    builder = new_builder()
    x = builder.input("x", "float32[5,6]")
    image = builder.input("image", "float32[1,1,8,8]")
    operand = {Full: (), MaxPool2d: (image,)}.get(type(op), (x,))
    for index, tensor in enumerate(builder.emit(op, *operand)):
        builder.output(f"out{index}", tensor)
    again = round_trip(builder.build())
    assert repr(again.nodes[0].op) == repr(op)


def test_numpy_numbers_print_as_numbers():
    builder = new_builder()
    x = builder.input("x", "float32[5,6]")
    y = mg.reduce_sum(mg.pad(x, [(np.int64(1), 0), (0, 2)], np.float64(0.5)), np.int64(1))
    builder.output("y", mg.concat([y, y], np.int32(0)))
    assert "np." not in str(builder.build())
    parse(str(builder.build()), TEXT_CLASSES)


def test_an_op_of_the_users():
    @dataclass(frozen=True)
    class Mine(Op):
        label: str
        nested: tuple

        def infer(self, x):
            return (x,)

    builder = new_builder()
    op = Mine("a 'quoted' \"text\"\n{}()%=, end", (1, (2.5, None), (True,), (), TensorSpec((2,))))
    builder.output("y", builder.emit(op, builder.input("x", "float32[2]"))[0])
    graph = builder.build()
    assert parse(str(graph), [Mine]) == graph
    with pytest.raises(ParseError, match=r"got 'Mine': pass your own with ops=\[Mine\]"):
        parse(str(graph), TEXT_CLASSES)


# ---- hostile texts

HEAD = "graph {\n  input %x: float32[1,2,8,8]\n  input %w: float32[4,2,3,3]\n"


def text_of(*lines: str) -> str:
    return HEAD + "".join(f"  {line}\n" for line in lines) + "}"


def conv(attributes: str, operands: str = "%x, %w", spec: str = "float32[1,4,6,6]") -> str:
    return f"%y: {spec} = Conv2d({operands}) {{{attributes}}}"


GOOD = "stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1"

WRONG_LINES = {
    "unknown op": "%y: float32[2] = Evil(%x)",
    "unknown op with attributes": "%y: float32[2] = Evil(%x) {code='import os'}",
    "a builtin": "%y: float32[2] = eval(%x)",
    "unknown attribute": conv(GOOD + ", evil=1"),
    "repeated attribute": conv(GOOD + ", groups=1"),
    "stride is a number": conv(GOOD.replace("stride=(1, 1)", "stride=1")),
    "stride is a text": conv(GOOD.replace("stride=(1, 1)", "stride='ab'")),
    "stride is None": conv(GOOD.replace("stride=(1, 1)", "stride=None")),
    "stride of zero": conv(GOOD.replace("stride=(1, 1)", "stride=(0, 0)")),
    "stride of one": conv(GOOD.replace("stride=(1, 1)", "stride=(1,)")),
    "stride is nan": conv(GOOD.replace("stride=(1, 1)", "stride=(nan, nan)")),
    "stride is infinite": conv(GOOD.replace("stride=(1, 1)", "stride=(inf, inf)")),
    "padding is a number": conv(GOOD.replace("((0, 0), (0, 0))", "3")),
    "padding is huge": conv(GOOD.replace("((0, 0), (0, 0))", "((0, 1e308), (0, 1))")),
    "groups is a text": conv(GOOD.replace("groups=1", "groups='1'")),
    "groups is zero": conv(GOOD.replace("groups=1", "groups=0")),
    "groups is a dtype": conv(GOOD.replace("groups=1", "groups=float32")),
    "too few operands": conv(GOOD, "%x"),
    "too many operands": conv(GOOD, "%x, %w, %w"),
    "no operands": conv(GOOD, ""),
    "unknown operand": conv(GOOD, "%x, %v"),
    "garbage operand": conv(GOOD, "%x, 7"),
    "operands swapped": conv(GOOD, "%w, %x"),
    "wrong spec": conv(GOOD, spec="float32[1,4,6,7]"),
    "wrong dtype": conv(GOOD, spec="float64[1,4,6,6]"),
    "unknown dtype": conv(GOOD, spec="float8[1,4,6,6]"),
    "a call with a call": conv(GOOD + ")(groups=1"),
    "a call of an attribute": conv("stride=os.system(a=1)"),
    "an index": conv("stride=x[0]"),
    "a comprehension": conv("stride=[1 for _ in x]"),
    "a lambda": conv("stride=lambda: 1"),
    "an f-string": conv("stride=f'{1}'"),
    "bytes": conv("stride=b'a'"),
    "an ellipsis": conv("stride=..."),
    "a complex number": conv("stride=1j"),
    "a sum": conv("stride=1+1"),
    "a walrus": conv("stride=(y:=1)"),
    "stars": conv("*x, **y"),
    "double stars": conv("**{'stride': 1}"),
    "minus a text": conv("stride=-'a'"),
    "minus None": conv("stride=-None"),
    "null byte": conv("stride='\0'"),
    "unclosed": conv("stride=(1, 1"),
    "unclosed text": conv("stride='a"),
    "only a comma": conv(","),
    "an input of no spec": "input %z",
    "an input of no name": "input float32[2]",
    "an input twice": "input %x: float32[2]",
    "an input of a bad shape": "input %z: float32[,]",
    "an input of a huge size": f"input %z: float32[{'9' * 5000}]",
    "a state of no role": "state %s: float32[2]",
    "a state of an unknown role": "state %s: float32[2] {role=boss}",
    "an output of nothing": "output y = %y",
    "an output of no name": "output  = %x",
    "an output of two lines' names": "output y = %x\x7foutput z = %x",
    "an output with a blank behind": "output y  = %x",
    "an output twice": "output y = %x\n  output y = %w",
    "an update of no state": "update %x = %x",
    "an update twice": "state %s: float32[2] {role=slot}\n  update %s = %s\n  update %s = %s",
    "an update of another spec": "state %s: float32[2] {role=slot}\n  update %s = %x",
    "a value twice": f"{conv(GOOD)}\n  {conv(GOOD)}",
    "use before definition": "%a: float32[1] = Exp(%b)\n  %b: float32[1] = Exp(%a)",
    "an empty line of blanks": " ",
    "a comment": "# comment",
    "a nested graph": "graph {",
    "nothing to make": " = Exp(%x)",
    "nothing at all": "%y: float32[1,2,8,8] = ",
    "two outputs for one": "%y: float32[1,2,8,8], %z: float32[1,2,8,8] = Exp(%x)",
    "missing constant": "%c: float32[2] = Constant() {digest='0123456789abcdef', spec=float32[2]}",
    "digest is a number": "%c: float32[2] = Constant() {digest=7, spec=float32[2]}",
    "digest is a tuple": "%c: float32[2] = Constant() {digest=(1, (2,)), spec=float32[2]}",
    "spec is nan": "%c: float32[2] = Constant() {digest='0', spec=nan}",
    "spec is a text": "%c: float32[2] = Constant() {digest='0', spec='float32[2]'}",
    "an infinite integer": "%c: int32[] = Full() {value=inf, shape=(), dtype=int32}",
    "a nan integer": "%c: int32[] = Full() {value=nan, shape=(), dtype=int32}",
    "a fill of text": "%c: float32[] = Full() {value='a', shape=(), dtype=float32}",
    "a fill of an unknown dtype": "%c: float32[] = Full() {value=1, shape=(), dtype='floot'}",
    "a fill of a negative shape": "%c: float32[1] = Full() {value=1, shape=(-1,), dtype=float32}",
    "a body that is none": "%y: float32[2] = Fused(%x) {body=5}",
    "a body of nothing": "%y: float32[2] = Fused(%x) "
    "{body=Body(inputs=1, instructions=(), outputs=())}",
    "a body of itself": "%y: float32[2] = Fused(%x) {body=Fused(body=Fused(body=None))}",
    "a body with bad operands": "%y: float32[1,2,8,8] = Fused(%x) "
    "{body=Body(inputs=1, instructions=(Instruction(op=Exp(), operands=(7,)),), outputs=(1,))}",
    "a body with text operands": "%y: float32[1,2,8,8] = Fused(%x) "
    "{body=Body(inputs='1', instructions=(Instruction(op=Exp(), operands=('a',)),), outputs=(1,))}",
    "an instruction that is no op": "%y: float32[1,2,8,8] = Fused(%x) {body=Body(inputs=1, "
    "instructions=(Instruction(op=3, operands=(0,)),), outputs=(1,))}",
    "a body as an op": "%y: float32[2] = Body(%x) {inputs=1, instructions=(), outputs=()}",
    "an instruction as an op": "%y: float32[2] = Instruction(%x) {op=Exp(), operands=()}",
    "an axis of text": "%y: float32[1,2,8,8] = Softmax(%x) {axis='a'}",
    "an axis out of range": "%y: float32[1,2,8,8] = Softmax(%x) {axis=99}",
    "a permutation of text": "%y: float32[8,8,2,1] = Transpose(%x) {permutation='3210'}",
    "sizes of None": "%y: float32[1,1,8,8], %z: float32[1,1,8,8] = Split(%x) {axis=1, sizes=None}",
    "slices of numbers": "%y: float32[1,2,8,8] = Slice(%x) {slices=(1, 2)}",
    "a step of zero": "%y: float32[1,2,8,8] = Slice(%x) {slices=((0, 1, 0),)}",
    "a huge exponent": "%y: float32[1,2,8,8] = LeakyRelu(%x) {slope=" + "9" * 4000 + "}",
    "a huge integer": "%y: float32[1,2,8,8] = LeakyRelu(%x) {slope=" + "9" * 100_000 + "}",
    "deep parentheses": conv("stride=" + "(" * 100_000 + ")" * 100_000),
    "deep tuples": conv("stride=" + "(" * 90 + "1" + ",)" * 90),
    "deep calls": conv("stride=" + "Exp(a=" * 5_000 + ")" * 5_000),
    "deep minuses": conv("stride=" + "-" * 3_000 + "1"),
    "deeper minuses": conv("stride=" + "-" * 200_000 + "1"),
    "deep sums": conv("stride=" + "1+" * 3_000 + "1"),
    "deep attributes": conv("stride=a" + ".b" * 3_000),
    "deep bodies": "%y: float32[2] = Fused(%x) {body=" + "Fused(body=" * 60 + "1" + ")" * 60 + "}",
    "a long line": conv("stride='" + "a" * 2_000_000 + "'"),
}  # fmt: skip


@pytest.mark.parametrize("line", WRONG_LINES.values(), ids=WRONG_LINES.keys())
def test_wrong_lines(line):
    with pytest.raises(ParseError) as caught:
        parse(text_of(line), TEXT_CLASSES)
    assert len(str(caught.value)) < 100_000


def test_the_line_is_numbered():
    with pytest.raises(ParseError, match=r"^line 5: Expected a known operation, got 'Evil'"):
        parse(text_of(conv(GOOD), "%z: float32[2] = Evil(%x)"), TEXT_CLASSES)
    verify(parse(text_of(conv(GOOD), "output y = %y"), TEXT_CLASSES))


@pytest.mark.parametrize(
    "text", ["", "graph {", "}", "graph {\n", "{\n}", "graph {\n}}", "\0", "[]", "graph {}", "null"]
)
def test_no_graph(text):
    with pytest.raises(ParseError, match=r"starts with 'graph {'"):
        parse(text, TEXT_CLASSES)


def test_constants_that_do_not_fit():
    table = np.arange(3, dtype=np.float32)
    graph = graph_of(lambda x: {"y": x + table}, x="float32[3]")
    (digest,) = graph.constants
    for wrong in ({}, {"other": table}, {digest: table[:2]}, {digest: table.astype(np.float64)}):
        with pytest.raises(ParseError):
            parse(str(graph), TEXT_CLASSES, wrong)
    extra = parse(str(graph), TEXT_CLASSES, {digest: table, "unused": table})
    assert list(extra.constants) == [digest]


def test_truncated_texts():
    """Every cut at a line's end or in its middle is refused or gives a smaller valid graph."""
    lines = str(training_step(mg.SGD(0.1)).graph).splitlines()
    constants = training_step(mg.SGD(0.1)).graph.constants
    for cut in range(0, len(lines), 3):
        whole = "\n".join(lines[:cut])
        half = whole + "\n" + lines[cut][: len(lines[cut]) // 2]
        for text in (whole, half, half + "\n}"):
            try:
                verify(parse(text, TEXT_CLASSES, constants))
            except ParseError:
                continue
            assert text.endswith("}")


def test_random_damage():
    """Characters changed, dropped, doubled; lines swapped: ParseError or a valid graph."""
    graph = training_step(mg.Momentum(0.1)).graph
    text = str(graph)
    rng = random.Random(0)
    alphabet = string.printable + "%{}()=,:\0é²\u2028"
    refused = 0
    for _ in range(250):
        damaged = list(text)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(damaged))
            kind = rng.randrange(3)
            damaged[at] = (rng.choice(alphabet), "", damaged[at] * 2)[kind]
        try:
            verify(parse("".join(damaged), TEXT_CLASSES, graph.constants))
        except ParseError:
            refused += 1
    assert refused > 100


def test_a_large_graph_takes_linear_time():
    def long(length):
        builder = new_builder()
        x = builder.input("x", "float32[2]")
        for _ in range(length):
            x = mg.tanh(x)
        builder.output("y", x)
        return builder.build()

    graph = long(3000)
    assert len(parse(str(graph), TEXT_CLASSES).nodes) == 3000


def test_bodies_print_and_parse():
    body = Body(2, (Instruction(Conv2d(), (0, 1)),), (2,))
    builder = new_builder()
    x, w = builder.input("x", "float32[1,2,8,8]"), builder.input("w", "float32[4,2,3,3]")
    builder.output("y", builder.emit(Fused(body), x, w)[0])
    again = round_trip(builder.build())
    assert again.nodes[0].op == Fused(body) and hash(again.nodes[0].op) == hash(Fused(body))
    assert Constant in TEXT_CLASSES


def test_an_attribute_with_a_default_may_be_missing():
    """A file that was written before an operation gained an attribute."""
    builder = new_builder()
    x = builder.input("x", "float32[1,1,4,4]")
    builder.output("y", mg.max_pool2d(x, 2))
    text = str(builder.build())
    old = text.replace(", dilation=(1, 1), ceil_mode=False", "")
    assert old != text
    assert str(parse(old, TEXT_CLASSES)) == text
    with pytest.raises(ParseError, match="Expected the attributes kernel"):
        parse(text.replace("kernel=(2, 2), ", ""), TEXT_CLASSES)
