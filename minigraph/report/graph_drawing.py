"""A graph as a drawing: SVG of our own, or DOT text for Graphviz and other tools.

Shown is the way of the data: what depends on an input. Parameters, constants and what is made of
them alone are left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from minigraph.display import escape, op_label
from minigraph.ir.graph import Graph, Node, Value
from minigraph.ir.op import Op
from minigraph.whole_file import write_whole

COLOURS = {
    "input": "#ffffff",
    "conv": "#cfe0f4",
    "pool": "#f9d9c0",
    "shape": "#d6ecd2",
    "matmul": "#dcd5f0",
    "norm": "#f7efc3",
    "loss": "#f5cfd3",
    "softmax": "#f5cfd3",
    "output": "#ffffff",
}
"""By the module of the operation; others are grey. A fused operation is what it starts with."""
OTHER = "#ececef"

MOST_ROWS = 400
ROW, BOX, INDENT, MARGIN = 34, 24, 34, 12  # pixels
LETTER = 6.7  # pixels, the mean width of a letter at 12 pixels
LONGEST = 44  # letters of a name


@dataclass(frozen=True)
class _Row:
    """One box: what is written in it, its colour, and the rows that it reads."""

    name: str
    label: str
    shape: str
    colour: str
    level: int
    sources: tuple[int, ...]


def write_graph(graph: Graph, output: str | Path) -> None:
    """Draw a graph into a file; the ending chooses the form: `.svg` or `.dot`.

    ``executable.compiled.built`` is the graph before the passes, ``executable.graph`` after them.

    Raises:
        ValueError: another ending, or a graph too long for a drawing (400 boxes; `.dot` takes any).
    """
    output = Path(output)
    forms = {".svg": graph_svg, ".dot": graph_dot}
    if output.suffix not in forms:
        raise ValueError(f"Expected a file name that ends in {', '.join(forms)}, got {output.name}")
    write_whole(output, forms[output.suffix](graph).encode())


def graph_dot(graph: Graph) -> str:
    """The graph in Graphviz's language, coloured by family, with the specs on the edges."""
    lines = [
        "digraph minigraph {",
        '  node [shape=box, style="rounded,filled", fontname="sans-serif", fontsize=11];',
        '  edge [fontname="sans-serif", fontsize=9, color="#808088"];',
    ]
    names: dict[Value, str] = {}
    for value in graph.inputs:
        names[value] = f"input {value.name}"
        lines.append(_dot_node(names[value], value.name, "input", COLOURS["input"]))
    for node in _on_the_way(graph):
        name = f"node {node.name}"
        lines.append(_dot_node(name, node.name, op_label(node.op), _colour(node.op)))
        for value in node.inputs:
            if value in names:
                lines.append(_dot_edge(names[value], name, value))
        names |= dict.fromkeys(node.outputs, name)
    for name, value in graph.outputs.items():
        if value in names:
            lines.append(_dot_node(f"output {name}", name, "output", COLOURS["output"]))
            lines.append(_dot_edge(names[value], f"output {name}", value))
    return "\n".join([*lines, "}", ""])


def graph_svg(graph: Graph) -> str:
    """The graph as SVG, one box a node from top to bottom in the order of the nodes.

    A box stands the further to the right the smaller its image is: a halving is one step, so that
    a U-Net is a U on its side. Edges that skip boxes are arcs on the left.

    Raises:
        ValueError: more than 400 boxes: `graph_dot` takes any number.
    """
    rows = _rows(graph)
    if len(rows) > MOST_ROWS:
        raise ValueError(
            f"Expected at most {MOST_ROWS} boxes in a drawing, got {len(rows)}: write_graph to a "
            "file.dot, for Graphviz"
        )
    arcs = [(s, t) for t, row in enumerate(rows) for s in row.sources if t - s > 1]
    left = MARGIN + max((_bulge(t - s) for s, t in arcs), default=0.0) * 0.75
    box = max(map(_text_width, rows), default=0.0) + 24
    width = left + max((row.level for row in rows), default=0) * INDENT + box + MARGIN
    height = len(rows) * ROW + 2 * MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" font-family="system-ui, sans-serif" '
        'font-size="12">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        '<g fill="none" stroke="#8a8a93" stroke-width="1.3">',
    ]
    corners = [(left + row.level * INDENT, MARGIN + i * ROW) for i, row in enumerate(rows)]
    for target, row in enumerate(rows):
        parts += [
            _edge(corners[source], corners[target], target - source) for source in row.sources
        ]
    parts.append("</g>")
    parts += [_svg_box(row, *corner, box) for row, corner in zip(rows, corners, strict=True)]
    return "\n".join([*parts, "</svg>", ""])


