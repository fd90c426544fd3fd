"""Who may import whom, and what a wheel holds."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from collections.abc import Iterator
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


def imports(name: str, *, at_run_time: bool = True) -> Iterator[tuple[str, bool]]:
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

    yield from walk(ast.parse(MODULES[name].read_text()), False)


def part(name: str) -> str:
    """ "minigraph.ir.graph" is of "ir"; the package's own __init__ is of ""."""
    return name.split(".")[1] if "." in name else ""


def test_there_are_modules():
    assert len(MODULES) > 60
    assert {part(name) for name in MODULES} >= CORE | {"backends", "models"}


@pytest.mark.parametrize("name", MODULES)
def test_nobody_imports_the_top_level_folders(name):
    for imported, _ in imports(name, at_run_time=False):
        assert imported.split(".")[0] not in ("backends", "models", "minigraph_backends"), imported


@pytest.mark.parametrize("name", MODULES)
def test_nothing_but_backends_imports_a_backend(name):
    for imported, _ in imports(name, at_run_time=False):
        if imported.startswith("minigraph.backends."):
            assert part(name) == "backends", f"{name} imports {imported}"
            package, own = imported.split(".")[2], name.split(".")[2]
            assert own == package, f"the backend {own} imports the backend {package}"


@pytest.mark.parametrize("name", [n for n in MODULES if part(n) == "backends"])
def test_backends_import_ir_ops_and_the_boundary_alone(name):
    for imported, _ in imports(name):
        if imported.startswith("minigraph"):
            allowed = (
                "ir",
                "ops",
                "backend",
                "backends",
                "cache_folder",
                "device_array",
                "host_store",
                "interrupts",
                "iteration",
                "lowering",
                "places",
                "whole_file",
            )
            assert part(imported) in allowed, f"{name}: {imported}"


@pytest.mark.parametrize("name", [n for n in MODULES if part(n) in CORE | {""}])
def test_the_core_knows_nothing_of_the_practical_half(name):
    for imported, _ in imports(name):
        if imported.startswith("minigraph."):
            assert part(imported) not in PRACTICAL | {"models"}, f"{name} imports {imported}"


@pytest.mark.parametrize("name", [n for n in MODULES if part(n) in set().union(*LAYERS)])
def test_the_direction(name):
    level = {module: number for number, layer in enumerate(LAYERS) for module in layer}
    for imported, _ in imports(name):
        target = part(imported) if imported.startswith("minigraph.") else None
        if target is not None and target != part(name):
            assert target in level, f"{name} imports {imported}, which is in no layer"
            assert level[target] <= level[part(name)], f"{name} imports {imported} from above"


def test_layers_are_complete():
    assert set().union(*LAYERS) == CORE


@pytest.mark.parametrize("name", MODULES)
def test_no_imports_inside_functions(name):
    for imported, inside in imports(name):
        if inside and part(name) not in ("cli",):
            names = {imported, imported.split(".")[0]}
            assert names & HEAVY, f"{name} imports {imported} inside a function"


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
    cycles = list(networkx.simple_cycles(graph))
    assert not cycles, cycles


@pytest.mark.parametrize("name", MODULES)
def test_files_can_be_held_in_the_head(name):
    lines = MODULES[name].read_text().splitlines()
    assert len(lines) <= 450, f"{MODULES[name]} has {len(lines)} lines"
    assert lines == [] or lines[0].startswith('"""'), f"{MODULES[name]} says not what it is"


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
