"""The text form of a graph: ``str(graph)`` prints it, ``parse`` reads it back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NoReturn

import numpy as np

from minigraph.ir.attributes import construct, parse_attributes
from minigraph.ir.constant import Constant
from minigraph.ir.errors import ParseError, SpecError, VerifyError
from minigraph.ir.graph import NAME, Graph, Node, Role, State, Value
from minigraph.ir.op import Op
from minigraph.ir.spec import TensorSpec
from minigraph.ir.verify import verify

_NAME = f"%({NAME})"
_VALUE = re.compile(rf"{_NAME}: ([a-z0-9]+\[[0-9,]*\])")
_OPERAND = re.compile(_NAME)
_STATE = re.compile(rf"state {_NAME}: ([a-z0-9]+\[[0-9,]*\]) \{{role=(\w+)\}}")
_NODE = re.compile(r"(%.+?) = (\w+)\(([^()]*)\)(?: \{(.*)\})?")
_OUTPUT = re.compile(rf"output (\S.*) = {_NAME}")
_UPDATE = re.compile(rf"update {_NAME} = {_NAME}")


def parse(
    text: str,
    ops: Iterable[type],
    constants: Mapping[str, np.ndarray] | None = None,
) -> Graph:
    """Read the text form of a graph.

    ``ops`` are the classes that nodes (and bodies of fused nodes) may name; ``constants`` holds
    the arrays that the text names by content hash. The graph is verified. Raises ParseError with
    the line number.
    """
    return _Parser({op.__name__: op for op in ops}, dict(constants or {})).parse(text)


class _Parser:
    def __init__(self, classes: dict[str, type], constants: dict[str, np.ndarray]) -> None:
        self.classes = classes
        self.available = constants
        self.values: dict[str, Value] = {}
        self.inputs: list[Value] = []
        self.state: list[State] = []
        self.nodes: list[Node] = []
        self.outputs: dict[str, Value] = {}
        self.updates: dict[str, Value] = {}
        self.number = 0

    def parse(self, text: str) -> Graph:
        lines = text.strip().splitlines()
        if len(lines) < 2 or lines[0].strip() != "graph {" or lines[-1].strip() != "}":
            raise ParseError("Expected a text that starts with 'graph {' and ends with '}'")
        for self.number, line in enumerate(lines[1:-1], start=2):
            try:
                self.line(line.strip())
            except (SpecError, ParseError) as error:
                raise ParseError(f"line {self.number}: {error}") from None
        used = {str(node.op.digest) for node in self.nodes if isinstance(node.op, Constant)}
        missing = sorted(used - self.available.keys())
        if missing:
            raise ParseError(f"Expected an array for each constant, got none for {missing}")
        graph = Graph(
            inputs=tuple(self.inputs),
            state=tuple(self.state),
            nodes=tuple(self.nodes),
            outputs=self.outputs,
            updates=self.updates,
            constants={digest: self.available[digest] for digest in sorted(used)},
        )
        try:
            return verify(graph)
        except VerifyError as error:
            raise ParseError(f"Expected a well-formed graph, got one where {error}") from None

    def line(self, line: str) -> None:
        kind = line.split(" ", 1)[0]
        match kind:
            case "input":
                self.inputs.append(self.define(line.removeprefix("input ")))
            case "state":
                self.read_state(line)
            case "output":
                found = _OUTPUT.fullmatch(line) or self.expected("output NAME = %VALUE", line)
                self.assign(self.outputs, found[1], found[2])
            case "update":
                found = _UPDATE.fullmatch(line) or self.expected("update %STATE = %VALUE", line)
                self.assign(self.updates, found[1], found[2])
            case _:
                self.read_node(line)

    def read_state(self, line: str) -> None:
        found = _STATE.fullmatch(line) or self.expected("state %NAME: SPEC {role=ROLE}", line)
        roles = {role.value: role for role in Role}
        if found[3] not in roles:
            self.expected(f"a role of {', '.join(roles)}", found[3])
        value = self.define(f"%{found[1]}: {found[2]}")
        self.state.append(State(value, roles[found[3]]))

    def read_node(self, line: str) -> None:
        found = _NODE.fullmatch(line) or self.expected("%OUT: SPEC = Op(%IN, ...) {...}", line)
        inputs = tuple(self.operand(part) for part in _split(found[3]))
        attributes = parse_attributes(found[4] or "", self.classes)
        op = construct(found[2], attributes, self.classes)
        if not isinstance(op, Op):
            self.expected("an operation", found[2])
        outputs = tuple(self.define(part) for part in _split(found[1]))
        self.nodes.append(Node(op, inputs, outputs))

    def operand(self, text: str) -> Value:
        found = _OPERAND.fullmatch(text) or self.expected("%NAME", text)
        return self.lookup(found[1])

    def define(self, text: str) -> Value:
        found = _VALUE.fullmatch(text.strip()) or self.expected("%NAME: SPEC", text)
        if found[1] in self.values:
            raise ParseError(f"%{found[1]} is defined twice")
        value = Value(found[1], TensorSpec.parse(found[2]))
        self.values[found[1]] = value
        return value

    def assign(self, results: dict[str, Value], name: str, value: str) -> None:
        if name in results:
            raise ParseError(f"{name} is given twice")
        results[name] = self.lookup(value)

    def lookup(self, name: str) -> Value:
        if name not in self.values:
            raise ParseError(f"%{name} is used before it is defined")
        return self.values[name]

    def expected(self, form: str, got: str) -> NoReturn:
        raise ParseError(f"Expected {form}, got {got[:80]!r}")


def _split(text: str) -> list[str]:
    """Split at the commas that are followed by a new ``%``."""
    return [part.strip() for part in re.split(r",\s*(?=%)", text) if part.strip()]
