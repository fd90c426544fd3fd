"""What notebooks show: graphs, executables, states, profiles and scores as HTML.

The classes' ``_repr_html_`` come here. Whatever is text is escaped here and nowhere else: names of
layers, classes and files are their users'.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from minigraph.ir.attributes import format_attribute, format_fields

if TYPE_CHECKING:
    from minigraph.executable import Executable
    from minigraph.ir.graph import Graph, Node, Value
    from minigraph.ir.op import Op
    from minigraph.metrics import ConfusionMatrix
    from minigraph.profile import Profile
    from minigraph.state import ModelState
    from minigraph.summary import Summary

MOST_ROWS = 200
"""Longer tables are cut here, and say so."""

# As html.escape does it; importing html would be a hundredth of importing minigraph.
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})

_STYLE = (
    "<style>.minigraph table{border-collapse:collapse;margin:.4em 0}"
    ".minigraph th,.minigraph td{text-align:left;vertical-align:top;padding:.15em .7em .15em 0;"
    "border-bottom:1px solid rgba(128,128,128,.3)}"
    ".minigraph .number{text-align:right;font-variant-numeric:tabular-nums}"
    ".minigraph summary{cursor:pointer}</style>"
)


def escape(text: object) -> str:
    """Text that means itself in HTML, in attributes too."""
    return str(text).translate(_ESCAPES)


def table(
    head: Sequence[str], rows: Iterable[Sequence[object]], numbers: Collection[int] = ()
) -> str:
    """An HTML table of texts, which are escaped; the columns in `numbers` are right-aligned.

    A head of empty texts is left out.
    """
    marks = [' class="number"' if column in numbers else "" for column in range(len(head))]
    header = "".join(
        f"<th{mark}>{escape(cell)}</th>" for mark, cell in zip(marks, head, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{mark}>{escape(cell)}</td>" for mark, cell in zip(marks, row, strict=True))
        + "</tr>"
        for row in rows
    )
    above = f"<thead><tr>{header}</tr></thead>" if any(head) else ""
    return f"<table>{above}<tbody>{body}</tbody></table>"


def details(summary: str, content: str) -> str:
    """`content` (HTML) folded away under `summary` (text)."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def graph_html(graph: Graph) -> str:
    """A summary line; under it the nodes and the state as tables, folded away."""
    return _whole(_graph_details(graph))


def executable_html(executable: Executable) -> str:
    """What a call takes, gives and costs; under it the passes, the memory plan, the graph."""
    compiled, plan = executable.compiled, executable.memory
    facts = [
        *(("input", f"{name}: {spec}") for name, spec in executable.inputs.items()),
        *(("output", f"{name}: {spec}") for name, spec in executable.outputs.items()),
        ("parameters", f"{_parameters(compiled.graph):,}"),
        ("work", f"{_gflop(compiled.graph)} a call"),
        (
            "memory",
            f"{_megabytes(plan.total_bytes)}: work {_megabytes(plan.work_bytes)}, cached "
            f"{_megabytes(plan.cached_bytes)}, state {_megabytes(plan.state_bytes)}",
        ),
    ]
    passes = [
        (report.name, report.nodes_before, report.nodes_after, report.changes)
        for report in compiled.reports
    ]
    fullest = [(name, f"{size:,}") for name, size in plan.peak_values]
    return _whole(
        f"<p><b>{escape(executable_title(executable))}</b></p>"
        + table(("", ""), facts)
        + details(
            f"passes: {len(compiled.built.nodes)} nodes before, {len(compiled.graph.nodes)} after",
            table(("pass", "before", "after", "changes"), passes, {1, 2}),
        )
        + details(
            f"memory: fullest at {plan.peak_step}",
            _cut(("value", "bytes"), fullest, "executable.memory.peak_values", {1}),
        )
        + _graph_details(compiled.graph)
    )


def executable_title(executable: Executable) -> str:
    """What kind of executable it is, and where it runs, in a line."""
    kind = "training step" if executable.graph.updates else "inference"
    backend = executable.backend
    return f"Executable: {kind} on {backend.name}, {count(backend.threads, 'thread')}"


def state_html(state: ModelState) -> str:
    """A table of all variables: name, role, spec and bytes."""
    specs = {name: state.spec(name) for name in state}
    roles = {name: state.roles[name].value if name in state.roles else "" for name in state}
    rows = [(name, roles[name], spec, f"{spec.nbytes:,}") for name, spec in specs.items()]
    total = sum(spec.nbytes for spec in specs.values())
    head = f"ModelState: {count(len(rows), 'variable')}, {total:,} bytes"
    return _whole(
        f"<p><b>{escape(head)}</b></p>"
        + _cut(("name", "role", "spec", "bytes"), rows, "list(state)", {3})
    )


