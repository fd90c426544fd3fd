"""Who may import whom, and what a wheel holds."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import networkx
import pytest

ROOT = Path(__file__).resolve().parents[1]

HEAVY = {
    "networkx", "matplotlib", "safetensors", "llvmlite", "cupy", "onnx", "PIL", "rich", "typer",
    "cuda", "cudnn", "importlib.metadata", "pooch", "requests", "tensorboardX", "torch",
}  # fmt: skip
"""May be imported inside a function: they cost more than all of minigraph's own modules."""

CORE = {
    "algorithms", "api", "autodiff", "backend", "compiler", "display", "executable", "explain",
    "cache_folder", "device_array", "host_store", "interrupts", "iteration", "layouts", "places",
    "initializers", "inputs", "ir", "layers", "lower", "lowering", "memory", "ops", "optimizers",
    "passes", "profile", "receptive_field", "replay", "schedule", "schedules", "serialization",
    "state", "summary", "testing", "tuning", "whole_file", "windows",
}  # fmt: skip
PRACTICAL = {
    "training", "data", "report", "cli", "metrics", "model_card", "onnx", "prediction",
    "pretrained",
}  # fmt: skip
LAYERS = [
    {"ir", "whole_file", "display", "cache_folder"},
    {"ops"},
    {"initializers", "backend", "schedules", "host_store", "interrupts", "places", "iteration",
     "device_array", "lowering"},
    {"passes", "autodiff", "layers", "schedule", "algorithms", "memory", "lower", "optimizers",
     "state", "inputs", "receptive_field", "windows", "layouts", "tuning"},
    {"compiler"},
    {"replay", "explain", "profile", "serialization"},
    {"executable"},
    {"api", "summary", "testing"},
]  # fmt: skip
"""From the bottom up: a module imports from its own layer or from below."""


def modules() -> dict[str, Path]:
    """Every module by the name under which it is installed."""
    found = {}
    for folder, prefix in (
        ("minigraph", "minigraph"), ("backends", "minigraph.backends"),
        ("models", "minigraph.models"),
    ):  # fmt: skip
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = [prefix, *path.relative_to(ROOT / folder).with_suffix("").parts]
            if parts[-1] == "__init__":
                parts.pop()
            found[".".join(parts)] = path
    return found


MODULES = modules()


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in (
        "TYPE_CHECKING", "typing.TYPE_CHECKING"
    )  # fmt: skip


