"""Print the CUDA C that rows of the op table become: ``python tests/backends/cupy/show.py Sum``.

The argument is a part of the rows' names; ``--gradient`` shows what their gradients need too.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "emulator"), str(HERE.parents[1] / "ops")]

from emulated_compiler import Compiler  # noqa: E402
from emulated_device import EmulatedDevice  # noqa: E402
from op_table import Differentiated, compile_forward  # noqa: E402
from test_ops import ROWS  # noqa: E402

from minigraph.backends.cupy import CupyBackend  # noqa: E402


def main() -> None:
    with_gradient = "--gradient" in sys.argv
    parts = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    compiler = Compiler()
    backend = CupyBackend(device=EmulatedDevice(compiler=compiler))
    for row in ROWS:
        if not any(part in row.name for part in parts):
            continue
        compile_forward(row, "float32", backend=backend)
        if with_gradient and row.gradient and row.floating:
            Differentiated(row, "float32").first(backend)
        print(f"// {row.name}")
    for function in compiler.functions.values():
        print(f"\n{function.source}")


if __name__ == "__main__":
    main()