def profile_html(profile: Profile, most: int = 30) -> str:
    """The slowest nodes, as in ``profile.table()``."""
    slowest = sorted(profile.rows, key=lambda row: -row.seconds)
    rows = [
        (
            row.name,
            row.op,
            row.algorithm,
            f"{row.seconds * 1e3:.3f}",
            f"{row.share:.1%}",
            f"{row.flops_per_second / 1e9:.1f}",
            f"{row.bytes / 1e6:.2f}",
        )
        for row in slowest[:most]
    ]
    head = ("node", "op", "algorithm", "ms", "share", "GFLOP/s", "MB")
    title = (
        f"Profile: {count(len(profile.rows), 'node')}, {profile.seconds * 1e3:.2f} ms, "
        f"median of {count(profile.runs, 'run')}"
    )
    rest = len(slowest) - len(rows)
    more = (
        f"<p>{rest} quicker nodes are left out: profile.table({len(slowest)})</p>" if rest else ""
    )
    return _whole(f"<p><b>{escape(title)}</b></p>{table(head, rows, set(range(3, 7)))}{more}")


def scores_html(matrix: ConfusionMatrix) -> str:
    """Per class: share of the truth, accuracy, IoU; absent classes are marked; the means below."""
    rows = [
        (
            f"{score.name} (absent)" if score.absent else score.name,
            f"{score.places:,}",
            percent(score.share),
            percent(score.accuracy),
            percent(score.iou),
        )
        for score in matrix.per_class()
    ]
    means = (percent(matrix.mean_class_accuracy), percent(matrix.mean_iou))
    rows.append(("mean, absent left out", f"{matrix.counted:,}", "", *means))
    head = ("class", "places", "share of truth %", "accuracy %", "IoU %")
    total = f"accuracy {percent(matrix.accuracy)} % of {matrix.counted:,} places"
    return _whole(f"{table(head, rows, {1, 2, 3, 4})}<p>{escape(total)}</p>")


def summary_html(summary: Summary, head: Sequence[str], numbers: Collection[int]) -> str:
    """A row for each layer; the totals below."""
    rows = _cut(head, summary.rows(), "summary.layers", numbers)
    return _whole(f"{rows}<p>{escape(summary.totals())}</p>")


def percent(share: float) -> str:
    """A share in per cent with two decimals, "-" where there is none (NaN)."""
    return "-" if math.isnan(share) else f"{100 * share:.2f}"


def count(number: int, noun: str) -> str:
    """ "1 node", "2,000 nodes"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def op_label(op: Op) -> str:
    """The op's name; for a fused one those of all that it does."""
    body = getattr(op, "body", None)
    if body is None:
        return op.name
    return "+".join(instruction.op.name for instruction in body.instructions)


def _whole(content: str) -> str:
    return f'<div class="minigraph">{_STYLE}{content}</div>'


def _cut(
    head: Sequence[str],
    rows: Sequence[Sequence[object]],
    all_of_them: str,
    numbers: Collection[int] = (),
) -> str:
    """The first rows, and how many more there are: `all_of_them` is the code that shows them."""
    rest = len(rows) - MOST_ROWS
    more = f"<p>... and {rest:,} more: <code>{escape(all_of_them)}</code></p>" if rest > 0 else ""
    return table(head, rows[:MOST_ROWS], numbers) + more


def _graph_details(graph: Graph) -> str:
    ops = Counter(op_label(node.op) for node in graph.nodes)
    kinds = ", ".join(f"{number} {name}" for name, number in ops.most_common(6))
    more = ", ..." if len(ops) > 6 else ""
    summary = (
        f"Graph: {count(len(graph.nodes), 'node')} ({kinds or 'none'}{more}); "
        f"{_parameters(graph):,} parameters; {_gflop(graph)}"
    )
    sources = [("input", value.name, value.spec) for value in graph.inputs]
    sources += [(state.role.value, state.name, state.value.spec) for state in graph.state]
    results = [("output", name, _named(value)) for name, value in graph.outputs.items()]
    results += [("update", name, _named(value)) for name, value in graph.updates.items()]
    nodes = [
        (
            node.name,
            op_label(node.op),
            _attributes(node.op),
            ", ".join(value.name for value in node.inputs),
            ", ".join(str(value.spec) for value in node.outputs),
        )
        for node in graph.nodes
    ]
    show = "print(graph)"
    return details(
        summary,
        details(f"inputs and state: {len(sources)}", _cut(("kind", "name", "spec"), sources, show))
        + _cut(("node", "op", "attributes", "inputs", "outputs"), nodes, show)
        + details(
            f"outputs and updates: {len(results)}", _cut(("kind", "name", "is"), results, show)
        ),
    )


def _named(value: Value) -> str:
    return f"{value.name}: {value.spec}"


def _attributes(op: Op) -> str:
    body = getattr(op, "body", None)
    if body is None:
        return format_fields(op)
    return ", then ".join(format_attribute(instruction.op) for instruction in body.instructions)


def _parameters(graph: Graph) -> int:
    """Elements of the parameters, trainable and frozen."""
    kinds = ("parameter", "frozen")
    return sum(state.value.spec.size for state in graph.state if state.role.value in kinds)


def _gflop(graph: Graph) -> str:
    return f"{sum(_flops(node) for node in graph.nodes) / 1e9:.3f} GFLOP"


def _flops(node: Node) -> int:
    return node.op.cost(*(value.spec for value in node.inputs)).flops


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.2f} MB"