@cache
def imports(name: str, *, at_run_time: bool = True) -> tuple[tuple[str, bool], ...]:
    """(imported module, is it inside a function) of one module, by ast alone."""

    def walk(node: ast.AST, inside: bool) -> Iterator[tuple[str, bool]]:
        if at_run_time and is_type_checking(node):
            return
        if isinstance(node, ast.Import):
            yield from ((alias.name, inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative imports are not used here"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield (full if full in MODULES else str(node.module)), inside
        inner = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inner)

    return tuple(walk(ast.parse(MODULES[name].read_text()), False))


def part(name: str) -> str:
    """ "minigraph.ir.graph" is of "ir"; the package's own __init__ is of ""."""
    return name.split(".")[1] if "." in name else ""


def test_there_are_modules():
    assert len(MODULES) > 60
    assert {part(name) for name in MODULES} >= CORE | {"backends", "models"}


def test_nobody_imports_the_top_level_folders():
    folders = ("backends", "models", "minigraph_backends")
    assert not [
        f"{name} imports {imported}"
        for name in MODULES
        for imported, _ in imports(name, at_run_time=False)
        if imported.split(".")[0] in folders
    ]


def test_a_backend_is_imported_by_itself_alone():
    def owner(name: str) -> list[str]:
        return name.split(".")[1:3]  # ["backends", "numpy"]

    assert not [
        f"{name} imports {imported}"
        for name in MODULES
        for imported, _ in imports(name, at_run_time=False)
        if imported.startswith("minigraph.backends.") and owner(imported) != owner(name)
    ]


def test_backends_import_ir_ops_and_the_boundary_alone():
    allowed = {
        "ir", "ops", "backend", "backends", "cache_folder", "device_array", "host_store",
        "interrupts", "iteration", "lowering", "places", "whole_file",
    }  # fmt: skip
    assert not [
        f"{name} imports {imported}"
        for name in MODULES
        if part(name) == "backends"
        for imported, _ in imports(name)
        if imported.startswith("minigraph") and part(imported) not in allowed
    ]


def test_the_core_knows_nothing_of_the_practical_half():
    assert not [
        f"{name} imports {imported}"
        for name in MODULES
        if part(name) in CORE | {""}
        for imported, _ in imports(name)
        if imported.startswith("minigraph.") and part(imported) in PRACTICAL | {"models"}
    ]


def test_the_direction():
    level = {module: number for number, layer in enumerate(LAYERS) for module in layer}
    found = [
        (name, imported)
        for name in MODULES
        if part(name) in level
        for imported, _ in imports(name)
        if imported.startswith("minigraph.") and part(imported) != part(name)
    ]
    assert not [f"{n} imports {i}, which is in no layer" for n, i in found if part(i) not in level]
    assert not [f"{n} imports {i} from above" for n, i in found if level[part(i)] > level[part(n)]]


def test_layers_are_complete():
    assert set().union(*LAYERS) == CORE


def test_no_imports_inside_functions():
    assert not [
        f"{name} imports {imported} inside a function"
        for name in MODULES
        if part(name) != "cli"
        for imported, inside in imports(name)
        if inside and not {imported, imported.split(".")[0]} & HEAVY
    ]


def test_no_cycles():
    graph = networkx.DiGraph()
    for name in MODULES:
        for imported, inside in imports(name):
            if imported in MODULES and imported != name and not inside:
                graph.add_edge(name, imported)
    # `from minigraph.ops import conv` inside the package minigraph.ops imports the module alone
    for package in [name for name, path in MODULES.items() if path.name == "__init__.py"]:
        for child in [name for name in list(graph) if name.startswith(f"{package}.")]:
            if graph.has_edge(child, package):
                siblings = all(
                    imported == package or imported.startswith(f"{package}.")
                    for imported in graph.successors(child)
                    if imported.startswith(package)
                )
                assert siblings
                uses = {
                    alias.name
                    for node in ast.walk(ast.parse(MODULES[child].read_text()))
                    if isinstance(node, ast.ImportFrom) and node.module == package
                    for alias in node.names
                }
                if all(f"{package}.{alias}" in MODULES for alias in uses):
                    graph.remove_edge(child, package)
    tangles = networkx.strongly_connected_components(graph)
    assert not [sorted(names) for names in tangles if len(names) > 1]


def test_files_can_be_held_in_the_head():
    lines = {path: path.read_text().splitlines() for path in MODULES.values()}
    assert not [f"{path} has {len(text)} lines" for path, text in lines.items() if len(text) > 450]


def test_files_begin_by_saying_what_they_are():
    texts = {path: path.read_text() for path in MODULES.values()}
    assert not [str(path) for path, text in texts.items() if text and not text.startswith('"""')]


def test_importing_minigraph_is_light():
    code = (
        "import sys, minigraph; heavy = {'matplotlib', 'networkx', 'rich', 'typer', 'PIL', "
        "'torch', 'onnx', 'cupy', 'llvmlite', 'safetensors', 'scipy', 'pandas', 'pooch', "
        "'requests'}; "
        "print(sorted(heavy & {name.split('.')[0] for name in sys.modules}), "
        "any(name.startswith('minigraph.backends') for name in sys.modules))"
    )
    got = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/"
    )
    assert got.stdout.strip() == "[] False"


def tracked(*folders: str) -> set[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", *folders],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    return {line for line in listed.stdout.splitlines() if (ROOT / line).is_file()}


def installed_path(path: str) -> str:
    return f"minigraph/{path}" if path.startswith(("backends/", "models/")) else path


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs the git checkout")
def test_a_wheel_holds_all_files_and_no_others(tmp_path):
    # Built from a copy: setuptools leaves build/ and *.egg-info beside what it builds.
    source = tmp_path / "source"
    wanted = tracked("minigraph", "backends", "models")
    for path in wanted | {"pyproject.toml", "README.md", "LICENSE"}:
        target = source / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / path).is_file():
            target.write_bytes((ROOT / path).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", str(source), "--no-deps", "--quiet",
               "--no-build-isolation", "-w", str(tmp_path / "out")]  # fmt: skip
    built = subprocess.run(command, capture_output=True, text=True)
    if built.returncode and "BackendUnavailable" in built.stderr + built.stdout:
        pytest.skip("setuptools is not installed")
    assert built.returncode == 0, built.stderr
    (wheel,) = (tmp_path / "out").glob("minigraph-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {installed_path(path) for path in wanted}
    python = {path for path in expected if path.endswith(".py")} | {"minigraph/py.typed"}
    assert {name for name in names if name.endswith((".py", "py.typed"))} == python
    assert names == expected
    assert not any(name.startswith(("backends/", "models/", "tests/")) for name in names)
