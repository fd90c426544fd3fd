"""A kernel's CUDA C: what it depends on, and how its text is put together."""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from importlib.resources import files
from textwrap import dedent, indent

from minigraph.ir.spec import DType

STORED: Mapping[DType, str] = {
    DType.BOOL: "bool",
    DType.UINT8: "unsigned char",
    DType.INT32: "int",
    DType.INT64: "long long",
    DType.FLOAT16: "half_t",
    DType.BFLOAT16: "bfloat16_t",
    DType.FLOAT32: "float",
    DType.FLOAT64: "double",
}
"""The C type of an element in memory."""

COMPUTED: Mapping[DType, str] = {**STORED, DType.FLOAT16: "float", DType.BFLOAT16: "float"}
"""The C type that an element is computed with: 16-bit floats in float."""


def loaded(expression: str, dtype: DType) -> str:
    """An element of memory as a value to compute with."""
    return f"to_float({expression})" if dtype in _SHORT else expression


def stored(expression: str, dtype: DType) -> str:
    """A computed value, rounded to what memory holds."""
    return f"{_SHORT[dtype]}({expression})" if dtype in _SHORT else expression


_SHORT = {DType.FLOAT16: "to_half", DType.BFLOAT16: "to_bfloat16"}


class KernelCode(ABC):
    """One kernel: a frozen dataclass whose fields are all that its text depends on.

    Equal codes are compiled once. Sizes and strides are arguments of a call; what only some
    instances need specialised (dtypes, tile sizes, an epilogue) is a field.

    ``index`` is the C type of the size arguments, "int" or "long long": a field where a kernel has
    both (see ``call.index_type``). A kernel that ``may_refuse`` values is given two more pointers,
    ``refused`` and ``position``, for ``refuse(refused, position, i)`` of the prelude.
    """

    index: str = "long long"
    may_refuse: bool = False
    threads: int = 256  # of a block; what the compiler may count on

    @property
    @abstractmethod
    def comment(self) -> str:
        """What the kernel computes, in one line."""

    @property
    @abstractmethod
    def pointers(self) -> Sequence[str]:
        """Declarations of what is read, then of what is written: "const float* x", "float* y"."""

    @property
    @abstractmethod
    def sizes(self) -> Sequence[str]:
        """Names of the size arguments, in order."""

    @abstractmethod
    def body(self) -> str:
        """The statements. Indentation that all lines share does not matter."""

    def functions(self) -> str:
        """``__device__`` functions of this kernel's own; their names begin with ``symbol``."""
        return ""

    @property
    def symbol(self) -> str:
        """The kernel's name, with a hash of all that its text depends on."""
        attributes = [(field.name, repr(getattr(self, field.name))) for field in fields(self)]  # type: ignore[arg-type]
        digest = hashlib.sha256(repr((type(self).__qualname__, attributes)).encode()).hexdigest()
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(self).__name__).lower()
        return f"{words}_{digest[:10]}"

    def source(self, guarded: bool = False) -> str:
        """The kernel as CUDA C. A guarded one does nothing once a value has been refused.

        Both may stand in one module: functions of the kernel's own are named after it.
        """
        pointers = list(self.pointers)
        if self.may_refuse:
            pointers = ["long long* refused", "long long* position", *pointers]
        elif guarded:
            pointers = ["const long long* refused", *pointers]
        parameters = [*pointers, *(f"{self.index} {name}" for name in self.sizes)]
        guard = "if (*refused) return;  // no state is written after a refusal\n" if guarded else ""
        statements = indent(guard + dedent(self.body()).strip("\n"), "    ")
        own = dedent(self.functions()).strip("\n")
        text = (
            (f"{own}\n\n" if own else "")
            + f"// {self.comment}\n"
            + f'extern "C" __global__ void __launch_bounds__({self.threads})\n'
            + f"{self.symbol}({_wrapped(parameters)})\n"
            + f"{{\n{statements}\n}}\n"
        )
        return text.replace(self.symbol, self.name(guarded))

    def name(self, guarded: bool) -> str:
        """The function's name in ``source(guarded)``."""
        return f"{self.symbol}_guarded" if guarded else self.symbol


def _wrapped(parameters: Iterable[str]) -> str:
    """Parameters separated by commas, in lines of a hundred characters at most."""
    lines, line = [], ""
    for parameter in parameters:
        if line and len(line) + len(parameter) > 86:
            lines.append(line)
            line = ""
        line += f", {parameter}" if line else parameter
    return ",\n        ".join([*lines, line])


@lru_cache(maxsize=1)
def prelude() -> str:
    """CUDA C that every kernel may use: types, conversions, NaN-aware extremes, random bits."""
    return files("minigraph.backends.cupy").joinpath("cuda/prelude.cuh").read_text()