def _on_the_way(graph: Graph) -> list[Node]:
    """The nodes that depend on an input."""
    reached, nodes = set(graph.inputs), []
    for node in graph.nodes:
        if not reached.isdisjoint(node.inputs):
            reached.update(node.outputs)
            nodes.append(node)
    return nodes


def _rows(graph: Graph) -> list[_Row]:
    batches = {value.spec.shape[0] for value in graph.inputs if value.spec.ndim == 4}

    def height(value: Value) -> int:
        """That of a batch of images; 0 for weights and all else."""
        shape = value.spec.shape
        return shape[2] if len(shape) == 4 and shape[0] in batches else 0

    largest = max(map(height, graph.values()), default=0)
    rows: list[_Row] = []
    places: dict[Value, int] = {}

    def add(name: str, label: str, colour: str, value: Value, inputs: Sequence[Value]) -> None:
        level = rows[-1].level if rows else 0
        if height(value):
            level = round(math.log2(largest / height(value)))
        sources = tuple(sorted({places[v] for v in inputs if v in places}))
        shape = "x".join(map(str, value.spec.shape)) or "scalar"
        rows.append(_Row(_short(name), label, shape, colour, level, sources))

    for value in graph.inputs:
        add(value.name, "input", COLOURS["input"], value, ())
        places[value] = len(rows) - 1
    for node in _on_the_way(graph):
        add(node.name, op_label(node.op), _colour(node.op), node.outputs[0], node.inputs)
        places |= dict.fromkeys(node.outputs, len(rows) - 1)
    for name, value in graph.outputs.items():
        add(name, "output", COLOURS["output"], value, (value,))
    return rows


def _colour(op: Op) -> str:
    body = getattr(op, "body", None)
    first = op if body is None else body.anchor.op
    return COLOURS.get(type(first).__module__.rpartition(".")[2], OTHER)


def _bulge(rows: int) -> float:
    """How far an arc over so many rows reaches out to the left (its control points, that is)."""
    return 16 + 12 * math.sqrt(rows)


def _edge(source: tuple[float, float], target: tuple[float, float], rows: int) -> str:
    (x1, y1), (x2, y2) = source, target
    if rows == 1:
        y1, foot = y1 + BOX, max(x1, x2) + 20
        return f'<path d="M{foot:.1f} {y1:.1f}L{foot:.1f} {y2:.1f}"/>'
    y1, y2, out = y1 + BOX / 2, y2 + BOX / 2, _bulge(rows)
    return (
        f'<path d="M{x1:.1f} {y1:.1f}C{x1 - out:.1f} {y1:.1f} {x2 - out:.1f} {y2:.1f} '
        f'{x2:.1f} {y2:.1f}"/>'
    )


def _svg_box(row: _Row, x: float, y: float, width: float) -> str:
    middle = y + BOX / 2 + 4
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{BOX}" rx="5" '
        f'fill="{row.colour}" stroke="#b9b9c1"/>'
        f'<text x="{x + 9:.1f}" y="{middle:.1f}" fill="#1f1f24">{escape(row.name)}'
        f'<tspan fill="#6a6a72" dx="9">{escape(row.label)}</tspan></text>'
        f'<text x="{x + width - 9:.1f}" y="{middle:.1f}" fill="#6a6a72" text-anchor="end">'
        f"{escape(row.shape)}</text>"
    )


def _text_width(row: _Row) -> float:
    return LETTER * (len(row.name) + len(row.label) + len(row.shape)) + 38


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST // 2]}…{name[-LONGEST // 2 + 1 :]}"


def _dot_node(identity: str, name: str, label: str, colour: str) -> str:
    return f'  {_quoted(identity)} [label={_quoted(name, label)}, fillcolor="{colour}"];'


def _dot_edge(source: str, target: str, value: Value) -> str:
    return f"  {_quoted(source)} -> {_quoted(target)} [label={_quoted(str(value.spec))}];"


def _quoted(*lines: str) -> str:
    """A string of DOT; several lines of a label are centred below each other."""
    texts = (line.replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return '"' + "\\n".join(texts) + '"'
